#!/usr/bin/env bash
# All stages on a small corpus of real and spoofed speech, which stage 1 builds.
#   egs/mini/run.sh [--stage 1] [--stop_stage 8] [--nproc 2] [--config conf/lcnn_small.yaml]
#     [--data_type shard|raw] [--seed 1] [--exp_dir DIR] [--task detection|tracing]
#     [--tier default|neural] [--bonafide DIR] [--scale 0.1]
# --task tracing: which attack? --tier neural: with neural engines. --bonafide: your speech, one
# folder a speaker. --scale 0.1: a tenth of the corpus. --stage 9 --stop_stage 9: explanations.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
recipe=$root/egs/mini corpus_dir=$root/egs/mini/corpus
tier=default scale=1.0 bonafide= config=
same_sources=A16=A04,A19=A03 # one engine, of training and of test

settle() { : "${config:=$root/conf/${task/detection/resnet18}_small.yaml}"; }
prepare() {
  $cpu_cmd python "$recipe/local/make_corpus.py" --out_dir "$corpus_dir" \
    --download_dir "$recipe/downloads" --tier "$tier" --scale "$scale" \
    ${bonafide:+--bonafide "$bonafide"}
  # A scaled corpus has too few files for a verdict.
  if [[ $scale == 1 || $scale == 1.0 ]]; then
    $cpu_cmd python "$recipe/local/check_shortcuts.py" "$corpus_dir"
  fi
  $cpu_cmd python "$root/egs/asvspoof2019_la/local/prepare_data.py" --corpus_dir "$corpus_dir" \
    --data_dir "$data_dir" --expect_counts false
}
make_pairs() {
  $cpu_cmd python "$recipe/local/make_pairs.py" --data_dir "$data_dir/eval" --out_dir "$pairs_dir"
}

. "$root/tools/recipe.sh"
