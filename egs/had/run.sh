#!/usr/bin/env bash
# HAD, half-truth audio detection (https://zenodo.org/records/10377492).
#   egs/had/run.sh --corpus_dir DB [--task localization|detection] [options of tools/recipe.sh]
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
recipe=$root/egs/had
task=localization

prepare() {
  $cpu_cmd python "$recipe/local/prepare_data.py" --corpus_dir "$corpus_dir" --data_dir "$data_dir"
}

. "$root/tools/recipe.sh"
