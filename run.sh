#!/usr/bin/env bash
# Trains a small Llama 3 on the texts of Debian's fortunes, from nothing but a clone of the project.
#
#   ./run.sh [flags]                 installs what is missing, builds, trains, shows what came of it
#   ./run.sh --device cuda [flags]   the same on an NVIDIA GPU; CUDA 13's nvcc must be there
#   ./run.sh build                   installs what is missing and builds build/coeus only
#
# Flags go to `coeus train`, for example:
#   ./run.sh --training.steps=50
#   ./run.sh --training.dataset=json --training.dataset_path=my.jsonl --training.seq_len=256
# Every run has a folder of its own, outputs/run-1, outputs/run-2, …
#
# Environment: COEUS_TORCH_ROOT names an unpacked torch 2.11 folder to use instead of fetching one.
source "$(dirname "${BASH_SOURCE[0]}")/tools/steps.sh"

case ${1:-} in
  -h | --help) exec sed -n '2,/^source/{s/^# \?//p}' "${BASH_SOURCE[0]}" ;;
esac

flags=()
setup=()
targets=(coeus)
if [[ ${1:-} == --device ]]; then
  [[ ${2:-} =~ ^(auto|cpu|cuda)$ ]] || fail "--device ${2:-}" "Name auto, cpu or cuda."
  flags+=("--job.device=$2")
  if [[ $2 == cuda ]]; then
    command -v nvcc >/dev/null || [[ -x /usr/local/cuda/bin/nvcc ]] ||
      fail "there is no nvcc" "Install NVIDIA's CUDA toolkit 13, or train on the CPU: ./run.sh"
    use_installed_torch
    setup+=(--cuda)
    targets+=(coeus_cuda)
  fi
  shift 2
fi

"$COEUS_ROOT/tools/setup.sh" "${setup[@]}" || exit $?
"$COEUS_ROOT/tools/build.sh" "${targets[@]}" || exit $?
coeus=$COEUS_ROOT/build/coeus
if [[ ${1:-} == build ]]; then
  echo "build/coeus is ready: $("$coeus" --version)"
  exit 0
fi

# flag_value NAME FLAG …: the last value that the flags give to NAME, empty when they do not.
flag_value() {
  local name=$1 value=
  shift
  while [[ $# -gt 0 ]]; do
    case $1 in
      "--$name="*) value=${1#*=} ;;
      "--$name") value=${2:-} ;;
    esac
    shift
  done
  printf '%s' "$value"
}

config=$COEUS_ROOT/configs/fortunes.toml
flags+=("$@")

tokenizer=$(flag_value model.hf_assets_path "$@")
if [[ -z $tokenizer ]]; then
  tokenizer=$COEUS_ROOT/.cache/fortunes_tokenizer
  flags+=("--model.hf_assets_path=$tokenizer")
  if [[ ! -e $tokenizer/tokenizer.json ]]; then
    step "Training a tokenizer of 2048 entries on the fortunes"
    rm -rf "$tokenizer.partial"
    "$coeus" tokenizer train --input /usr/share/games/fortunes --format fortunes \
      --vocab-size 2048 --output "$tokenizer.partial"
    mv "$tokenizer.partial" "$tokenizer"
  fi
fi

dump_folder=$(flag_value job.dump_folder "$@")
if [[ -z $dump_folder ]]; then
  mkdir -p "$COEUS_ROOT/outputs"
  run=1
  # mkdir claims the number, so that two runs started at once get two folders.
  until mkdir "$COEUS_ROOT/outputs/run-$run" 2>/dev/null; do
    [[ -e $COEUS_ROOT/outputs/run-$run ]] || fail "$COEUS_ROOT/outputs cannot be written"
    run=$((run + 1))
  done
  dump_folder=$COEUS_ROOT/outputs/run-$run
  flags+=("--job.dump_folder=$dump_folder")
fi

step "Training ($dump_folder)"
"$coeus" train "$config" "${flags[@]}"

step "How the loss fell"
# Six steps spread over the run; a step that stands twice (a resumed run) counts as it was last.
sed -nE 's/.*"loss": ?([^,}]+).*/\1 &/p' "$dump_folder/metrics.jsonl" |
  sed -nE 's/^([^ ]+) .*"step": ?([0-9]+).*/\2 \1/p' | awk '
    { loss[$1] = $2; if (!($1 in seen)) { seen[$1]; step[++n] = $1 } }
    END {
      rows = n < 6 ? n : 6
      for (i = 0; i < rows; ++i) {
        at = step[rows == 1 ? 1 : 1 + int(i * (n - 1) / (rows - 1) + 0.5)]
        bar = sprintf("%*s", int(5 * loss[at] + 0.5), ""); gsub(/ /, "#", bar)
        printf "  step %5d   loss %7.4f  %s\n", at, loss[at], bar
      }
    }'
echo "Metrics, checkpoints and the log lie in $dump_folder"

step "What the model writes now"
for seed in 1 2 3; do
  # Which computes on the CPU.
  "$coeus" generate "$config" "${flags[@]}" --job.device=cpu --prompt "The " --temperature 0.8 --top-k 100 \
    --max-new-tokens 120 --seed "$seed" 2>"$dump_folder/generate.log" ||
    { cat "$dump_folder/generate.log" >&2; fail "coeus generate did not work"; }
  echo
done
