#!/usr/bin/env bash
# ASVspoof 5, track 1, as published (https://zenodo.org/records/14498691, licence ODC-By 1.0).
#   egs/asvspoof5/run.sh --corpus_dir DB [--expect_counts true|false]
#     [--config conf/aasist.yaml] [--by codec --both true] [options of tools/recipe.sh]
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
recipe=$root/egs/asvspoof5
expect_counts=true

prepare() {
  $cpu_cmd python "$recipe/local/prepare_data.py" --corpus_dir "$corpus_dir" --subset all \
    --data_dir "$data_dir" --expect_counts "$expect_counts"
}

. "$root/tools/recipe.sh"
