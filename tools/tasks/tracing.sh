# Source tracing: which attack made an utterance. Sourced by tools/recipe.sh. The classes are the
# attacks of the training set; bona fide speech has none and is left out. No LLR is made of them.
extracted=embeddings
evaluates_utterances=false
reports=false
calibrated=()
task_train_options=(
  --train_sources "$train_dir/utt2attack"
  --val_sources "$dev_dir/utt2attack"
)
task_average_options=(--bn_sources "$train_dir/utt2attack")
scored=(train "${scored[@]}") # fingerprints are made of the training set

archive_of() { echo "embeddings/$1/embedding.ark"; }

# Options of stage 3 that follow from data of stage 1.
late_train_options() {
  local sources
  [ -f "$train_dir/utt2attack" ] ||
    refuse "no $train_dir/utt2attack, whose attacks are options of stage 3: stage 1 writes it"
  sources=$(cut -d' ' -f2 "$train_dir/utt2attack" | sort -u | grep -vx -e - | paste -sd, -)
  task_train_options+=(--system.classes "[$sources]")
  task_train_options+=(--system.head.num_classes "$(tr ',' '\n' <<< "$sources" | wc -l)")
}

evaluate_sources() {
  echo "-- $1"
  $cpu_cmd python "$bin/evaluate_tracing.py" \
    --logits_scp_path "$exp_dir/posteriors/$1/logits.scp" \
    --embedding_scp_path "$exp_dir/embeddings/$1/embedding.scp" \
    --sources "$data_dir/$1/utt2attack" \
    --train_embedding_scp_path "$exp_dir/embeddings/train/embedding.scp" \
    --train_sources "$train_dir/utt2attack" --same "$same_sources" \
    --json "$exp_dir/results_tracing_$1.json" --txt "$exp_dir/results_tracing_$1.txt"
}
