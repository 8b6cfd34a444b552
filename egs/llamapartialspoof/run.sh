#!/usr/bin/env bash
# LlamaPartialSpoof (https://doi.org/10.5281/zenodo.14214149).
#   egs/llamapartialspoof/run.sh --corpus_dir DB [--parts a|ab] [--dev_speakers "6345 7850"]
#     [--task localization|detection] [--expect_counts true|false] [options of tools/recipe.sh]
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
recipe=$root/egs/llamapartialspoof
task=localization parts=a dev_speakers= expect_counts=true

prepare() {
  $cpu_cmd python "$recipe/local/prepare_data.py" --corpus_dir "$corpus_dir" \
    --data_dir "$data_dir" --parts "$parts" ${dev_speakers:+--dev_speakers "$dev_speakers"} \
    --expect_counts "$expect_counts"
}

. "$root/tools/recipe.sh"
