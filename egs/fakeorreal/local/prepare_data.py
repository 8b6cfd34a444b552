"""Fake-or-Real (FoR), as published, to data directories."""

from wedefense_lite import cli

from pathlib import Path
from typing import Literal

from wedefense_lite.audio.data_dir import Counts, Trial
from wedefense_lite.audio.protocol import make_trial
from wedefense_lite.audio.published import Subset, find_audio, write_sets

FOLDERS = {"train": "training", "dev": "validation", "eval": "testing"}
# Published numbers of utterances, bona fide and spoofed, where they are known.
COUNTS = {
    "norm": {"train": Counts(26941, 26927), "dev": Counts(5400, 5398), "eval": Counts(2264, 2370)},
    "rerec": {"dev": Counts(1101, 1143)},
}


def prepare_data(
    corpus_dir: str,
    version: Literal["original", "norm", "2sec", "rerec"],
    subset: Subset = "eval",
    data_dir: str = "data",
    expect_counts: bool = True,
    relative: bool = False,
):
    """Write data/fakeorreal_<version>_<subset>, or data/{train,dev,eval} of all three sets.

    Args:
        corpus_dir: folder of the version, which holds {training,validation,testing}/{real,fake}.
        version: as collected, normalised, cut to 2 s, or rerecorded; it says the counts.
        subset: set to prepare as a test set; all: the three sets of a training.
        data_dir: folder to write the data directories into.
        expect_counts: refuse folders that don't have the published numbers of utterances.
        relative: write paths from the data directory to the audio, for trees that are moved.
    """
    folder = Path(corpus_dir)

    def read_set(name: str) -> list[Trial]:
        trials = []
        for audio in find_audio(folder, f"{FOLDERS[name]}/*/*"):
            row = {"key": audio, "label": audio.split("/")[1]}
            trials.append(make_trial(str(folder), row, folder))
        return trials

    counts = COUNTS.get(version, {})
    write_sets(
        f"fakeorreal_{version}",
        subset,
        read_set,
        counts,
        data_dir,
        expect_counts,
        relative=relative,
    )


if __name__ == "__main__":
    cli.run(prepare_data)
