#!/usr/bin/env bash
# Draws the figures of docs/composability.md anew into docs/context/, with the built coeus.
source "$(dirname "${BASH_SOURCE[0]}")/steps.sh"
cd "$COEUS_ROOT"

step "Drawing docs/context/worked_example*.svg"
[[ -x build/coeus ]] || fail "build/coeus is not there" "Run: tools/build.sh"
mkdir -p docs/context

# figure NAME BALANCER: Llama 4's two masks over a row of three packed documents, on two ranks.
figure() {
  build/coeus mask show 'causal & document & chunk(16)' --layers 3 --and-mask 'causal & document:1' \
    --documents 20,36,40 --tile 8 --cp 2 --balancer "$2" --svg "docs/context/$1.svg" --json >/dev/null
}
figure worked_example joint
figure worked_example_none none
