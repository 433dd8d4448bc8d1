#!/usr/bin/env bash
# Prints the training rate (median of the last two thirds of the steps), the time from process start
# to the end of step 1, and the peak memory of llama3 debugmodel on synthetic data, float32.
# usage: bench/training_speed.sh [flags of coeus train]
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT

start=$(date +%s.%N)
"$root/build/coeus" train "$root/configs/llama3/debug_model.toml" --training.dataset=synthetic \
  --training.local_batch_size=2 --training.seq_len=512 --training.steps=60 \
  --training.mixed_precision_param=float32 --activation_checkpoint.mode=none --metrics.log_freq=1 \
  --job.dump_folder="$out" "$@" 2>"$out/log" || { cat "$out/log" >&2; exit 1; }

python3 - "$out/metrics.jsonl" "$start" <<'PY'
import json, statistics, sys
lines = [json.loads(line) for line in open(sys.argv[1])]
later = lines[len(lines) // 3:]
rate = statistics.median(line["tokens_per_second"] for line in later)
print(f"{rate:,.0f} tokens/s, median of steps {later[0]['step']} to {later[-1]['step']}")
print(f"{lines[0]['wall_time'] - float(sys.argv[2]):.2f} s from process start to the end of step 1")
print(f"{max(line['memory_gib'] for line in lines):.2f} GiB peak memory")
PY
