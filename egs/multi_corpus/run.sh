#!/usr/bin/env bash
# A training on several prepared corpora, with results by corpus.
#   egs/multi_corpus/run.sh --corpora "asvspoof2019_la asvspoof5 mine=/data/mine"
#     [--dev_corpora "asvspoof5"] [--eval_corpora "asvspoof5 itw=data/in_the_wild"]
#     [--balance both|corpora|classes|none] [--weights "asvspoof2019_la=1 asvspoof5=2 mine=1"]
#     [--task detection|localization] [--config conf/resnet18.yaml] [options of tools/recipe.sh]
# A corpus is a recipe whose stage 1 has run, or NAME=FOLDER with train, dev and eval.
# --balance: shares of the draws that are equal. --weights: shares of the corpora instead.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
recipe=$root/egs/multi_corpus
corpora= dev_corpora= eval_corpora= balance=both weights=
by=corpus both=true data_type=raw  # raw: shards would be a copy of all the audio

. "$recipe/local/sampling.sh"

settle() {
  local options  # an assignment of its own, which ends the run where the function fails
  options=$(sampling_options)
  train_options="${options//$'\n'/ } $train_options"
}
prepare() {
  $cpu_cmd python "$recipe/local/combine_corpora.py" --corpora "$corpora" \
    --dev_corpora "$dev_corpora" --eval_corpora "$eval_corpora" --data_dir "$data_dir"
}
. "$root/tools/recipe.sh"
