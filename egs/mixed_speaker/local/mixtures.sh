# The steps that mixtures have beside those of tools/recipe.sh, in the order in which they run. run.sh sources this
# file; the functions use its variables (system, mixed_dir, ...) and those of tools/recipe.sh (bin, launch, ...).
sets_of_mixtures=(train dev eval)

# Before stage 1: defaults that depend on other options.
defaults() {
  local detector=resnet18 size=
  if [ "$mini" = true ]; then
    size=_small  # small systems for a small corpus
    : "${corpora:=$recipe/data/mini}"
    : "${mixed_dir:=$recipe/data/mixed_mini}"
    if [ -z "$num_mixtures" ]; then
      num_mixtures=$(scaled 1000 200 300)  # an assignment, which ends the run where it fails
    fi
  fi
  [ -n "$corpora" ] || refuse "--corpora is needed: folders that hold train, dev and eval; or --mini true"
  : "${mixed_dir:=$recipe/data/mixed}"
  : "${num_mixtures:=30000 5000 5000}"
  : "${separator:=$root/conf/convtasnet$size.yaml}"
  separator_dir=$mixed_dir/exp/$(basename "$separator" .yaml)
  if [ "$task" = talkers ]; then
    detector=talkers_$system
    size=_small  # the one size that conf/ has of these
  fi
  : "${config:=$root/conf/$detector$size.yaml}"
  : "${data_dir:=$mixed_dir/$system}"
  : "${exp_dir:=$mixed_dir/exp/${system}_$(basename "$config" .yaml)}"
  if [ "$system" = joint ]; then
    # First, so that --train_options can name another separator.
    train_options="--separator $separator_dir/models/avg_model.pt $train_options"
  fi
}

# scaled N ...: each number times --scale, 12 at least, so that every class occurs in every set.
scaled() {
  python3 -c 'import sys; print(*(max(12, round(float(sys.argv[1]) * int(n))) for n in sys.argv[2:]))' \
    "$scale" "$@" 2> /dev/null || refuse "--scale is '$scale', expected a number"
}

# Stage 1: plans and their audio. An utterance talks in mixtures of one set only.
simulate() {
  local counts=($num_mixtures) exclude=() number=0 data_dirs folder out set
  [ ${#counts[@]} = 3 ] || refuse "--num_mixtures is '$num_mixtures', expected numbers for train, dev and eval"
  if [ "$mini" = true ]; then
    "$mini_dir/run.sh" --stage 1 --stop_stage 1 --scale "$scale" --corpus_dir "$mini_corpus" --data_dir "$corpora" \
      --dry_run "$dry_run"
  fi
  [ "$dry_run" = true ] || mkdir -p "$mixed_dir/oracle"
  for set in "${sets_of_mixtures[@]}"; do
    out=$mixed_dir/mixtures/$set
    data_dirs=()
    for folder in $corpora; do
      data_dirs+=("$folder/$set")
    done
    $cpu_cmd python "$bin/simulate_mixtures.py" --data_dir "${data_dirs[@]}" --preset "$preset" \
      --num_mixtures "${counts[number]}" --seed "${seed:-1}" --plan "$out/plan.tsv" --out_dir "$out" \
      "${exclude[@]}" $simulate_options
    if [ ${#exclude[@]} = 0 ]; then
      exclude=(--exclude)
    fi
    exclude+=("$out/plan.tsv")
    # Systems read $mixed_dir/$system: for oracle the stems, for joint and direct (below) the mixtures.
    [ "$dry_run" = true ] || ln -sfn "../mixtures/$set/stems" "$mixed_dir/oracle/$set"
    number=$((number + 1))
  done
  if [ "$task" = talkers ] && [ "$dry_run" = false ]; then
    ln -sfn mixtures "$mixed_dir/$system"
  fi
}

# Stage 1, separated and joint: the separator.
train_separator() {
  local train=$mixed_dir/mixtures/train dev=$mixed_dir/mixtures/dev words
  read -ra words <<< "$separator_options"
  "${launch[@]}" "$bin/train.py" --config "$separator" --exp_dir "$separator_dir" ${seed:+--seed "$seed"} \
    --train_data "$train/shard.list" --train_label "$train/utt2lab" --train_stems "$train/stems/shard.list" \
    --val_data "$dev/shard.list" --val_label "$dev/utt2lab" --val_stems "$dev/stems/shard.list" "${words[@]}"
  $gpu_cmd python "$bin/average_model.py" --dst_model "$separator_dir/models/avg_model.pt" \
    --src_path "$separator_dir/models" ${gpus:+--gpus "$gpus"}
}

# Stage 1, separated: its streams, once.
separate() {
  local set
  for set in "${sets_of_mixtures[@]}"; do
    "${launch[@]}" "$bin/separate.py" --mixtures_dir "$mixed_dir/mixtures/$set" --out_dir "$data_dir/$set" \
      --config "$separator_dir/config.yaml" --model_path "$separator_dir/models/avg_model.pt"
  done
}

# Stage 7: metrics of mixtures, with threshold and calibration from dev.
evaluate_more() {
  local dev options set
  dev=(--dev_cm "$exp_dir/posteriors/dev/llr.txt" --dev_key "$mixed_dir/mixtures/dev/plan.tsv")
  if [ "$system" = separated ]; then
    dev+=(--dev_separation "$data_dir/dev/separation.tsv")
  fi
  for set in dev eval; do
    options=(--cm "$exp_dir/posteriors/$set/llr.txt" --key "$mixed_dir/mixtures/$set/plan.tsv")
    case $system in
      separated) options+=(--separation "$data_dir/$set/separation.tsv") ;;
      oracle) options+=(--assignment identity) ;;  # a stem has the number of its talker
    esac
    $cpu_cmd python "$bin/evaluate_mixtures.py" "${options[@]}" "${dev[@]}" --bootstrap "$bootstrap" \
      --out_dir "$exp_dir/mixtures/$set"
  done
}
