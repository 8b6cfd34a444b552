# Source this at the end of a recipe's run.sh: the stages 1 to 8 that all recipes share, and 9 of those
# that make pairs of real and vocoded speech.
#
# The run.sh sets before:
#   root          the repository
#   recipe        folder of the recipe
#   corpus_dir    the corpus as published; empty where a command line names it
#   and every default below that is to differ, such as config or task.
# The run.sh defines before:
#   prepare()        stage 1: fill $data_dir/{train,dev,eval} from $corpus_dir
#   settle()         optional: defaults that depend on other options; called once options are known
#   labels           none: sets whose labels nobody knows, for scoring
#   make_pairs()     optional, stage 9: fill $pairs_dir with wav.scp and fake2real, a line "fake real"
#   evaluate_more()  a further evaluation in stage 7; optional but for task=talkers
#
# What differs by task is in tools/tasks/$task.sh. tools/score.sh is a recipe that trains nothing.
# A new stage is one more `if` at the end of this file, a function above it, and the highest number
# in stop_stage and in its check; tools/score.sh has a stop_stage of its own.

refuse() {
  # A control character would be obeyed by the terminal.
  printf '%s: error: %s\n' "$0" "${1//[[:cntrl:]]/?}" >&2
  exit 2
}

# settings NAME VALUE ...: values of variables that the run.sh left empty. One of the environment is
# refused: it would change a recipe without a word.
settings() {
  while [ $# -gt 0 ]; do
    [[ $(declare -p "$1" 2> /dev/null) != "declare -x "* ]] ||
      refuse "the environment has a variable $1, which is a setting of recipes: unset $1"
    [ -n "${!1:-}" ] || printf -v "$1" %s "$2"
    shift 2
  done
}

# ---- Options: each variable that has a value here is an option --NAME VALUE

settings stage 1 stop_stage 8 # first and last stage to run; 9 runs where both are 9
settings dry_run false        # true: print the commands, as they are typed in the repository
settings nproc "" gpus ""     # processes and devices; by default of the machine
settings timeout ""           # minutes that a process waits for another one before the job ends
settings task detection data_type shard # detection, localization, tracing, talkers; shard, raw
settings corpus_dir "" data_dir "" exp_dir ""
settings num_utts_per_shard 1000 num_threads 8
settings convert false  # true: shards hold 16 kHz mono FLAC whatever the files are
settings score_batch_size "" num_workers ""
settings pi_spoof 0.05 cost asvspoof5_track1 bootstrap 1000
settings asv_scores ""  # ASV scores below corpus_dir, SET for dev and eval
settings llr_options "" # more of logits_to_llr.py where it calibrates
# What is scored: difference of the logits, of which LLRs are made, or bonafide_logit, the logit of
# which some authors publish EERs; no LLR is made of it, and its results are in a folder of its name.
settings score difference
# What stage 4 does: whole, or one job of tools/submit.sh --array: average, a part such as 3/8 or
# array/8, which is the one of this job of Slurm's array, or join/8.
settings extraction whole
settings windows first merge mean # all: windows of eval_seconds over whole utterances, merged by mean, min, lowest3
settings threshold ""   # of error rates in stage 7: a number, or results
settings same_sources ""  # tracing: test attacks that are a class, A16=A04,...
settings both false     # true: a condition selects trials of both classes

settings trains true # false: the system exists, tools/score.sh
if [ "$trains" = true ]; then
  settings config "" noise_data "" reverb_data "" train_options "" seed "" num_avg "" checkpoint ""
fi
last_stage=8
if declare -F make_pairs > /dev/null; then
  last_stage=9
  # More of explain.py in stage 9.
  settings explain_options "--curves false --methods input_x_gradient,smooth_grad,grad_cam"
fi

. "$root/tools/parse_options.sh"

[[ $stage =~ ^[1-$last_stage]$ && $stop_stage =~ ^[1-$last_stage]$ ]] ||
  refuse "--stage and --stop_stage are 1 to $last_stage"
[ "$stage" -ne 9 ] || [ "$stop_stage" -eq 9 ] || refuse "--stage 9 needs --stop_stage 9"

[[ $dry_run == true || $dry_run == false ]] || refuse "--dry_run is true or false"

# ---- Settings that depend on options

if declare -F settle > /dev/null; then settle; fi

if [ "$trains" = true ]; then
  if [ "$task" = localization ]; then : "${config:=$root/conf/localization_small.yaml}"; fi
  : "${config:=$root/conf/resnet18.yaml}"
fi
: "${data_dir:=$recipe/data}" "${exp_dir:=$recipe/exp/$(basename "${config:-}" .yaml)}"
settings test_sets eval # sets that are scored beside dev
settings by attack      # condition of the metrics by condition
settings labels utt2lab  # none: nobody knows them

[[ $data_type == shard || $data_type == raw ]] || refuse "--data_type is shard or raw"
task_words="--task is detection, localization or tracing"
case $task in
  detection | localization) ;;
  tracing) [ "$trains" = true ] || refuse "--task tracing is of a recipe that trains" ;;
  talkers) declare -F evaluate_more > /dev/null || refuse "$task_words" ;;
  *) refuse "$task_words" ;;
esac

pairs_dir=$data_dir/pairs
scored_dir=$exp_dir # posteriors and results
score_file=llr.txt
case $score in
  difference) ;;
  bonafide_logit)
    [ "$task" = detection ] || refuse "--score bonafide_logit is for --task detection"
    scored_dir=$exp_dir/bonafide_logit
    score_file=scores.txt
    ;;
  *) refuse "--score is difference or bonafide_logit" ;;
esac

[[ $windows == first || $windows == all ]] || refuse "--windows is first or all"
[[ $merge =~ ^(mean|min|lowest[1-9][0-9]{0,3})$ ]] ||
  refuse "--merge is mean, min, or lowest3 and the like"

read -ra sets <<< "$test_sets"
scored=("${sets[@]}")                   # sets with scores
calibrated=("${sets[@]/%/_calibrated}") # scores once more, calibrated on dev
part=
part_number="[1-9][0-9]{0,3}"
[[ $extraction =~ ^(whole|average|(array|join|$part_number)/$part_number)$ ]] ||
  refuse "--extraction is whole, average, 3/8, array/8 or join/8"
case $extraction in
  array/*)
    [ -n "${SLURM_ARRAY_TASK_ID:-}" ] ||
      refuse "--extraction $extraction is for a job of an array: SLURM_ARRAY_TASK_ID is not set"
    part=$SLURM_ARRAY_TASK_ID/${extraction#array/}
    ;;
  join/*) ;;
  */*) part=$extraction ;;
esac

if [ "$trains" = true ]; then
  train_dir=$data_dir/train
  dev_dir=$data_dir/dev
  model=$exp_dir/models/avg_model.pt
  sets=(train dev "${sets[@]}")
  scored=(dev "${scored[@]}")
fi
if [ -z "$dev_dir" ] || [ "$score" != difference ]; then calibrated=(); fi
counted=$train_dir # data directory with the class counts of the training loss

. "$root/conf/cmd.sh"
if [ "$dry_run" = true ]; then
  cpu_cmd="show $cpu_cmd"
  gpu_cmd="show $gpu_cmd"
fi
if [ -z "${VIRTUAL_ENV:-}" ] && [ -d "$root/.venv" ]; then PATH=$root/.venv/bin:$PATH; fi
bin=$root/wedefense_lite/bin
launch=($gpu_cmd "$root/tools/launch.sh" "--nproc=$nproc" "--gpus=$gpus"
  ${timeout:+"--timeout=$timeout"})

# ---- Commands

# show WORDS...: the command as it is typed in the root of the repository.
show() {
  local word line=
  for word in "$@"; do
    word=${word//"$root/"/}
    # The shell leaves these characters as they are.
    [[ $word =~ ^[][A-Za-z0-9_./:=,@%+-]+$ ]] || printf -v word %q "$word"
    line+="$word "
  done
  printf '%s\n' "${line% }"
}

# has FILE: true where a file is there; a dry run takes it that earlier stages have written it.
has() { [ "$dry_run" = true ] || [ -f "$1" ]; }

list_of() { echo "$data_dir/$1/$data_type.list"; }

make_list() {
  local dir=$data_dir/$1 utt2lab=none
  if [ "$labels" != none ]; then utt2lab=$dir/utt2lab; fi
  if ! has "$dir/wav.scp"; then
    [ -f "$dir/shard.list" ] || refuse "$dir has neither wav.scp nor shard.list: stage 1 writes it"
    [ "$data_type" = shard ] || refuse "$dir has shards only: --data_type shard"
  elif [ "$data_type" = shard ]; then
    $cpu_cmd python "$root/tools/make_shard_list.py" --num_utts_per_shard "$num_utts_per_shard" \
      --num_threads "$num_threads" --prefix shards --shuffle --convert "$convert" \
      "$dir/wav.scp" "$utt2lab" "$dir/shards" "$(list_of "$1")"
  else
    [ "$convert" = false ] || refuse "--convert true goes with --data_type shard"
    $cpu_cmd python "$root/tools/make_raw_list.py" "$dir/wav.scp" "$utt2lab" "$(list_of "$1")"
  fi
}

train() {
  local words corpora_options=()
  read -ra words <<< "$train_options"
  if [ -f "$train_dir/utt2corpus" ]; then
    corpora_options=(
      --train_corpora "$train_dir/utt2corpus"
      --val_corpora "$dev_dir/utt2corpus"
    )
  fi
  if declare -F late_train_options > /dev/null; then late_train_options; fi
  "${launch[@]}" "$bin/train.py" --config "$config" "${words[@]}" \
    --exp_dir "$exp_dir" --data_type "$data_type" \
    --train_data "$(list_of train)" --train_label "$data_dir/train/utt2lab" \
    --val_data "$(list_of dev)" --val_label "$data_dir/dev/utt2lab" "${task_train_options[@]}" \
    "${corpora_options[@]}" \
    ${seed:+--seed "$seed"} ${num_avg:+--num_avg "$num_avg"} \
    ${checkpoint:+--checkpoint "$checkpoint"} ${num_workers:+--num_workers "$num_workers"} \
    ${noise_data:+--noise_data "$noise_data"} ${reverb_data:+--reverb_data "$reverb_data"}
}

average() {
  $gpu_cmd python "$bin/average_model.py" --dst_model "$exp_dir/models/avg_model.pt" \
    --src_path "$exp_dir/models" ${num_avg:+--num "$num_avg"} \
    --bn_data "$(list_of train)" --data_type "$data_type" ${gpus:+--gpus "$gpus"} \
    "${task_average_options[@]}"
}

# extract SETS: all in one process, which starts PyTorch once.
extract() {
  local set lists=() archives=() labels_of_sets=() label=()
  for set in "$@"; do
    lists+=("$(list_of "$set")")
    archives+=("$exp_dir/$(archive_of "$set")")
    labels_of_sets+=("$data_dir/$set/utt2lab")
    # A list of shards alone may be a stream, of which labels say what is in it.
    if [ "$labels" != none ] && ! has "$data_dir/$set/wav.scp"; then label=(--label); fi
  done
  if [ ${#label[@]} -gt 0 ]; then label+=("${labels_of_sets[@]}"); fi
  "${launch[@]}" "$bin/extract.py" --config "$exp_dir/config.yaml" --model_path "$model" \
    --data_type "$data_type" --data_list "${lists[@]}" "${label[@]}" \
    ${score_batch_size:+--batch_size "$score_batch_size"} \
    ${num_workers:+--num_workers "$num_workers"} ${part:+--part "$part"} \
    --windows "$windows" --output "$extracted" --embed_ark "${archives[@]}"
}

# join SET: the parts of its extraction.
join() {
  $cpu_cmd python "$bin/join_extraction.py" --config "$exp_dir/config.yaml" --model_path "$model" \
    --data_type "$data_type" --data_list "$(list_of "$1")" \
    --embed_ark "$exp_dir/$(archive_of "$1")" --parts "${extraction#join/}"
}

# infer SETS: all in one process as well.
infer() {
  local set archives=() folders=()
  for set in "$@"; do
    archives+=("$exp_dir/embeddings/$set/embedding.scp")
    folders+=("$scored_dir/posteriors/$set")
  done
  $cpu_cmd python "$bin/infer.py" --model_path "$model" --config "$exp_dir/config.yaml" \
    --embedding_scp_path "${archives[@]}" --score "$score" --out_path "${folders[@]}"
}

# to_llr SETS -- OPTIONS: LLRs of all of them in one process.
to_llr() {
  local logits=()
  while [ "$1" != -- ]; do
    logits+=("$exp_dir/posteriors/$1/logits.scp")
    shift
  done
  $cpu_cmd python "$bin/logits_to_llr.py" --logits_scp_path "${logits[@]}" \
    ${counted:+--training_counts "$counted/lab2num_utts" --train_label "$counted/utt2lab"} \
    --pi_spoof "$pi_spoof" --merge "$merge" "${@:2}"
}

# to_calibrated_llr SCORES: sets with _calibrated behind their names.
to_calibrated_llr() {
  local set words llrs=()
  read -ra words <<< "$llr_options"
  for set in "$@"; do llrs+=("$exp_dir/posteriors/$set/llr.txt"); done
  to_llr "${@%_calibrated}" -- "${words[@]}" \
    --cal_logits_scp_path "$exp_dir/posteriors/dev/logits.scp" \
    --cal_label "$dev_dir/utt2lab" --llr_path "${llrs[@]}"
}

# evaluate SCORES: sets, or sets with _calibrated behind their names. Those of which the same files
# are there are evaluated in one process.
evaluate() {
  local scores set asv meta key rates kind last_kind= options=()
  local cms=() keys=() metas=() asvs=() jsons=() txts=()
  for scores in "$@"; do
    set=${scores%_calibrated}
    meta=$data_dir/$set/meta.tsv
    key=$data_dir/$set/cm_key_file.txt
    asv=
    rates=$threshold
    if [ "$by" = attack ]; then meta=$data_dir/$set/utt2attack; fi
    # A data directory by hand may have the labels that stages before read, and no key.
    if [ ! -f "$key" ]; then key=$data_dir/$set/utt2lab; fi
    if [ "$labels" = none ]; then key=none; fi
    # Labels alone have no attacks. Any other condition was asked for, and is missed.
    if ! has "$meta" && [ "$by" = attack ]; then meta=; fi
    # The threshold of dev is one of differences of logits as they are, of one window.
    if [[ $windows == first && -z $rates && -n ${dev_results:-} && $scores != *_calibrated && $score == difference ]]; then
      rates=$dev_results
    fi
    if [ -n "$asv_scores" ]; then
      asv=${corpus_dir:+$corpus_dir/}${asv_scores//SET/$set}
      if ! has "$asv"; then
        [ "${expect_counts:-true}" = false ] || refuse "no ASV scores at $asv"
        echo "no ASV scores at $asv: no t-DCF of $scores"
        asv=
      fi
    fi
    kind="${meta:+meta} ${asv:+asv} $rates"
    if [ "$kind" != "$last_kind" ]; then evaluate_together; fi
    last_kind=$kind
    cms+=("$scored_dir/posteriors/$scores/$score_file")
    keys+=("$key")
    if [ -n "$meta" ]; then metas+=("$meta"); fi
    if [ -n "$asv" ]; then asvs+=("$asv"); fi
    options=(${meta:+--by "$by" --both "$both"} ${rates:+--threshold "$rates"})
    jsons+=("$scored_dir/results_$scores.json")
    txts+=("$scored_dir/results_$scores.txt")
  done
  evaluate_together
}

# evaluate_together: what evaluate has collected; then it begins anew.
evaluate_together() {
  local name
  if [ ${#cms[@]} -gt 0 ]; then
    # Of several sets the program says which one a table is of.
    if [ ${#cms[@]} -eq 1 ]; then
      name=${jsons[0]##*/results_}
      echo "-- ${name%.json}"
    fi
    $cpu_cmd python "$bin/evaluate.py" --m t1 --cm "${cms[@]}" --cm_key "${keys[@]}" \
      ${metas[@]:+--meta "${metas[@]}"} "${options[@]}" --cost "$cost" --bootstrap "$bootstrap" \
      ${asvs[@]:+--asv_scores "${asvs[@]}"} --json "${jsons[@]}" --txt "${txts[@]}"
  fi
  cms=() keys=() metas=() asvs=() jsons=() txts=()
}

report() {
  $cpu_cmd python "$bin/report.py" --exp_dir "$exp_dir" --data_dir "$data_dir"
  [ "$dry_run" = true ] || echo "open $exp_dir/report.html"
}

# explain: which cells of spectrograms made the system say spoof, of vocoded speech.
explain() {
  local words
  read -ra words <<< "$explain_options"
  make_pairs
  $cpu_cmd python "$bin/explain.py" --model "$exp_dir" --wav_scp "$pairs_dir/wav.scp" \
    --pairs "$pairs_dir/fake2real" --out_dir "$exp_dir/explanations" "${words[@]}"
}

# for_each COMMAND WORDS...: the command with each word.
for_each() {
  local word
  for word in "${@:2}"; do "$1" "$word"; done
}

# runs N NAME: true where stage N is asked for.
runs() {
  [ "$stage" -le "$1" ] && [ "$stop_stage" -ge "$1" ] || return 1
  echo "== stage $1: $2"
}

task_average_options=()
. "$root/tools/tasks/$task.sh"

# ---- Stages

if runs 1 "prepare data"; then
  prepare
  $cpu_cmd python "$root/tools/validate_data_dir.py" --labels "$labels" "${sets[@]/#/$data_dir/}"
fi

if runs 2 "make lists"; then
  for_each make_list "${sets[@]}"
fi

if [ "$trains" = true ] && runs 3 "train"; then
  train
fi

if runs 4 "$extracted of the averaged model"; then
  # The jobs of an array extract what one job before them has averaged.
  if [[ $trains == true && $extraction =~ ^(whole|average)$ ]]; then average; fi
  case $extraction in
    average) ;;
    join/*) for_each join "${scored[@]}" ;;
    *) extract "${scored[@]}" ;;
  esac
fi

if [ "$extracted" = embeddings ] && runs 5 "logits and posteriors"; then
  infer "${scored[@]}"
fi

if [ "$task" != tracing ] && [ "$score" = difference ] && runs 6 "log-likelihood ratios, of test sets also calibrated on dev"
then
  to_llr "${scored[@]}" --
  if [ ${#calibrated[@]} -gt 0 ]; then to_calibrated_llr "${calibrated[@]}"; fi
fi

if [ "$evaluates_utterances" = true ] && runs 7 "evaluate"; then
  evaluate "${scored[@]}" "${calibrated[@]}"
fi

if [ "$task" = tracing ] && runs 7 "evaluate sources"; then
  for_each evaluate_sources dev $test_sets
fi

if [ "$task" = localization ] && runs 7 "evaluate where, and decide on segments"; then
  for_each evaluate_segments "${scored[@]}"
fi

if declare -F evaluate_more > /dev/null && runs 7 "evaluate more"; then
  evaluate_more
fi

# A report shows LLRs.
if [ "$reports" = true ] && [ "$score" = difference ] && runs 8 "report"; then
  report
fi

# Slow, and of a package that recipes don't need.
if [ "$last_stage" = 9 ] && runs 9 "explain"; then
  explain
fi
