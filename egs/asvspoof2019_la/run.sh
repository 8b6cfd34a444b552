#!/usr/bin/env bash
# ASVspoof 2019 LA as published: DB holds LA/ (https://doi.org/10.7488/ds/2555, licence ODC-By 1.0).
#   egs/asvspoof2019_la/run.sh --corpus_dir DB [--stage 1] [--stop_stage 8] [--nproc N] [--gpus 0,1]
#     [--config conf/resnet18.yaml] [--data_type shard|raw] [--seed 1] [--exp_dir DIR]
#     [--expect_counts true|false]
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
recipe=$root/egs/asvspoof2019_la
corpus_dir=
expect_counts=true
asv_scores=LA/ASVspoof2019_LA_asv_scores/ASVspoof2019.LA.asv.SET.gi.trl.scores.txt

prepare() {
  $cpu_cmd python "$recipe/local/prepare_data.py" --corpus_dir "$corpus_dir" --data_dir "$data_dir" \
    --expect_counts "$expect_counts"
}

. "$root/tools/recipe.sh"
