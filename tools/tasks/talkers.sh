# Talkers: a decision for each talker of a mixture. Sourced by tools/recipe.sh.
# Stems of the talkers are a data directory inside that of the mixtures. evaluate_more() of the
# recipe does all of stage 7: its thresholds and its calibration come from dev.
extracted=embeddings
evaluates_utterances=false
reports=false
calibrated=()
counted=$train_dir/stems # the loss counts talkers
task_train_options=(
  --train_stems "$train_dir/stems/shard.list"
  --val_stems "$dev_dir/stems/shard.list"
)

archive_of() { echo "embeddings/$1/embedding.ark"; }
