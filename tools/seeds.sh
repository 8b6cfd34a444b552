#!/usr/bin/env bash
# Several seeds of a recipe, and the mean and spread of its results.
#   tools/seeds.sh --seeds "1 2 3" RECIPE [OPTIONS OF THE RECIPE]
#   tools/seeds.sh --seeds "1 2 3" egs/mini/run.sh --config conf/lcnn_small.yaml
# Stages 1 and 2 run once, the others once a seed, each in an experiment of its own: EXP_DIR_seedN,
# where EXP_DIR is --exp_dir of the recipe or exp/CONFIG beside it. Experiments with results are
# left as they are, so that the same command goes on where it was killed.
# The table is that of tools/seeds.py.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
if [ -z "${VIRTUAL_ENV:-}" ] && [ -d "$root/.venv" ]; then PATH=$root/.venv/bin:$PATH; fi

refuse() {
  printf '%s: error: %s\n' "$0" "${1//[[:cntrl:]]/?}" >&2
  exit 2
}

seeds=
while [ $# -gt 0 ]; do
  case $1 in
    -h | --help)
      sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0"
      exit 0
      ;;
    --seeds)
      [ $# -ge 2 ] || refuse "--seeds needs a value"
      seeds=$2
      shift 2
      ;;
    --*) refuse "unknown option $1 before the recipe: options of the recipe come behind it" ;;
    *) break ;;
  esac
done
[ -n "$seeds" ] || refuse 'no seeds, expected --seeds "1 2 3"'
for seed in $seeds; do
  [[ $seed =~ ^[0-9]{1,9}$ ]] || refuse "seed $seed, expected numbers such as 1 2 3"
done
read -ra seed_list <<< "$seeds"
[ ${#seed_list[@]} -gt 1 ] || refuse "one seed, expected two or more"
[ "$(printf '%s\n' "${seed_list[@]}" | sort -u | wc -l)" = ${#seed_list[@]} ] ||
  refuse "a seed is there twice in $seeds"
[ $# -gt 0 ] || refuse "no recipe, expected one such as egs/mini/run.sh"
recipe=$1
shift
[ -f "$recipe" ] || refuse "$recipe: no such file, expected a recipe such as egs/mini/run.sh"

# Options that this script sets itself, or that name the experiments.
config=
exp_dir=
options=()
while [ $# -gt 0 ]; do
  [ $# -ge 2 ] || refuse "$1 needs a value"
  case $1 in
    --seed | --stage | --stop_stage | --stop-stage) refuse "$1 is set for each seed, expected none" ;;
    --exp_dir | --exp-dir) exp_dir=$2 ;;
    --config) config=$2 options+=("$1" "$2") ;;
    *) options+=("$1" "$2") ;;
  esac
  shift 2
done
if [ -z "$exp_dir" ]; then
  [ -n "$config" ] || refuse "expected --config or --exp_dir of the recipe, which names experiments"
  exp_dir=$(dirname "$recipe")/exp/$(basename "$config" .yaml)
fi

# made_with: recipe and options, which a complete experiment keeps in seed_options.
made_with() { printf '%s\n' "$recipe" "${options[@]}"; }

bash "$recipe" "${options[@]}" --stage 1 --stop_stage 2
experiments=()
for seed in $seeds; do
  experiment=${exp_dir}_seed$seed
  experiments+=("$experiment")
  if [ -f "$experiment/seed_options" ]; then
    [ "$(cat "$experiment/seed_options")" = "$(made_with)" ] ||
      refuse "$experiment/seed_options: of other options, expected these: another --exp_dir"
    echo "== seed $seed: $experiment is complete"
    continue
  fi
  echo "== seed $seed: $experiment"
  bash "$recipe" "${options[@]}" --stage 3 --seed "$seed" --exp_dir "$experiment"
  made_with > "$experiment/seed_options"
done
python "$root/tools/seeds.py" --exp_dirs "${experiments[@]}" --out "${exp_dir}_seeds"
