#!/usr/bin/env bash
# Submit a recipe to Slurm as a chain of jobs, one a stage, each of which waits for the one before:
#   tools/submit.sh [--dry_run] [--array N] [--gpu_stages "3 4"]
#     egs/asvspoof2019_la/run.sh --corpus_dir DB [--stage 3] ...
# conf/cmd.sh says what the stages with and without a GPU ask for. A stage that fails cancels those
# behind it. Each command is printed; --dry_run only prints.
# --array N: stage 4 averages in one job, extracts in N jobs of an array, and joins their parts in
#   another job, which ends with the numbers of the parts that are missing, if any are.
# --gpu_stages: stages that need a GPU; those of egs/mixed_speaker with a separator are "1 3 4".
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
refuse() {
  printf '%s: error: %s\n' "$0" "$1" >&2
  exit 2
}
dry_run= parts= gpu_stages="3 4"
while [[ ${1:-} == --* ]]; do
  case $1 in
    --dry_run)
      dry_run=true
      shift
      ;;
    --array)
      # Slurm takes no more than 1000 by default.
      [[ ${2:-} =~ ^[1-9][0-9]{0,3}$ ]] || refuse "--array is a number of jobs from 1 to 9999"
      parts=$2
      shift 2
      ;;
    --gpu_stages)
      [[ ${2:-} =~ ^[1-8]([[:blank:]][1-8])*$ ]] || refuse "--gpu_stages are numbers from 1 to 8"
      gpu_stages=$2
      shift 2
      ;;
    *) refuse "unknown option $1: options of the recipe come behind its run.sh" ;;
  esac
done
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
    # Of the recipe it would be jobs that only print.
    --dry_run) refuse "--dry_run comes before the recipe: tools/submit.sh --dry_run $recipe" ;;
    *)
      words+=("$1")
      shift
      ;;
  esac
done

. "$root/conf/cmd.sh"
before=
# submit NAME CONDITION RESOURCES NUMBER WORDS...: a job of a stage, once the job before has ended as
# the condition of sbatch says.
submit() {
  local name=$1 condition=$2 resources=$3 number=$4 command
  command=(sbatch --parsable --job-name "$(basename "$(dirname "$recipe")").$number")
  if [ -n "$before" ]; then
    command+=("--dependency=$condition:$before" --kill-on-invalid-dep=yes)
  fi
  # Options of sbatch are words that spaces separate.
  command+=($resources "$root/tools/slurm.sbatch" "$recipe" "${words[@]}")
  command+=(--stage "$number" --stop_stage "$number" "${@:5}")
  printf '%q ' "${command[@]}"
  echo
  if [ -n "$dry_run" ]; then
    before=JOB_${name// /_}
    return
  fi
  before=$("${command[@]}")
  echo "stage $name is job $before"
}

for ((number = stage; number <= stop_stage; number++)); do
  resources=$cpu_job
  if [[ " $gpu_stages " == *" $number "* ]]; then resources=$gpu_job; fi
  if [ "$number" != 4 ] || [ -z "$parts" ]; then
    submit "$number" afterok "$resources" "$number"
    continue
  fi
  array="--array=1-$parts --output=slurm-%A_%a.log ${array_job:-$resources}"
  submit "4 average" afterok "$resources" 4 --extraction average
  submit "4 extraction" afterok "$array" 4 --extraction "array/$parts"
  # Also where a part has failed, which it names.
  submit "4 join" afterany "$cpu_job" 4 --extraction "join/$parts"
done
