#!/usr/bin/env bash
# Draws the figures of docs/pipeline.md anew into docs/pipeline/, with the built coeus.
source "$(dirname "${BASH_SOURCE[0]}")/steps.sh"
cd "$COEUS_ROOT"

# figure NAME SCHEDULE: 4 ranks, 8 micro-batches.
figure() {
  build/coeus config configs/llama3/debug_model.toml --pipeline --svg "docs/pipeline/$1.svg" \
    --parallelism.pipeline_parallel_schedule="$2" --parallelism.pipeline_parallel_degree=4 \
    --training.local_batch_size=8 >/dev/null
}

step "Drawing docs/pipeline/*.svg"
[[ -x build/coeus ]] || fail "build/coeus is not there" "Run: tools/build.sh"
mkdir -p docs/pipeline
figure gpipe GPipe
figure 1f1b 1F1B
figure interleaved_1f1b Interleaved1F1B
figure looped_bfs LoopedBFS
figure interleaved_zero_bubble InterleavedZeroBubble
figure zbv_zero_bubble ZBVZeroBubble
