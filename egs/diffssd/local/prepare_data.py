"""DiffSSD, as published, to data directories."""

from wedefense_lite import cli

from pathlib import Path

from wedefense_lite.audio.data_dir import Trial
from wedefense_lite.audio.protocol import make_trial
from wedefense_lite.audio.published import Subset, read_csv, write_sets
from wedefense_lite.files import InputError

COLUMNS = {"filename": "key", "method_name": "attack", "target": "label", "set": "set"}
NAMES = {"train": "train", "dev": "val", "eval": "test"}
LABELS = {"0": "bonafide", "1": "spoof"}


def prepare_data(
    corpus_dir: str,
    subset: Subset = "eval",
    spoof_only: bool = False,
    data_dir: str = "data",
    relative: bool = False,
):
    """Write data/diffssd_<subset>, or data/{train,dev,eval} of all three sets.

    Args:
        corpus_dir: folder that holds train_val_test_splits.csv, and the audio where that says.
        subset: set to prepare as a test set; all: the three sets of a training.
        spoof_only: leave out the bona fide speech, which is published elsewhere.
        data_dir: folder to write the data directories into.
        relative: write paths from the data directory to the audio, for trees that are moved.
    """
    folder = Path(corpus_dir)

    def read_set(name: str) -> list[Trial]:
        trials = []
        for line, row in read_csv(folder / "train_val_test_splits.csv", COLUMNS):
            target = row["label"]
            if target not in LABELS:
                raise InputError(f"{line}: target {target!r}, expected 0 (bona fide) or 1 (spoof)")
            row["label"] = LABELS[target]
            if row.pop("set") == NAMES[name]:
                trials.append(make_trial(line, row, folder))
        return trials

    write_sets(
        "diffssd",
        subset,
        read_set,
        {},
        data_dir,
        expect_counts=False,
        spoof_only=spoof_only,
        relative=relative,
    )


if __name__ == "__main__":
    cli.run(prepare_data)
