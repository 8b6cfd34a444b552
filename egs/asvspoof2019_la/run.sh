#!/usr/bin/env bash
# ASVspoof 2019 as published: DB holds LA/ (https://doi.org/10.7488/ds/2555, licence ODC-By 1.0).
#   egs/asvspoof2019_la/run.sh --corpus_dir DB [--access LA|PA] [--download true]
#     [--archive_url URL --archive_md5 SUM --archive_size BYTES] [--expect_counts true|false]
#     [--config conf/resnet18.yaml] [options of tools/recipe.sh]
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
recipe=$root/egs/asvspoof2019_la
access=LA expect_counts=true download=false archive_url= archive_md5= archive_size=
settle() {
  local asv=$access/ASVspoof2019_${access}_asv_scores
  local files=https://datashare.ed.ac.uk/server/api
  : "${asv_scores:=$asv/ASVspoof2019.$access.asv.SET.gi.trl.scores.txt}"
  : "${config:=$root/conf/resnet18.yaml}"
  if [ "$access" = LA ]; then
    : "${archive_url:=$files/core/bitstreams/a9f87c35-f055-4015-80e2-2fdff0d46269/content}"
    : "${archive_md5:=30c98f11d8b2bc21f2c257bfd78bb5c5}" "${archive_size:=7640952520}"
  else
    : "${data_dir:=$recipe/data/$access}"
    : "${exp_dir:=$recipe/exp/$access/$(basename "$config" .yaml)}"
  fi
}
prepare() {
  [ "$download" = false ] || $cpu_cmd python "$root/tools/download.py" --licence "ODC-By 1.0" \
    --folder "$corpus_dir/$access" \
    --url "$archive_url" --md5 "$archive_md5" --size "${archive_size:-0}"
  $cpu_cmd python "$recipe/local/prepare_data.py" --corpus_dir "$corpus_dir" \
    --data_dir "$data_dir" --access "$access" --expect_counts "$expect_counts"
}
. "$root/tools/recipe.sh"
