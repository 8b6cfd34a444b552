# How corpora and classes share the draws of an epoch. run.sh sources this; the functions use its variables
# (corpora, balance, weights, config) and refuse() of tools/recipe.sh.

# Options of train.py, with their values; no value holds a space.
sampling_options() {
  local classes='--data.balance_classes true' names=($corpora)
  [ ${#names[@]} != 0 ] || refuse "--corpora is needed: recipes, or NAME=FOLDER"
  case $balance in
    both | classes) echo "$classes" ;;
    corpora | none) ;;
    *) refuse "--balance is both, corpora, classes or none" ;;
  esac
  if [ -n "$weights" ]; then
    weight_option
  elif [[ $balance =~ ^(both|corpora)$ ]]; then
    echo "--data.balance_corpora true"
  fi
  if grep -q "class_path: DomainAdversarial" "${config:-/dev/null}"; then
    echo "--system.init_args.num_corpora ${#names[@]}"
  fi
}

# "a=1 b=2" as {"a":1,"b":2}.
weight_option() {
  local pair json=
  for pair in $weights; do
    [[ $pair =~ ^([^=]+)=([0-9.]+)$ ]] || refuse "--weights has '$pair', expected NAME=NUMBER"
    json+=",\"${BASH_REMATCH[1]}\":${BASH_REMATCH[2]}"
  done
  echo "--data.corpus_weights {${json#,}}"
}
