# Localization: a decision for each frame, and scores of utterances from these. Sourced by
# tools/recipe.sh. Data directories have segments.rttm, and splices.txt where joints are known.
extracted=logits
evaluates_utterances=true
reports=$trains
task_train_options=(
  --train_segments "$train_dir/segments.rttm"
  --val_segments "$dev_dir/segments.rttm"
)

archive_of() { echo "posteriors/$1/logits.ark"; }

evaluate_segments() {
  local dir=$data_dir/$1 segments=$exp_dir/segments/$1 splices=()
  local scores=(--frame_scores "$exp_dir/posteriors/$1/frame_llr.txt")
  if [ -f "$dir/splices.txt" ]; then splices=(--splices "$dir/splices.txt"); fi
  $cpu_cmd python "$bin/segments.py" "${scores[@]}" --out_dir "$segments" \
    --dev_frame_scores "$exp_dir/posteriors/dev/frame_llr.txt" --dev_rttm "$dev_dir/segments.rttm"
  scores+=(--rttm "$dir/segments.rttm" --segments "$segments/segments.rttm")
  $cpu_cmd python "$bin/evaluate_localization.py" "${scores[@]}" --meta "$dir/utt2attack" \
    "${splices[@]}" --json "$exp_dir/results_localization_$1.json" \
    --txt "$exp_dir/results_localization_$1.txt"
  $cpu_cmd python "$bin/draw_localization.py" "${scores[@]}" --wav_scp "$dir/wav.scp" \
    --out_dir "$exp_dir/pictures/$1"
}
