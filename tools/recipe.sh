# Source this at the end of a recipe's run.sh: the stages 1 to 8 that all recipes share.
#
# The run.sh sets: recipe (its folder), corpus_dir, and what it wants different from the defaults
# below, and defines prepare(), which fills $data_dir/{train,dev,eval} from $corpus_dir, and, where
# defaults depend on options, settle(), which is called when these are known. asv_scores is the corpus's
# file of ASV scores, relative to $corpus_dir, with SET for dev and eval. test_sets are scored, like dev,
# and calibrated on it. With task=localization, decisions are those of frames, and utterances are scored
# from these; data directories then have segments.rttm. With task=talkers, they are those of the talkers of mixtures,
# whose stems are in a folder of the data directories. evaluate_more(), if it is there, adds to stage 7.
# tools/score.sh is the recipe that trains nothing: it defines fit() as false.
refuse() {
  echo "$0: error: $1" >&2
  exit 2
}
declare -F fit > /dev/null || fit() { true; }
: "${stage:=1}" "${stop_stage:=8}" "${nproc:=}" "${gpus:=}" "${data_type:=shard}" "${task:=detection}"
: "${corpus_dir:=}" "${data_dir:=}" "${exp_dir:=}"
! fit || : "${config:=}" "${noise_data:=}" "${reverb_data:=}" "${train_options:=}" "${seed:=}" "${num_avg:=}" "${checkpoint:=}"
: "${num_utts_per_shard:=1000}" "${num_threads:=8}" "${score_batch_size:=}" "${num_workers:=}"
: "${pi_spoof:=0.05}" "${cost:=asvspoof5_track1}" "${bootstrap:=1000}" "${asv_scores:=}" "${both:=false}"
. "$root/tools/parse_options.sh"
[[ $stage =~ ^[1-8]$ && $stop_stage =~ ^[1-8]$ ]] || refuse "--stage and --stop_stage are 1 to 8"
locate() { [ "$task" = localization ]; }
talk() { [ "$task" = talkers ]; }
! declare -F settle > /dev/null || settle
! fit || : "${config:=$root/conf/resnet18.yaml}"
: "${data_dir:=$recipe/data}" "${exp_dir:=$recipe/exp/$(basename "${config:-}" .yaml)}"
: "${test_sets:=eval}" "${by:=attack}"
sets=($test_sets)
scored=("${sets[@]}") calibrated=("${sets[@]/%/_calibrated}")
if fit; then
  train_dir=$data_dir/train dev_dir=$data_dir/dev model=$exp_dir/models/avg_model.pt
  sets=(train dev "${sets[@]}") scored=(dev "${scored[@]}")
fi
[ -n "$dev_dir" ] && ! talk || calibrated=()
. "$root/conf/cmd.sh"
if [ -z "${VIRTUAL_ENV:-}" ] && [ -d "$root/.venv" ]; then PATH=$root/.venv/bin:$PATH; fi
bin=$root/wedefense_lite/bin
launch=($gpu_cmd "$root/tools/launch.sh" "--nproc=$nproc" "--gpus=$gpus")
workers=${num_workers:+--num_workers=$num_workers}
read -ra train_words <<< "${train_options:-}"

[[ $data_type == shard || $data_type == raw ]] || refuse "--data_type is shard or raw"
[[ $task == detection ]] || locate || { talk && declare -F evaluate_more > /dev/null; } || refuse "--task is detection or localization"
parts=() output=embeddings counted=$train_dir
! locate || parts=(--train_segments "$train_dir/segments.rttm" --val_segments "$dev_dir/segments.rttm") output=logits
! talk || parts=(--train_stems "$train_dir/stems/shard.list" --val_stems "$dev_dir/stems/shard.list") counted=$train_dir/stems

# run N NAME: true where stage N is asked for.
run() {
  [ "$stage" -le "$1" ] && [ "$stop_stage" -ge "$1" ] || return 1
  echo "== stage $1: $2"
}

list_of() { echo "$data_dir/$1/$data_type.list"; }

if run 1 "prepare data"; then
  prepare
  $cpu_cmd python "$root/tools/validate_data_dir.py" "${sets[@]/#/$data_dir/}"
fi

if run 2 "make lists"; then
  for set in "${sets[@]}"; do
    dir=$data_dir/$set
    if [ ! -f "$dir/wav.scp" ]; then
      [ "$data_type" = shard ] || refuse "$dir has shards only: --data_type shard"
    elif [ "$data_type" = shard ]; then
      $cpu_cmd python "$root/tools/make_shard_list.py" --num_utts_per_shard "$num_utts_per_shard" \
        --num_threads "$num_threads" --prefix shards --shuffle \
        "$dir/wav.scp" "$dir/utt2lab" "$dir/shards" "$(list_of $set)"
    else
      $cpu_cmd python "$root/tools/make_raw_list.py" "$dir/wav.scp" "$dir/utt2lab" "$(list_of $set)"
    fi
  done
fi

if fit && run 3 "train"; then
  "${launch[@]}" "$bin/train.py" --config "$config" "${train_words[@]}" --exp_dir "$exp_dir" --data_type "$data_type" \
    --train_data "$(list_of train)" --train_label "$data_dir/train/utt2lab" \
    --val_data "$(list_of dev)" --val_label "$data_dir/dev/utt2lab" "${parts[@]}" \
    ${seed:+--seed "$seed"} ${num_avg:+--num_avg "$num_avg"} ${checkpoint:+--checkpoint "$checkpoint"} $workers \
    ${noise_data:+--noise_data "$noise_data"} ${reverb_data:+--reverb_data "$reverb_data"}
fi

if run 4 "$output of the averaged model"; then
  ! fit || $gpu_cmd python "$bin/average_model.py" --dst_model "$exp_dir/models/avg_model.pt" \
    --src_path "$exp_dir/models" ${num_avg:+--num "$num_avg"} --bn_data "$(list_of train)" --data_type "$data_type" \
    ${gpus:+--gpus "$gpus"}
  for set in "${scored[@]}"; do
    ark=$exp_dir/embeddings/$set/embedding.ark
    ! locate || ark=$exp_dir/posteriors/$set/logits.ark
    "${launch[@]}" "$bin/extract.py" --config "$exp_dir/config.yaml" --model_path "$model" \
      --data_type "$data_type" --data_list "$(list_of $set)" ${score_batch_size:+--batch_size "$score_batch_size"} \
      $workers --output "$output" --embed_ark "$ark"
  done
fi

if ! locate && run 5 "logits and posteriors"; then
  for set in "${scored[@]}"; do
    $cpu_cmd python "$bin/infer.py" --model_path "$model" --config "$exp_dir/config.yaml" \
      --num_classes 2 --embedding_scp_path "$exp_dir/embeddings/$set/embedding.scp" \
      --out_path "$exp_dir/posteriors/$set"
  done
fi

to_llr() {
  $cpu_cmd python "$bin/logits_to_llr.py" --logits_scp_path "$exp_dir/posteriors/$1/logits.scp" \
    ${counted:+--training_counts "$counted/lab2num_utts" --train_label "$counted/utt2lab"} \
    --pi_spoof "$pi_spoof" "${@:2}"
}

if run 6 "log-likelihood ratios, of test sets also calibrated on dev"; then
  for set in "${scored[@]}"; do to_llr "$set"; done
  for scores in "${calibrated[@]}"; do
    to_llr "${scores%_calibrated}" --cal_logits_scp_path "$exp_dir/posteriors/dev/logits.scp" \
      --cal_label "$dev_dir/utt2lab" --llr_path "$exp_dir/posteriors/$scores/llr.txt"
  done
fi

if ! talk && run 7 "evaluate"; then
  for scores in "${scored[@]}" "${calibrated[@]}"; do
    set=${scores%_calibrated}
    meta=$data_dir/$set/meta.tsv
    [ "$by" != attack ] || meta=$data_dir/$set/utt2attack
    asv=${asv_scores:+${corpus_dir:+$corpus_dir/}${asv_scores//SET/$set}}
    echo "-- $scores"
    if [ -n "$asv" ] && [ ! -f "$asv" ]; then
      [ "${expect_counts:-true}" = false ] || refuse "no ASV scores at $asv"
      echo "no ASV scores at $asv: no t-DCF" && asv=
    fi
    $cpu_cmd python "$bin/evaluate.py" --m t1 --cm "$exp_dir/posteriors/$scores/llr.txt" \
      --cm_key "$data_dir/$set/cm_key_file.txt" --meta "$meta" --by "$by" --both "$both" \
      --cost "$cost" --bootstrap "$bootstrap" ${asv:+--asv_scores "$asv"} \
      --json "$exp_dir/results_$scores.json" --txt "$exp_dir/results_$scores.txt"
  done
fi

if locate && run 7 "evaluate where, and decide on segments"; then
  for set in "${scored[@]}"; do
    dir=$data_dir/$set decided=$exp_dir/segments/$set splices=()
    [ ! -f "$dir/splices.txt" ] || splices=(--splices "$dir/splices.txt")
    scores=(--frame_scores "$exp_dir/posteriors/$set/frame_llr.txt")
    $cpu_cmd python "$bin/segments.py" "${scores[@]}" --out_dir "$decided" \
      --dev_frame_scores "$exp_dir/posteriors/dev/frame_llr.txt" --dev_rttm "$dev_dir/segments.rttm"
    scores+=(--rttm "$dir/segments.rttm" --segments "$decided/segments.rttm")
    $cpu_cmd python "$bin/evaluate_localization.py" "${scores[@]}" --meta "$dir/utt2attack" "${splices[@]}" \
      --json "$exp_dir/results_localization_$set.json" --txt "$exp_dir/results_localization_$set.txt"
    $cpu_cmd python "$bin/draw_localization.py" "${scores[@]}" --wav_scp "$dir/wav.scp" --out_dir "$exp_dir/pictures/$set"
  done
fi

if declare -F evaluate_more > /dev/null && run 7 "evaluate more"; then
  evaluate_more
fi

if fit && ! talk && run 8 "report"; then
  $cpu_cmd python "$bin/report.py" --exp_dir "$exp_dir" --data_dir "$data_dir"
  echo "open $exp_dir/report.html"
fi
