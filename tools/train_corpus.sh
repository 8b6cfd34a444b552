#!/usr/bin/env bash
# Train a system on a corpus of egs, and score it, in the stages of every recipe:
#   tools/train_corpus.sh --corpus decro --corpus_dir DB [--prepare_options "--language en"]
#     [--config conf/aasist.yaml] [options of tools/recipe.sh]
# Data and experiments are in egs/CORPUS/data and egs/CORPUS/exp.
# --corpus: a folder of egs whose preparation makes train, dev and eval with --subset all.
# --prepare_options: more options of egs/CORPUS/local/prepare_data.py.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
corpus= prepare_options=

settle() {
  script=$root/egs/$corpus/local/prepare_data.py
  [[ -n $corpus && -f $script ]] && grep -q "subset: Subset" "$script" ||
    refuse "--corpus is a folder of egs whose preparation has --subset all, not '$corpus'"
  : "${config:=$root/conf/resnet18.yaml}"
  : "${data_dir:=$root/egs/$corpus/data}"
  : "${exp_dir:=$root/egs/$corpus/exp/$(basename "$config" .yaml)}"
}

prepare() {
  local words
  read -ra words <<< "$prepare_options"
  $cpu_cmd python "$script" --corpus_dir "$corpus_dir" --subset all --data_dir "$data_dir" \
    "${words[@]}"
}

. "$root/tools/recipe.sh"
