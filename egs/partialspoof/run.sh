#!/usr/bin/env bash
# PartialSpoof v1.2 (https://doi.org/10.5281/zenodo.5766198, licence CC BY 4.0), or a mini corpus.
#   egs/partialspoof/run.sh --corpus_dir DB [--download true] | --mini true [--scale .1] [--mini_corpus DIR]
#     [--task detection|localization] [--expect_counts true|false] [options of tools/recipe.sh]
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
recipe=$root/egs/partialspoof mini_dir=$root/egs/mini mini_corpus=$root/egs/mini/corpus
task=detection mini=false scale=1.0 expect_counts= download=false
declare -A configs=([detection]=resnet18 [localization]=localization_small [mini detection]=lcnn_small)
settle() {
  : "${config:=$root/conf/${configs[${mini/true/mini} $task]:-${configs[$task]:-resnet18}}.yaml}"
  [ "$mini" = false ] || : "${corpus_dir:=$recipe/corpus}" "${expect_counts:=false}" \
    "${data_dir:=$recipe/data/mini}" "${exp_dir:=$recipe/exp/mini/$(basename "$config" .yaml)}"
}
prepare() {
  if [ "$mini" = true ]; then
    $cpu_cmd python "$mini_dir/local/make_corpus.py" --out_dir "$mini_corpus" \
      --download_dir "$mini_dir/downloads" --scale "$scale"
    $cpu_cmd python "$recipe/local/make_mini.py" \
      --mini_dir "$mini_corpus" --out_dir "$corpus_dir" --scale "$scale"
  elif [ "$download" = true ]; then
    while read -r folder md5 url; do
      $cpu_cmd python "$root/tools/download.py" --licence "CC BY 4.0" --md5 "$md5" \
        --url "$url" --folder "$corpus_dir/$folder" < /dev/null
    done < "$recipe/local/archives.txt"
  fi
  $cpu_cmd python "$recipe/local/prepare_data.py" --corpus_dir "$corpus_dir" \
    --data_dir "$data_dir" --expect_counts "${expect_counts:-true}"
}
. "$root/tools/recipe.sh"
