#!/usr/bin/env bash
# Installs what is missing to build coeus: Debian packages, and LibTorch into .deps of the checkout.
#
#   tools/setup.sh [--checks] [--cuda]     --checks: also what .ci/run's checks need;
#                                          --cuda: also what LibTorch's CUDA part needs
#
# Says and downloads nothing when all is there. Environment:
#   COEUS_TORCH_ROOT       an unpacked torch 2.11 folder to use instead of downloading one
#   COEUS_SKIP_PACKAGES=1  trust that the packages are there (a system without apt)
source "$(dirname "${BASH_SOURCE[0]}")/steps.sh"

torch_version=2.11.0
# What libtorch_cpu.so of the wheel itself links; no GPU or driver is needed.
cuda_runtime_version=13.0.96
cuda_cupti_version=13.0.85

packages=(g++ cmake ninja-build ccache pkg-config
  libtomlplusplus-dev libcli11-dev libfmt-dev libspdlog-dev nlohmann-json3-dev
  libpcre2-dev libicu-dev zlib1g-dev libzstd-dev libxxhash-dev libpng-dev libturbojpeg0-dev libgloo-dev
  libgtest-dev libgmock-dev libbenchmark-dev fortunes)
check_packages=(git python3 clang-format-16 clang-tidy-16)
# /usr/bin/python3 by its full name: the pip that apt installs belongs to it.
pip=(/usr/bin/python3 -I -m pip)
pip_packages=(python3-pip ca-certificates)

# require_space PATH GIGABYTES WHAT
require_space() {
  local available
  available=$(df -Pk "$1" | awk 'NR == 2 { print int($4 / 1e6) }')
  [[ $available -ge $2 ]] ||
    fail "$3 needs about $2 GB, and $available GB are free where $1 lies" "Free some disk space and run it again."
}

install_packages() {
  local installed package missing=() become_root=()
  [[ ${COEUS_SKIP_PACKAGES:-} != 1 ]] || return 0
  command -v dpkg-query >/dev/null ||
    fail "this is not a Debian or Ubuntu system" "Install what these packages hold: ${packages[*]}
then run it again with COEUS_SKIP_PACKAGES=1."
  installed=$'\n'$(dpkg-query -W -f '${Package} ${db:Status-Status}\n' "${packages[@]}" 2>/dev/null || true)$'\n'
  for package in "${packages[@]}"; do
    [[ $installed == *$'\n'"$package installed"$'\n'* ]] || missing+=("$package")
  done
  [[ ${#missing[@]} -gt 0 ]] || return 0

  step "Installing ${#missing[@]} Debian packages"
  printf '%s\n' "${missing[*]}"
  require_space /usr 2 "installing packages"
  local command="apt-get update && apt-get install --no-install-recommends ${missing[*]}"
  if [[ $EUID -ne 0 ]]; then
    command -v sudo >/dev/null ||
      fail "only root can install packages, and sudo is not here" "Have an administrator run: $command"
    sudo -v || fail "sudo refused" "Have an administrator run: $command"
    become_root=(sudo)
  fi
  # A source that is down counts only if it has what is missing: the install says so.
  logged "${become_root[@]}" apt-get -o Acquire::Retries=3 -qq update || true
  logged "${become_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -qq -y \
    --no-install-recommends -o Acquire::Retries=3 -o DPkg::Lock::Timeout=300 \
    -o Dpkg::Use-Pty=0 "${missing[@]}" || {
    log_tail
    fail "apt-get install" "Is the network up, and no other apt-get stuck? A package that cannot be found: coeus is built on
Debian 12 and should build on Ubuntu 24.04 with universe; older ones lack some packages."
  }
}

torch_is_there() {
  [[ -e $1/torch/lib/libtorch_cpu.so && -d $1/torch-$torch_version.dist-info &&
    -d $1/nvidia_cuda_runtime-$cuda_runtime_version.dist-info &&
    -d $1/nvidia_cuda_cupti-$cuda_cupti_version.dist-info ]]
}

fetch_torch() {
  step "Fetching LibTorch $torch_version from PyPI (0.5 GB, unpacked 1.2 GB) into .deps"
  case $(uname -m) in
    x86_64 | aarch64) ;;
    *) fail "PyPI has no torch wheel for $(uname -m)" "Build LibTorch $torch_version and set COEUS_TORCH_ROOT to its torch folder." ;;
  esac
  local folder=$COEUS_ROOT/.deps
  # Gone with the next attempt if this one is interrupted: only the last rename makes it count.
  local partial=$folder/partial
  mkdir -p "$folder"
  rm -rf "$partial"
  mkdir -p "$partial/tmp"
  require_space "$partial" 5 "LibTorch and the build"
  "${pip[@]}" --version >/dev/null 2>&1 || fail "${pip[*]} does not run" "Install python3-pip and run it again."
  local quiet=()
  [[ -t 1 ]] || quiet=(--quiet)
  # One Python version named, so that every system gets the same wheel. The user's pip settings for
  # mirrors and certificates hold; those that choose another place to install to must not.
  env TMPDIR="$partial/tmp" PIP_USER=0 PIP_REQUIRE_VIRTUALENV=0 PIP_ROOT_USER_ACTION=ignore \
    PIP_DEFAULT_TIMEOUT="${PIP_DEFAULT_TIMEOUT:-60}" PIP_DISABLE_PIP_VERSION_CHECK=1 \
    "${pip[@]}" install "${quiet[@]}" --no-deps --no-compile --only-binary=:all: --python-version 3.11 \
    --target "$partial/python" "torch==$torch_version" \
    "nvidia-cuda-runtime==$cuda_runtime_version" "nvidia-cuda-cupti==$cuda_cupti_version" ||
    fail "pip could not fetch the wheel" "Is the network up, and PyPI (or the mirror that pip is set to) reachable? Then run it again.
Or set COEUS_TORCH_ROOT to the folder 'torch' of an installed torch $torch_version."
  torch_is_there "$partial/python" || fail "the wheel holds no libtorch_cpu.so" "Please report this."
  rm -rf "$folder/python"
  mv "$partial/python" "$folder/python"
  rm -rf "$partial"
}

# Where the unpacked wheel keeps NVIDIA's libraries, LibTorch's CUDA part finds them by itself.
cuda_libraries_are_there() { [[ -e $1/nvidia/cudnn/lib/libcudnn.so.9 && -e $1/nvidia/cu13/lib/libcublas.so.13 ]]; }

fetch_cuda_libraries() {
  step "Fetching NVIDIA's libraries for LibTorch from PyPI (1.7 GB, unpacked 2.7 GB) into .deps"
  local partial=$COEUS_ROOT/.deps/partial_cuda
  rm -rf "$partial"
  mkdir -p "$partial/tmp"
  require_space "$partial" 10 "CUDA's libraries"
  local quiet=() wanted
  [[ -t 1 ]] || quiet=(--quiet)
  # The versions that the wheel was built with.
  wanted=$(sed -nE 's/^Requires-Dist: ((cuda-toolkit|nvidia-)[^;]*);.*/\1/p' \
    "$own_torch/torch-$torch_version.dist-info/METADATA")
  readarray -t wanted <<<"$wanted"
  env TMPDIR="$partial/tmp" PIP_USER=0 PIP_REQUIRE_VIRTUALENV=0 PIP_ROOT_USER_ACTION=ignore \
    PIP_DEFAULT_TIMEOUT="${PIP_DEFAULT_TIMEOUT:-60}" PIP_DISABLE_PIP_VERSION_CHECK=1 \
    "${pip[@]}" install "${quiet[@]}" --no-compile --only-binary=:all: --python-version 3.11 \
    --target "$partial/python" "${wanted[@]}" ||
    fail "pip could not fetch NVIDIA's libraries" "Is the network up, and PyPI (or the mirror that pip is set to) reachable? Then run it again."
  cp -al "$partial/python/nvidia/." "$own_torch/nvidia/"
  rm -rf "$partial"
  cuda_libraries_are_there "$own_torch" || fail "the wheels hold no libcudnn.so.9" "Please report this."
}

wants_cuda=no
for option in "$@"; do
  case $option in
    --checks) packages+=("${check_packages[@]}") ;;
    --cuda) wants_cuda=yes ;;
    *) fail "$option is not an option" "Options: --checks --cuda" ;;
  esac
done
own_torch=$COEUS_ROOT/.deps/python
if [[ $COEUS_TORCH_ROOT != "$own_torch/torch" ]]; then
  [[ -e $COEUS_TORCH_ROOT/lib/libtorch_cpu.so ]] ||
    fail "COEUS_TORCH_ROOT=$COEUS_TORCH_ROOT holds no lib/libtorch_cpu.so" "Name the folder 'torch' of an unpacked torch $torch_version wheel, or unset it."
  install_packages
elif torch_is_there "$own_torch" && { [[ $wants_cuda == no ]] || cuda_libraries_are_there "$own_torch"; }; then
  install_packages
else
  packages+=("${pip_packages[@]}")
  install_packages
  mkdir -p "$COEUS_ROOT/.deps"
  exec 9>"$COEUS_ROOT/.deps/lock"
  flock 9
  torch_is_there "$own_torch" || fetch_torch
  [[ $wants_cuda == no ]] || cuda_libraries_are_there "$own_torch" || fetch_cuda_libraries
fi
