#!/usr/bin/env bash
# ASVspoof 2017 version 2 as published (https://datashare.ed.ac.uk/handle/10283/3055).
#   egs/asvspoof2017_v2/run.sh --corpus_dir DB [--expect_counts true|false]
#     [--config conf/lcnn.yaml] [options of tools/recipe.sh]
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
recipe=$root/egs/asvspoof2017_v2
expect_counts=true

prepare() {
  $cpu_cmd python "$recipe/local/prepare_data.py" --corpus_dir "$corpus_dir" \
    --data_dir "$data_dir" --expect_counts "$expect_counts"
}

. "$root/tools/recipe.sh"
