#!/usr/bin/env bash
# Trains every debug model in every layout of tests/layouts/layouts.cpp, compares each run's loss with
# one process's, and writes the differences to docs/layouts.md. Fails if one is too large.
#
#   tools/layouts.sh [SHARDS]     in SHARDS programs at once (1)
#
# The programs are those in build/: ./test.sh layouts builds them first.
source "$(dirname "${BASH_SOURCE[0]}")/steps.sh"
cd "$COEUS_ROOT"
shards=${1:-1}

step "Training every model in every layout"
rows=$(mktemp)
trap 'rm -f "$rows"*' EXIT
export COEUS_LAYOUTS=all OMP_WAIT_POLICY=passive GTEST_TOTAL_SHARDS=$shards
failed=0
pids=()
for ((i = 0; i < shards; ++i)); do
  GTEST_SHARD_INDEX=$i COEUS_LAYOUTS_TABLE=$rows.$i build/tests/coeus_run_test \
    --gtest_filter='*SameLoss*' --gtest_brief=1 &
  pids+=($!)
done
for pid in "${pids[@]}"; do wait "$pid" || failed=1; done

cat "$rows".* | sort -t'|' -k2,2 -k3,3 >"$rows"
{
  cat <<'END'
# The same loss in every layout

What `./test.sh layouts` found: 10 steps of 8 rows of 128 tokens (the synthetic stream, whose rows are
packed documents of different lengths), in float32, against one process with the same batch. The
columns are the largest difference of the loss, and of the gradients' norm relative to it, in any step;
2e-5 and 2e-3 would be too much. The layouts are those of TorchTitan's integration tests that are made of
FSDP, HSDP, DDP, TP, PP, EP and ETP, with TorchTitan's names, and some more; their flags are in
`tests/layouts/layouts.cpp`. Ranks are processes on one machine, which exchange tensors over Gloo.

| model | layout | ranks | loss | norm |
|---|---|---|---|---|
END
  cat "$rows"
} >docs/layouts.md
echo "$(wc -l <"$rows") runs; docs/layouts.md is written"
[[ $failed == 0 ]] || fail "losses differ" "See above."
