#!/usr/bin/env bash
# Score and evaluate a prepared test set with a trained system, from the repository root:
#   tools/score.sh --exp_dir egs/asvspoof2019_la/exp/aasist --data_dir data/in_the_wild
#     [--name itw] [--dev_dir egs/asvspoof2019_la/data/dev] [--by codec] [--both true]
#     [--model exp/X/models/model_9.pt] [--train_dir egs/asvspoof2019_la/data/train]
#     [--labels none] [--threshold 1.5] [--windows all --merge min]
#     [--stage 1] [--stop_stage 7] [--cost NAME] [--data_type raw|shard] [--nproc N] [--gpus 0,1]
#     [--corpus_dir DB --asv_scores FILE] [--score bonafide_logit]
# Results are in results_NAME.json of the experiment; NAME is by default the name of --data_dir.
# --dev_dir: data of the experiment's dev scores; adds results_NAME_calibrated.json.
# --by: column of meta.tsv for metrics by condition. --both true: a condition selects both classes.
# --score bonafide_logit: results of the bona fide logit, below bonafide_logit/ of the experiment.
# --train_dir: training data with the class prior, for a model that was saved without it.
# --model: by default the average of the experiment, else its best model.
# --windows all: a system with eval_seconds scores windows over whole utterances. --merge: of their
#   LLRs, which are in window_llr.txt, mean (the default), min, or lowest3, the mean of the lowest.
# --labels none: labels that nobody knows; the table has the share of accepted trials.
# --threshold: of the error rates in the table, a number or results of evaluate.py; by default that
#   of the EER on dev, if the experiment has it.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
trains=false name= train_dir= dev_dir= model= by=attack data_type= stop_stage=7 labels=utt2lab

prepare() { :; }
settle() {
  [ -f "$exp_dir/config.yaml" ] ||
    refuse "--exp_dir is the folder of a trained system, which has a config.yaml"
  [[ $labels =~ ^(utt2lab|none)$ ]] || refuse "--labels is utt2lab or none"
  if [ -f "$data_dir/wav.scp" ]; then
    : "${data_type:=raw}"
  elif [ -f "$data_dir/shard.list" ]; then
    : "${data_type:=shard}"
  else
    refuse "--data_dir is a folder that a prepare_data.py wrote, which has a wav.scp or shard.list"
  fi
  : "${name:=$(basename "$data_dir")}"
  [[ $name =~ ^[[:alnum:]_][[:alnum:]._-]*$ ]] ||
    refuse "--name is '$name', expected letters, digits, dots and dashes: it names files"
  [[ ! $name =~ ^(train|dev|eval)$ ]] ||
    refuse "--name is needed: results_$name.json is of the experiment's own $name set"
  if [ -z "$model" ]; then
    for model in "$exp_dir"/models/{avg_model,best_model}.pt; do
      if [ -f "$model" ]; then break; fi
    done
    [[ -f $model || $stage -gt 5 ]] ||
      refuse "$exp_dir/models has no avg_model.pt and no best_model.pt: --model"
    # Its threshold is that of the model that the recipe scored, the average.
    if [[ -f $exp_dir/results_dev.json && $model == */avg_model.pt ]]; then
      dev_results=$exp_dir/results_dev.json
    fi
  fi
  echo "model: $model"
  # Stages look for a set below one folder, which here is made of links.
  if [ "$dry_run" = false ]; then
    mkdir -p "$exp_dir/data"
    ln -sfn "$(realpath "$data_dir")" "$exp_dir/data/$name"
  fi
  test_sets=$name
  data_dir=$exp_dir/data
}

. "$root/tools/recipe.sh"
