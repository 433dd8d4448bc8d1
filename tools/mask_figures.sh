#!/usr/bin/env bash
# Draws the figures of docs/masks.md anew into docs/masks/, with the built coeus.
source "$(dirname "${BASH_SOURCE[0]}")/steps.sh"
cd "$COEUS_ROOT"

# figure NAME EXPRESSION: two packed documents of 20 and 28 tokens, tiles of 8 x 8.
figure() {
  build/coeus mask show "$2" --documents 20,28 --tile 8 --svg "docs/masks/$1.svg" --json >/dev/null
}

step "Drawing docs/masks/*.svg"
[[ -x build/coeus ]] || fail "build/coeus is not there" "Run: tools/build.sh"
mkdir -p docs/masks
figure full 'full'
figure causal 'causal'
figure document 'document'
figure sliding_window 'sliding_window(12)'
figure sliding_window_both_ways 'sliding_window(8, 6)'
figure chunk 'chunk(12)'
figure prefix 'prefix(10)'
figure sink 'sink(3)'
figure dilated 'dilated(3)'

figure packed 'causal & document'
figure packed_window 'causal & document & sliding_window(12)'
figure packed_chunks 'causal & document & chunk(12)'
figure prefix_language_model 'document & (causal | sink(6))'
figure sink_and_window 'causal & document & (sink(3) | sliding_window(8))'
figure strided 'causal & (sliding_window(4) | dilated(4))'
figure earlier_documents 'causal & ~document'
