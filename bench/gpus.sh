#!/usr/bin/env bash
# Training on the GPUs of one machine: tokens a second of each GPU, the memory that it holds at the peak
# and the seconds to the end of the first step, as a table in Markdown.
#
#   bench/gpus.sh GPUS [REGEX]      only rows whose name matches REGEX; a row's log is shown if it fails
#
# Rates are medians over the last two thirds of COEUS_STEPS (15) steps. bfloat16 computation, synthetic
# documents (`causal` sees across them), AdamW.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
gpus=${1:?how many GPUs} only=${2:-.}
steps=${COEUS_STEPS:-15}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

# degrees SHARD [NAME DEGREE …]: the flags of a layout.
degrees() {
  printf -- '--parallelism.data_parallel_shard_degree=%s ' "$1"
  shift
  while [[ $# -gt 0 ]]; do
    printf -- '--parallelism.%s=%s ' "$1_parallel_degree" "$2"
    shift 2
  done
}

# row NAME CONFIG SEQ_LEN BATCH flags …: trains and prints the row.
row() {
  local name=$1 config=$2 seq_len=$3 batch=$4 launch=()
  shift 4
  [[ "$name, $seq_len" =~ $only ]] || return 0
  [[ $gpus == 1 ]] || launch=(launch -n "$gpus" --)
  rm -rf "$folder/run"
  local start
  start=$(date +%s.%N)
  # Flags stand together in words.
  # shellcheck disable=SC2068
  build/coeus "${launch[@]}" train "configs/$config.toml" --job.device=cuda --training.dataset=synthetic \
    --training.steps="$steps" --training.seq_len="$seq_len" --training.local_batch_size="$batch" \
    --metrics.log_freq=1 --job.dump_folder="$folder/run" $@ >"$folder/log" 2>&1 || {
    printf '| %s | %s | %s | failed |\n' "$name" "$gpus" "$seq_len"
    tail -n 5 "$folder/log" | cut -c 1-300
    return 0
  }
  python3 - "$folder/run/metrics.jsonl" "$start" "$name" "$gpus" "$seq_len" <<'EOF'
import json, statistics, sys
path, start, name, gpus, seq_len = sys.argv[1:]
steps = [json.loads(line) for line in open(path)]
late = steps[len(steps) // 3:]
rate = statistics.median(step["tokens_per_second"] for step in late)
print(f"| {name} | {gpus} | {int(seq_len):,} | {rate / int(gpus):,.0f} |"
      f" {max(step['memory_gib'] for step in steps):.1f} | {steps[0]['wall_time'] - float(start):.1f} |"
      f" {late[-1]['loss']:.4f} |")
EOF
}

echo "| layout | GPUs | tokens a row | tokens/s a GPU | GiB | first step, s | last loss |"
echo "|---|---|---|---|---|---|---|"
no_recompute=--activation_checkpoint.mode=none
by_operation="--activation_checkpoint.mode=selective --activation_checkpoint.selective_ac_option=op"
documents="--model.mask=causal&document"
if [[ $gpus == 1 ]]; then
  row "1B" llama3/1b 8192 2 $no_recompute
  row "1B documents" llama3/1b 8192 2 $no_recompute "$documents"
  row "8B in bfloat16" llama3/8b 8192 1 $by_operation --training.dtype=bfloat16
  exit
fi
half=$((gpus / 2))
row "1B fsdp" llama3/1b 8192 2 $no_recompute "$(degrees "$gpus")"
row "1B documents fsdp" llama3/1b 8192 2 $no_recompute "$documents" "$(degrees "$gpus")"
row "8B fsdp" llama3/8b 8192 1 $by_operation "$(degrees "$gpus")"
row "8B fsdp x tp 2" llama3/8b 8192 2 $by_operation "$(degrees $half tensor 2)"
row "8B fsdp x pp 2, 1F1B" llama3/8b 8192 4 $by_operation "$(degrees $half pipeline 2)"
row "8B fsdp x pp 2, ZBV" llama3/8b 8192 4 $by_operation "$(degrees $half pipeline 2)" \
  --parallelism.pipeline_parallel_schedule=ZBVZeroBubble
row "8B fsdp x cp 2" llama3/8b 8192 1 $by_operation "$(degrees $half context 2)"
row "16B of DeepSeek-V3, ep" deepseek_v3/16b 4096 2 --activation_checkpoint.mode=full \
  "$(degrees "$gpus" expert "$gpus")"
for mask in causal "causal&document"; do
  row "1B $mask, cp $gpus" llama3/1b 32768 1 $no_recompute "--model.mask=$mask" "$(degrees 1 context "$gpus")"
  for length in 32768 65536 131072 262144; do
    for method in allgather ring alltoall needed; do
      row "8B $mask, cp $gpus $method, joint" llama3/8b "$length" 1 --activation_checkpoint.mode=full \
        "--model.mask=$mask" "$(degrees 1 context "$gpus")" --parallelism.context_parallel_method="$method" \
        --parallelism.context_parallel_load_balancer=joint
    done
    for balancer in none headtail per_document ptrr; do
      row "8B $mask, cp $gpus allgather, $balancer" llama3/8b "$length" 1 --activation_checkpoint.mode=full \
        "--model.mask=$mask" "$(degrees 1 context "$gpus")" --parallelism.context_parallel_method=allgather \
        --parallelism.context_parallel_load_balancer="$balancer"
    done
  done
done
