#!/usr/bin/env bash
# Scaling from one rank to two, one thread each: tokens a second of Llama 3's debug model, and what a
# step exchanges. Weak scaling: every rank of data parallelism has rows of its own, while the two ranks
# of tensor or pipeline parallelism share those of one.
#
#   bench/scaling.sh [steps]        on an otherwise idle machine with two cores or more
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
steps=${1:-12}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
export OMP_NUM_THREADS=1

# train NAME RANKS ROWS flags …: prints the best step's tokens a second.
train() {
  local name=$1 ranks=$2 rows=$3
  shift 3
  local launch=()
  [[ $ranks == 1 ]] || launch=(launch -n "$ranks" --)
  build/coeus "${launch[@]}" train configs/llama3/debug_model.toml --training.steps="$steps" \
    --training.local_batch_size="$rows" --training.seq_len=2048 --activation_checkpoint.mode=none \
    --training.mixed_precision_param=float32 --job.dump_folder="$folder/$name" "$@" \
    >"$folder/$name.log" 2>&1 || { cat "$folder/$name.log"; exit 1; }
  sed -nE 's/.*"tokens_per_second": ?([0-9.]+).*/\1/p' "$folder/$name/metrics.jsonl" | sort -g | tail -1
}

one=$(train one 1 4)
printf '%-28s %6s %10s %8s\n' layout ranks tokens/s times
report() { # NAME RANKS ROWS flags …
  local rate
  rate=$(train "$@")
  printf '%-28s %6s %10.0f %8.2f\n' "$1" "$2" "$rate" "$(awk "BEGIN { print $rate / $one }")"
}
printf '%-28s %6s %10.0f %8.2f\n' one 1 "$one" 1
report fsdp 2 4 --parallelism.data_parallel_shard_degree=2
report fsdp_never 2 4 --parallelism.data_parallel_shard_degree=2 \
  --parallelism.fsdp_reshard_after_forward=never
report ddp 2 4 --parallelism.data_parallel_shard_degree=1 --parallelism.data_parallel_replicate_degree=2
report tp 2 4 --parallelism.data_parallel_shard_degree=1 --parallelism.tensor_parallel_degree=2
report pp_1f1b 2 8 --parallelism.data_parallel_shard_degree=1 --parallelism.pipeline_parallel_degree=2
report pp_zbv 2 8 --parallelism.data_parallel_shard_degree=1 --parallelism.pipeline_parallel_degree=2 \
  --parallelism.pipeline_parallel_schedule=ZBVZeroBubble

# Of 6,163,712 parameters the embedding and the output have 524,288 each, the last norm 256. FSDP gathers
# all of them for forward, and for backward all but the embedding, which backward does not read, and the
# last unit, which is still there.
echo
echo "theory, MiB a step: fsdp gathers $(awk 'BEGIN { p = 6163712; print 4 * (2 * p - 2 * 524288 - 256) / 1048576 }'), scatters $(awk 'BEGIN { print 4 * 6163712 / 1048576 }');"
echo "  fsdp_never gathers and scatters, ddp reduces, $(awk 'BEGIN { print 4 * 6163712 / 1048576 }')"
for name in fsdp fsdp_never ddp tp pp_1f1b; do
  echo "$name:"
  sed -n '/communication a step/,/^\[/p' "$folder/$name.log" | grep '^  '
done
