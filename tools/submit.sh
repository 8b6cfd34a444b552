#!/usr/bin/env bash
# Submit a recipe to Slurm as a chain of jobs, one a stage, each of which waits for the one before:
#   tools/submit.sh [--dry_run] egs/asvspoof2019_la/run.sh --corpus_dir DB [--stage 3] ...
# conf/cmd.sh says what the stages with and without a GPU ask for. A stage that fails cancels those
# behind it. Each command is printed; --dry_run only prints.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
refuse() {
  printf '%s: error: %s\n' "$0" "$1" >&2
  exit 2
}
dry_run=
if [ "${1:-}" = --dry_run ]; then
  dry_run=true
  shift
fi
[ -f "${1:-}" ] || refuse "no recipe ${1:-}: tools/submit.sh [--dry_run] egs/RECIPE/run.sh OPTIONS"
recipe=$1
shift

# The stages are those of the recipe's own options, which don't go on to the jobs.
stage=1 stop_stage=8
words=()
while [ $# -gt 0 ]; do
  case $1 in
    --stage | --stop_stage)
      [[ ${2:-} =~ ^[1-8]$ ]] || refuse "$1 is a number from 1 to 8"
      printf -v "${1#--}" %s "$2"
      shift 2
      ;;
    *)
      words+=("$1")
      shift
      ;;
  esac
done

. "$root/conf/cmd.sh"
before=
for ((number = stage; number <= stop_stage; number++)); do
  resources=$cpu_job
  # Training; averaging and extraction.
  if [ "$number" = 3 ] || [ "$number" = 4 ]; then resources=$gpu_job; fi
  command=(sbatch --parsable --job-name "$(basename "$(dirname "$recipe")").$number")
  if [ -n "$before" ]; then
    command+=("--dependency=afterok:$before" --kill-on-invalid-dep=yes)
  fi
  # Options of sbatch are words that spaces separate.
  command+=($resources "$root/tools/slurm.sbatch" "$recipe" "${words[@]}")
  command+=(--stage "$number" --stop_stage "$number")
  printf '%q ' "${command[@]}"
  echo
  if [ -n "$dry_run" ]; then
    before=JOB$number
  else
    before=$("${command[@]}")
    echo "stage $number is job $before"
  fi
done
