#!/usr/bin/env bash
# Spoofed talkers in mixtures of any prepared corpora, whose licences hold for the mixtures too.
#   egs/mixed_speaker/run.sh --corpora egs/asvspoof2019_la/data | --mini true [--scale 0.1]
#     [--mini_corpus DIR] [--system separated|oracle|joint|direct] [--mixed_dir DIR]
#     [--preset two_talker_published] [--num_mixtures "30000 5000 5000"]
#     [--simulate_options "--noise_data wav.scp"] [--separator conf/convtasnet.yaml]
#     [--separator_options ""] [--config conf/resnet18.yaml] [options of tools/recipe.sh]
# --corpora: folders with train, dev and eval. --mixed_dir: mixtures, separator and its streams.
# --mini true: 1000, 200, 300 mixtures, a separator of 6 epochs. The longer run of RESULTS.md:
#   --num_mixtures "3000 200 300" --train_options "--num_epochs 8", --separator_options of README.md
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
recipe=$root/egs/mixed_speaker mini_dir=$root/egs/mini mini_corpus=$root/egs/mini/corpus
mini=false scale=1.0 corpora= mixed_dir= system=separated
preset=two_talker_published num_mixtures= simulate_options= separator= separator_options=
. "$recipe/local/mixtures.sh"

settle() {
  [[ $system =~ ^(separated|oracle|joint|direct)$ ]] ||
    refuse "--system is separated, oracle, joint or direct"
  case $system in joint | direct) task=talkers ;; esac
  defaults
}
prepare() {
  simulate
  case $system in separated | joint) train_separator ;; esac
  case $system in separated) separate ;; esac
}

. "$root/tools/recipe.sh"
