#!/usr/bin/env bash
# Checks the sources beside building and testing them; .ci/run runs all four.
#
#   tools/check.sh [format] [folders] [text] [tidy]     all of them when none is named
#   tools/check.sh fuzz                                 fuzzes masks for COEUS_FUZZ_SECONDS (60)
#
# `tidy` needs a configured build folder (tools/build.sh), for its compile_commands.json.
source "$(dirname "${BASH_SOURCE[0]}")/steps.sh"
cd "$COEUS_ROOT"

sources() {
  find src apps tests bench examples \( -name '*.cpp' -o -name '*.h' -o -name '*.cu' -o -name '*.cuh' \) -print0
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

check_fuzz() {
  step "Fuzzing the mask parser and lowering (libFuzzer)"
  cmake --preset fuzz -DCOEUS_TORCH_ROOT="$COEUS_TORCH_ROOT" &&
    cmake --build --preset fuzz ||
    fail "building the fuzzer" "It needs Debian's clang-16 and libclang-rt-16-dev."
  mkdir -p build-fuzz/corpus
  # New inputs and a failing one land in the build folder.
  build-fuzz/tests/fuzz/mask_fuzz build-fuzz/corpus -dict=tests/fuzz/mask.dict -max_len=200 \
    -artifact_prefix=build-fuzz/ -print_final_stats=1 -max_total_time="${COEUS_FUZZ_SECONDS:-60}" ||
    fail "an input breaks masks" "The file it wrote runs it again: build-fuzz/tests/fuzz/mask_fuzz FILE"
}

[[ $# -gt 0 ]] || set -- format folders text tidy
for check in "$@"; do
  case $check in
    format | folders | text | tidy | fuzz) ;;
    *) fail "there is no check called $check" "There are: format folders text tidy fuzz" ;;
  esac
  SECONDS=0
  "check_$check"
  echo "$check: ok, $SECONDS s"
done
