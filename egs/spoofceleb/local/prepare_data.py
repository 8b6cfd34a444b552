"""SpoofCeleb, as published, to data directories."""

from wedefense_lite import cli

from pathlib import Path

from wedefense_lite.audio.data_dir import Counts, Trial
from wedefense_lite.audio.protocol import make_trial
from wedefense_lite.audio.published import Subset, read_csv, write_sets

FOLDERS = {"train": "train", "dev": "development", "eval": "evaluation"}
COLUMNS = {"file": "key", "speaker": "speaker", "attack": "attack"}
BONAFIDE = "a00"  # every other attack is a synthesiser
# Published numbers of utterances, bona fide and spoofed.
COUNTS = {
    "train": Counts(230948, 2309473),
    "dev": Counts(7963, 47778),
    "eval": Counts(9113, 82017),
}


def prepare_data(
    corpus_dir: str,
    subset: Subset = "eval",
    data_dir: str = "data",
    expect_counts: bool = True,
    relative: bool = False,
):
    """Write data/spoofceleb_<subset>, or data/{train,dev,eval} of all three sets.

    Args:
        corpus_dir: folder that holds metadata/<set>.csv and flac/<set>, usually spoofceleb.
        subset: set to prepare as a test set; all: the three sets of a training.
        data_dir: folder to write the data directories into.
        expect_counts: refuse metadata that doesn't have the published numbers of utterances.
        relative: write paths from the data directory to the audio, for trees that are moved.
    """

    def read_set(name: str) -> list[Trial]:
        folder = Path(corpus_dir, "flac", FOLDERS[name])
        trials = []
        for line, row in read_csv(Path(corpus_dir, f"metadata/{FOLDERS[name]}.csv"), COLUMNS):
            row["label"] = "bonafide" if row["attack"] == BONAFIDE else "spoof"
            trials.append(make_trial(line, row, folder))
        return trials

    write_sets("spoofceleb", subset, read_set, COUNTS, data_dir, expect_counts, relative=relative)


if __name__ == "__main__":
    cli.run(prepare_data)
