#!/usr/bin/env bash
# Installs what is missing, builds everything and runs every test.
#
#   ./test.sh [ctest arguments]     for example ./test.sh -R Packing
#   ./test.sh layouts               trains every model in every layout, and writes docs/layouts.md
#   ./test.sh cuda                  on a machine with a GPU: the tests that compute there
#
# Environment: COEUS_PARITY names a folder of reference losses; the text cases run when it is set.
source "$(dirname "${BASH_SOURCE[0]}")/tools/steps.sh"

case ${1:-} in
  -h | --help) exec sed -n '2,/^$/{s/^# \?//p}' "${BASH_SOURCE[0]}" ;;
esac

setup=()
if [[ ${1:-} == cuda ]]; then
  use_installed_torch
  setup+=(--cuda)
fi
"$COEUS_ROOT/tools/setup.sh" "${setup[@]}" || exit $?
"$COEUS_ROOT/tools/build.sh" all || exit $?

if [[ ${1:-} == layouts ]]; then
  exec "$COEUS_ROOT/tools/layouts.sh"
fi

step "Running the tests"
if [[ ${1:-} == cuda ]]; then
  exec ctest --test-dir "$COEUS_ROOT/build" --output-on-failure -L cuda
fi
# A test uses several threads, so only half as many run at once as there are cores.
cores=$(nproc)
# Tests side by side are more threads than cores: waiting ones must not spin.
export OMP_WAIT_POLICY=passive
ctest --test-dir "$COEUS_ROOT/build" --output-on-failure -j "$((cores < 4 ? 2 : cores / 2))" "$@"
