#!/usr/bin/env bash
# Trains every debug flavour on synthetic data, float32, and prints a table: training rate (median of the
# steps after the first three), peak memory, and the time from process start to the end of step 1.
# usage: [COEUS=build/coeus] bench/flavours.sh [--steps N] [--batch B] [--seq-len S] [FLAVOUR ...]
#   FLAVOUR  such as llama3/debugmodel; none: all
# bench/torchtitan_eager.py makes the same table of TorchTitan's models in PyTorch eager.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
coeus=${COEUS:-$root/build/coeus}
steps=20 batch=2 seq_len=512
while [[ ${1:-} == --* ]]; do
  case $1 in
    --steps) steps=$2 ;;
    --batch) batch=$2 ;;
    --seq-len) seq_len=$2 ;;
    *) sed -n '2,6s/^# //p' "$0" >&2; exit 2 ;;
  esac
  shift 2
done
flavours=("$@")
if [[ $# == 0 ]]; then
  flavours=(llama3/debugmodel llama3/debugmodel_flex_attn llama4/debugmodel llama4/debugmodel_irope
    deepseek_v3/debugmodel deepseek_v3/debugmodel_flex_attn qwen3/debugmodel qwen3/debugmodel_flex_attn
    qwen3/debugmodel_moe_small vlm/debugmodel)
fi
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT

# Sets `data` to the flags that give a model what it trains on; vlm needs pictures, drawn here.
set_data() {
  data=(--training.dataset=synthetic)
  [[ $1 == vlm ]] || return 0
  "$coeus" dataset shapes "$out/shapes" --count 2000 &&
    "$coeus" tokenizer train --input "$out/shapes" --image-tokens --output "$out/tokenizer" || return 1
  data=(--training.dataset_path="$out/shapes" --model.hf_assets_path="$out/tokenizer")
}

echo "| flavour | tokens/s | peak memory, GiB | to the end of step 1, s |"
echo "|---|---|---|---|"
for flavour in "${flavours[@]}"; do
  model=${flavour%/*} name=${flavour#*/}
  run=$out/$model-$name
  if ! set_data "$model" >"$out/log" 2>&1; then
    echo "| $flavour | not in this build | | |"
    continue
  fi
  start=$(date +%s.%N)
  "$coeus" train "$root/configs/$model/debug_model.toml" --model.flavor="$name" "${data[@]}" \
    --training.local_batch_size="$batch" --training.seq_len="$seq_len" --training.steps="$steps" \
    --training.mixed_precision_param=float32 --activation_checkpoint.mode=none --optimizer.lr=8e-4 \
    --metrics.log_freq=1 --job.dump_folder="$run" 2>"$out/log" || { cat "$out/log" >&2; exit 1; }
  python3 - "$flavour" "$run/metrics.jsonl" "$start" <<'PY'
import json, statistics, sys
lines = [json.loads(line) for line in open(sys.argv[2])]
rate = statistics.median(line["tokens_per_second"] for line in lines[3:] or lines)
memory = max(line["memory_gib"] for line in lines)
print(f"| {sys.argv[1]} | {rate:,.0f} | {memory:.2f} | {lines[0]['wall_time'] - float(sys.argv[3]):.1f} |")
PY
done
