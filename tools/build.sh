#!/usr/bin/env bash
# Configures build/ and builds targets there.
#
#   tools/build.sh TARGET …       for example coeus, or all
#
# With CI set, warnings are errors (the preset ci instead of release).
source "$(dirname "${BASH_SOURCE[0]}")/steps.sh"
cd "$COEUS_ROOT"

preset=release
[[ -z ${CI:-} ]] || preset=ci
fresh=()
# CMake refuses a build folder that was made at another path, as after moving the checkout.
if [[ -e build/CMakeCache.txt ]] && ! grep -qxF "CMAKE_HOME_DIRECTORY:INTERNAL=$COEUS_ROOT" build/CMakeCache.txt; then
  fresh=(--fresh)
fi

current_step="configuring build/"
logged cmake --preset "$preset" "${fresh[@]}" -DCOEUS_TORCH_ROOT="$COEUS_TORCH_ROOT" || {
  log_tail
  fail "cmake --preset $preset" "See the lines above; if they puzzle, remove the folder build and run it again."
}

# A compile of LibTorch's headers takes up to 2 GB, so memory bounds the number at once as well.
jobs=$(nproc)
memory_gb=$(awk '/MemAvailable/ { print int($2 / 1e6) }' /proc/meminfo)
[[ $((memory_gb / 2)) -ge $jobs ]] || jobs=$((memory_gb < 4 ? 1 : memory_gb / 2))

step "Building $* with $jobs jobs in build/"
NINJA_STATUS='[%f/%t %es] ' ninja -C build -j "$jobs" "$@" ||
  fail "the compiler or linker stopped" "See its message above."
