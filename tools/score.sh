#!/usr/bin/env bash
# Score and evaluate a prepared test set with a trained system, from the repository root:
#   tools/score.sh --exp_dir egs/asvspoof2019_la/exp/aasist --data_dir data/in_the_wild
#     [--name itw] [--dev_dir egs/asvspoof2019_la/data/dev] [--by codec] [--model exp/X/models/model_9.pt]
#     [--train_dir egs/asvspoof2019_la/data/train] [--stage 1] [--stop_stage 7] [--cost NAME]
#     [--data_type raw|shard] [--nproc N] [--gpus 0,1] [--corpus_dir DB --asv_scores FILE]
# results_NAME.json of the experiment holds the results, where NAME is the data directory's unless given.
# --dev_dir,
# the data of the experiment's dev scores, gives results_NAME_calibrated.json too; --by takes a column
# of the set's meta.tsv (--both true: for both classes); --train_dir gives the class prior to a model that doesn't know it.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
trains=false name= train_dir= dev_dir= model= by=attack data_type=raw stop_stage=7

prepare() { :; }
settle() {
  [ -f "$exp_dir/config.yaml" ] || refuse "--exp_dir is the folder of a trained system, which has a config.yaml"
  [ -f "$data_dir/wav.scp" ] || refuse "--data_dir is a folder that a prepare_data.py wrote, which has a wav.scp"
  [ -n "$model" ] || model=$exp_dir/models/avg_model.pt
  [ -n "$name" ] || name=$(basename "$data_dir")
  [[ ! $name =~ ^(train|dev|eval)$ ]] || refuse "--name is needed: results of $name are those of the experiment's own set"
  mkdir -p "$exp_dir/data" && ln -sfn "$(realpath "$data_dir")" "$exp_dir/data/$name"
  test_sets=$name data_dir=$exp_dir/data
}

. "$root/tools/recipe.sh"
