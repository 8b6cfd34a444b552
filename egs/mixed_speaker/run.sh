#!/usr/bin/env bash
# Which of the people talking at once is fake? Mixtures of any prepared corpora; their licences hold for the mixtures.
#   egs/mixed_speaker/run.sh --corpora egs/asvspoof2019_la/data | --mini true [--scale 0.1] [--mini_corpus DIR]
#     [--system separated|oracle|joint|direct] [--preset two_talker_published] [--num_mixtures "30000 5000 5000"]
#     [--simulate_options "--noise_data wav.scp"] [--separator conf/convtasnet.yaml] [--separator_options ""]
#     [--config conf/resnet18.yaml] [--stage 1] [--stop_stage 8] [--nproc N] [--gpus 0,1] [--mixed_dir DIR]
# --corpora are folders that hold train, dev and eval. Mixtures, the separator and its streams stay in --mixed_dir.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
recipe=$root/egs/mixed_speaker mini_dir=$root/egs/mini mini_corpus=$root/egs/mini/corpus
mini=false scale=1.0 corpora= mixed_dir= system=separated
preset=two_talker_published num_mixtures= simulate_options= separator= separator_options=
. "$recipe/local/mixtures.sh"

settle() {
  [[ $system =~ ^(separated|oracle|joint|direct)$ ]] || refuse "--system is separated, oracle, joint or direct"
  case $system in joint | direct) task=talkers ;; esac
  defaults
}
prepare() {
  simulate
  case $system in separated | joint) train_separator ;; esac
  case $system in separated) separate ;; esac
}

. "$root/tools/recipe.sh"
