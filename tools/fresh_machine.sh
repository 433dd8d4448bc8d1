#!/usr/bin/env bash
# Runs a command in a clone of the last commit on a Debian that has nothing installed (a debootstrap
# of minbase, entered by chroot): finds what the scripts forget to install.
#
#   tools/fresh_machine.sh [--user] [COMMAND]
#     --user    as a user with sudo, instead of root
#     COMMAND   run by bash in the clone; by default './test.sh && ./run.sh'
#
# Needs root, debootstrap, and 8 GB in TMPDIR. The way to the network is this machine's: its
# resolv.conf, its own certificates, pip's and apt's settings. Environment:
#   COEUS_SUITE=bookworm  COEUS_MIRROR=http://deb.debian.org/debian
#   COEUS_KEEP=1          leaves the folder, for a look around
source "$(dirname "${BASH_SOURCE[0]}")/steps.sh"

case ${1:-} in
  -h | --help) exec sed -n '2,/^source/{s/^# \?//p}' "${BASH_SOURCE[0]}" ;;
esac
user=root
if [[ ${1:-} == --user ]]; then
  user=newcomer
  shift
fi
command=${*:-./test.sh && ./run.sh}

current_step="getting ready"
[[ $EUID -eq 0 ]] || fail "debootstrap and chroot need root"
command -v debootstrap >/dev/null || fail "debootstrap is not here" "Run: apt-get install debootstrap"

folder=$(mktemp -d "${TMPDIR:-/tmp}/coeus_fresh.XXXXXX")
root=$folder/root
[[ ${COEUS_KEEP:-} == 1 ]] || trap 'rm -rf --one-file-system "$folder"' EXIT

step "A fresh ${COEUS_SUITE:-bookworm} in $root"
logged debootstrap --variant=minbase "${COEUS_SUITE:-bookworm}" "$root" \
  "${COEUS_MIRROR:-http://deb.debian.org/debian}" || {
  log_tail
  fail "debootstrap"
}
cp -L /etc/resolv.conf "$root/etc/resolv.conf"
for file in /etc/pip.conf /etc/apt/apt.conf.d/*proxy* /usr/local/share/ca-certificates/*.crt; do
  [[ ! -e $file ]] || install -D -m 644 "$file" "$root$file"
done

# A space in the path, for scripts and CMake files that forget their quotes.
clone="/srv/a clone/coeus"
git clone -q "$COEUS_ROOT" "$root$clone"
if [[ $user != root ]]; then
  # Installed by hand, as a Debian installer does for its first user.
  logged chroot "$root" bash -c "apt-get update && apt-get install -y --no-install-recommends sudo &&
    useradd -m -s /bin/bash $user && echo '$user ALL=(ALL) NOPASSWD: ALL' >/etc/sudoers.d/$user" || {
    log_tail
    fail "installing sudo"
  }
  chroot "$root" chown -R "$user:" "/srv/a clone"
fi

step "$command (as $user)"
# Mounts and processes end with the namespaces. Only what a login gives is in the environment.
unshare --mount --pid --fork --kill-child bash -c '
  set -e
  mount -t proc proc "$1/proc"
  mount --rbind /dev "$1/dev"
  mount --rbind /sys "$1/sys"
  exec chroot "$1" su - "$2" -c "cd \"$3\" && $4"' _ "$root" "$user" "$clone" \
  "export LANG=C.UTF-8 ${CI:+CI=$CI}; $command"
