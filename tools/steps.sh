# Sourced by the scripts of this project: names every step when it starts and when it fails.
set -Eeuo pipefail
# A CDPATH that is exported makes cd print.
unset CDPATH

COEUS_ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
COEUS_LOG=$COEUS_ROOT/.cache/setup.log
# CMake and setup must mean the same LibTorch, whatever the folder they are called from.
COEUS_TORCH_ROOT=${COEUS_TORCH_ROOT:-$COEUS_ROOT/.deps/python/torch}
[[ $COEUS_TORCH_ROOT == /* ]] || COEUS_TORCH_ROOT=$PWD/$COEUS_TORCH_ROOT
export COEUS_TORCH_ROOT

# use_installed_torch: an installed torch 2.11 for CUDA, with the libraries that it brought, serves as
# LibTorch instead of one in .deps.
use_installed_torch() {
  local installed
  [[ $COEUS_TORCH_ROOT == "$COEUS_ROOT/.deps/python/torch" ]] || return 0
  installed=$(python3 -c 'import torch, os
if torch.__version__.startswith("2.11.") and torch.version.cuda: print(os.path.dirname(torch.__file__))' 2>/dev/null) || return 0
  [[ -z $installed ]] || COEUS_TORCH_ROOT=$installed
}

current_step="getting ready"

# step TITLE: from here on, a failure is a failure of TITLE.
step() {
  current_step=$1
  printf '\n==> %s\n' "$1"
}

# fail COMPLAINT WHAT-TO-DO: ends the script.
fail() {
  trap - ERR
  printf '\nThe step "%s" failed: %s\n' "$current_step" "$1" >&2
  [[ $# -lt 2 ]] || printf '%s\n' "$2" >&2
  exit 1
}

# logged COMMAND …: keeps the command's output in the log, of which `log_tail` shows the end.
logged() {
  mkdir -p "${COEUS_LOG%/*}"
  printf '$ %s\n' "$*" >>"$COEUS_LOG"
  "$@" >>"$COEUS_LOG" 2>&1 </dev/null
}

log_tail() {
  printf -- '--- the end of %s:\n' "$COEUS_LOG" >&2
  tail -n 15 "$COEUS_LOG" >&2
  printf -- '---\n' >&2
}

on_error() {
  local code=$1
  trap - ERR
  printf '\nThe step "%s" failed (exit code %s).\n' "$current_step" "$code" >&2
  exit "$code"
}
trap 'on_error $?' ERR
