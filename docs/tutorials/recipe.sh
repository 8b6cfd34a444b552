# %% [markdown]
# # Add a recipe
#
# A corpus comes with a protocol, a list of its files and their labels. A preparation of thirty lines
# makes it trainable, scorable and comparable like any other. This page adds a corpus whose protocol
# the package can read; CONTRIBUTING adds one with a table of its own, and a `run.sh`.
#
# ## The corpus
#
# A stranger's corpus: one folder of audio, and one protocol a set, here made of 143 files of the
# corpus of `make mini`.
# %%
egs/mini/run.sh --stop_stage 1
mkdir -p my_corpus/audio
for set in train dev eval; do
  join egs/mini/data/$set/utt2lab egs/mini/data/$set/utt2spk | awk 'NR % 8 == 0' |
    while read -r utterance label speaker; do
      ln -sf "$(awk -v id="$utterance" '$1 == id {print $2}' egs/mini/data/$set/wav.scp)" \
        my_corpus/audio/$utterance.flac
      echo "$speaker $utterance $label"
    done > my_corpus/$set.txt
done
head -n 3 my_corpus/train.txt
wc -l my_corpus/*.txt
# %% [markdown]
# ## The preparation
#
# `read_protocol` names the columns, `write_sets` checks and writes. A `subset` of type `Subset` says
# that the corpus can be trained on too.
# %%
mkdir -p egs/my_corpus/local
cat > egs/my_corpus/local/prepare_data.py << 'END'
"""My corpus, as published, to data directories."""

from wedefense_lite import cli

from pathlib import Path

from wedefense_lite.audio.data_dir import Trial
from wedefense_lite.audio.protocol import read_protocol
from wedefense_lite.audio.published import Subset, write_sets

COLUMNS = "speaker key label"
COUNTS = {"train": 62, "dev": 31, "eval": 50}


def prepare_data(
    corpus_dir: str,
    subset: Subset = "eval",
    data_dir: str = "data",
    expect_counts: bool = True,
):
    """Write data/my_corpus_<subset>, or data/{train,dev,eval} of all three sets.

    Args:
        corpus_dir: folder that holds <set>.txt and audio/.
        subset: set to prepare as a test set; all: the three sets of a training.
        data_dir: folder to write the data directories into.
        expect_counts: refuse lists that don't have the published numbers of utterances.
    """

    def read_set(name: str) -> list[Trial]:
        return read_protocol(f"{corpus_dir}/{name}.txt", COLUMNS, Path(corpus_dir, "audio"))

    write_sets("my_corpus", subset, read_set, COUNTS, data_dir, expect_counts)


if __name__ == "__main__":
    cli.run(prepare_data)
END
# %% [markdown]
# ## A test set
#
# What is prepared can be scored by any trained system.
# %%
python egs/my_corpus/local/prepare_data.py --corpus_dir my_corpus --data_dir data
ls data/my_corpus_eval
cat data/my_corpus_eval/lab2num_utts
# %% [markdown]
# ## A training
#
# `tools/train_corpus.sh` gives it all stages of a recipe, with no `run.sh`. A file that is missing, a
# label that is none, or a number of utterances that is not the published one ends in one line.
# %%
tools/train_corpus.sh --corpus my_corpus --corpus_dir my_corpus --config conf/resnet18_small.yaml \
  --nproc 1 --num_avg 2 --bootstrap 100 --train_options "--num_epochs 8"
# %% [markdown]
# With 62 files the numbers say that the stages run, and nothing else. To share the recipe, write
# `egs/my_corpus/README.md`, a row in `egs/README.md`, and a miniature of its layout in
# `tests/unit/published`.
