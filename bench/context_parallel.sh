#!/usr/bin/env bash
# Context parallelism end to end: tokens a second of two debug models on 1, 2 and 4 ranks by balancer
# and method, one thread a rank, as a table in Markdown. Strong scaling: all ranks share one row.
#
#   bench/context_parallel.sh [steps] [seq_len] [full]     on an otherwise idle machine
#
# COEUS_RANKS="2" leaves out the runs with 4.
# Each balancer goes with allgather and needed, the other methods with the balancer joint; `full` takes
# every pair. Four ranks need four cores to be faster than two.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
steps=${1:-6} seq_len=${2:-8192} pairs=${3:-}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
export OMP_NUM_THREADS=1
balancers=(none headtail per_document ptrr joint)
methods=(allgather needed ring alltoall auto)

# Workloads by name: the configuration, and the masks. The synthetic documents have 8 to 511 tokens, so
# that "causal" takes the place of a long document.
declare -A workload=(
  [short documents]="configs/llama3/debug_model_flex_attn.toml"
  [one document]="configs/llama3/debug_model_flex_attn.toml --model.mask=causal"
  [iRoPE, short documents]="configs/llama4/debug_model_irope.toml"
  [iRoPE, one document]="configs/llama4/debug_model_irope.toml --model.masks.nope=causal --model.masks.rope=causal&chunk(256)"
)

# train NAME RANKS flags …: the best step's tokens a second.
train() {
  local name=$1 ranks=$2
  shift 2
  local launch=() run=$folder/run
  [[ $ranks == 1 ]] || launch=(launch -n "$ranks" --)
  rm -rf "$run"
  # Words of a workload are configuration and flags.
  # shellcheck disable=SC2086
  build/coeus "${launch[@]}" train ${workload[$name]} --training.dataset=synthetic \
    --training.steps="$steps" --training.seq_len="$seq_len" --training.local_batch_size=1 \
    --training.mixed_precision_param=float32 --activation_checkpoint.mode=none \
    --parallelism.data_parallel_shard_degree=1 --parallelism.context_parallel_degree="$ranks" \
    --job.dump_folder="$run" "$@" >"$folder/log" 2>&1 || { cat "$folder/log" >&2; return 1; }
  sed -nE 's/.*"tokens_per_second": ?([0-9.]+).*/\1/p' "$run/metrics.jsonl" | sort -g | tail -1
}

is_measured() { # METHOD BALANCER
  [[ $pairs == full || $2 == joint || $1 == allgather || $1 == needed ]]
}

echo "| workload | ranks | method | balancer | tokens/s | times one rank |"
echo "|---|---|---|---|---|---|"
for name in "one document" "short documents" "iRoPE, one document" "iRoPE, short documents"; do
  one=$(train "$name" 1)
  printf '| %s | 1 | | | %.0f | 1 |\n' "$name" "$one"
  for ranks in ${COEUS_RANKS:-2 4}; do
    for method in "${methods[@]}"; do
      for balancer in "${balancers[@]}"; do
        is_measured "$method" "$balancer" || continue
        rate=$(train "$name" "$ranks" --parallelism.context_parallel_method="$method" \
          --parallelism.context_parallel_load_balancer="$balancer")
        printf '| %s | %s | %s | %s | %.0f | %.2f |\n' "$name" "$ranks" "$method" "$balancer" "$rate" \
          "$(awk "BEGIN { print $rate / $one }")"
      done
    done
  done
done
