#!/usr/bin/env bash
# Checks the sources beside building and testing them; .ci/run runs all four.
#
#   tools/check.sh [format] [folders] [text] [tidy]     all of them when none is named
#
# `tidy` needs a configured build folder (tools/build.sh), for its compile_commands.json.
source "$(dirname "${BASH_SOURCE[0]}")/steps.sh"
cd "$COEUS_ROOT"

sources() {
  find src apps tests bench \( -name '*.cpp' -o -name '*.h' -o -name '*.cu' -o -name '*.cuh' \) -print0
}

check_format() {
  step "Format (clang-format 16)"
  # Its own list of complaints says where; --Werror makes them count.
  sources | xargs -0 clang-format-16 --dry-run --Werror ||
    fail "files above are not formatted" "Run: clang-format-16 -i FILE …"
}

check_folders() {
  step "Ladder of folders"
  tools/check_folders.py --self-test
  tools/check_folders.py || fail "includes above go up the ladder" "Move the code, or pass what it needs as an argument."
}

check_text() {
  step "No absolute path of one machine in the text"
  local found
  found=$(git grep -nIE '(^|[^[:alnum:]_.}])/(home|root|work|Users)/[[:alnum:]_]' -- . || true)
  [[ -z $found ]] || fail "these lines name a place that other machines lack:
$found" "Use a path relative to the checkout."
}

check_tidy() {
  step "clang-tidy 16 (base, mask, data)"
  local log
  log=$(mktemp)
  find src/coeus/base src/coeus/mask src/coeus/data -name '*.cpp' ! -name '*_test.cpp' -print0 |
    xargs -0 -n 1 -P "$(nproc)" clang-tidy-16 --quiet -p build \
      --extra-arg=-Wno-error --extra-arg=-Wno-unknown-warning-option >"$log" 2>&1 || {
    # Every file says how many warnings of system headers it hides.
    grep -v 'warnings\? generated' "$log" || true
    rm -f "$log"
    fail "clang-tidy has complaints" "Mend them, or silence a wrong one at its line with NOLINT(name) and why."
  }
  rm -f "$log"
}

[[ $# -gt 0 ]] || set -- format folders text tidy
for check in "$@"; do
  case $check in
    format | folders | text | tidy) ;;
    *) fail "there is no check called $check" "There are: format folders text tidy" ;;
  esac
  SECONDS=0
  "check_$check"
  echo "$check: ok, $SECONDS s"
done
