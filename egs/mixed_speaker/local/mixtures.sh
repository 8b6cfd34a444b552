# The steps that mixtures have beside those of tools/recipe.sh; sourced by run.sh, whose variables they use.
sets_of_mixtures=(train dev eval)

# Numbers by --scale, 12 at least.
scaled() {
  python3 -c 'import sys; print(*(max(12, round(float(sys.argv[1]) * int(n))) for n in sys.argv[2:]))' "$scale" "$@" \
    2> /dev/null || refuse "--scale is '$scale', expected a number"
}

# What depends on options. A small corpus has small systems.
defaults() {
  local size= detector=resnet18
  if [ "$mini" = true ]; then
    size=_small
    : "${corpora:=$recipe/data/mini}" "${mixed_dir:=$recipe/data/mixed_mini}"
    : "${num_mixtures:=$(scaled 3000 200 300)}"
  fi
  : "${num_mixtures:=30000 5000 5000}" "${mixed_dir:=$recipe/data/mixed}" "${separator:=$root/conf/convtasnet$size.yaml}"
  [ -n "$corpora" ] || refuse "--corpora is needed: folders that hold train, dev and eval; or --mini true"
  [ "$task" != talkers ] || detector=talkers_$system size=_small
  : "${config:=$root/conf/$detector$size.yaml}"
  separator_dir=$mixed_dir/exp/$(basename "$separator" .yaml)
  : "${exp_dir:=$mixed_dir/exp/${system}_$(basename "$config" .yaml)}" "${data_dir:=$mixed_dir/$system}"
  [ "$system" != joint ] || train_options="--separator $separator_dir/models/avg_model.pt $train_options"
}

simulate() {
  local counts=($num_mixtures) folders=($corpora) exclude=() number=0 set
  if [ "$mini" = true ]; then
    "$mini_dir/run.sh" --stage 1 --stop_stage 1 --scale "$scale" --corpus_dir "$mini_corpus" --data_dir "$corpora"
  fi
  [ ${#counts[@]} = 3 ] || refuse "--num_mixtures is '$num_mixtures', expected numbers for train, dev and eval"
  for set in "${sets_of_mixtures[@]}"; do
    $cpu_cmd python "$bin/simulate_mixtures.py" --data_dir "${folders[@]/%//$set}" --preset "$preset" \
      --num_mixtures "${counts[number]}" --seed "${seed:-1}" --plan "$mixed_dir/mixtures/$set/plan.tsv" \
      --out_dir "$mixed_dir/mixtures/$set" "${exclude[@]}" $simulate_options
    [ ${#exclude[@]} -gt 0 ] || exclude=(--exclude)
    exclude+=("$mixed_dir/mixtures/$set/plan.tsv")
    mkdir -p "$mixed_dir/oracle"
    ln -sfn "../mixtures/$set/stems" "$mixed_dir/oracle/$set"
    number=$((number + 1))
  done
  [ "$task" != talkers ] || ln -sfn mixtures "$mixed_dir/$system"
}

train_separator() {
  local mixtures=$mixed_dir/mixtures words
  read -ra words <<< "$separator_options"
  "${launch[@]}" "$bin/train.py" --config "$separator" --exp_dir "$separator_dir" ${seed:+--seed "$seed"} \
    --train_data "$mixtures/train/shard.list" --train_label "$mixtures/train/utt2lab" \
    --val_data "$mixtures/dev/shard.list" --val_label "$mixtures/dev/utt2lab" \
    --train_stems "$mixtures/train/stems/shard.list" --val_stems "$mixtures/dev/stems/shard.list" "${words[@]}"
  $gpu_cmd python "$bin/average_model.py" --dst_model "$separator_dir/models/avg_model.pt" \
    --src_path "$separator_dir/models" ${gpus:+--gpus "$gpus"}
}

separate() {
  local set
  for set in "${sets_of_mixtures[@]}"; do
    "${launch[@]}" "$bin/separate.py" --mixtures_dir "$mixed_dir/mixtures/$set" --out_dir "$data_dir/$set" \
      --config "$separator_dir/config.yaml" --model_path "$separator_dir/models/avg_model.pt"
  done
}

# In stage 7: what is asked of mixtures, with thresholds and calibration from dev.
evaluate_more() {
  local set options dev=(--dev_cm "$exp_dir/posteriors/dev/llr.txt" --dev_key "$mixed_dir/mixtures/dev/plan.tsv")
  [ "$system" != separated ] || dev+=(--dev_separation "$data_dir/dev/separation.tsv")
  for set in dev eval; do
    options=(--cm "$exp_dir/posteriors/$set/llr.txt" --key "$mixed_dir/mixtures/$set/plan.tsv")
    [ "$system" != separated ] || options+=(--separation "$data_dir/$set/separation.tsv")
    [ "$system" != oracle ] || options+=(--assignment identity)
    $cpu_cmd python "$bin/evaluate_mixtures.py" "${options[@]}" "${dev[@]}" --bootstrap "$bootstrap" \
      --out_dir "$exp_dir/mixtures/$set"
  done
}
