# Detection: one decision an utterance. Sourced by tools/recipe.sh.
extracted=embeddings
evaluates_utterances=true
reports=$trains
task_train_options=()

archive_of() { echo "embeddings/$1/embedding.ark"; }
