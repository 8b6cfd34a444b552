"""DECRO, as published, to data directories: English or Chinese."""

from wedefense_lite import cli

from pathlib import Path
from typing import Literal

from wedefense_lite.audio.data_dir import Counts, Trial
from wedefense_lite.audio.protocol import read_protocol
from wedefense_lite.audio.published import Subset, write_sets

COLUMNS = "speaker key - attack label"
# Published numbers of utterances, bona fide and spoofed. Sources differ by one in the classes of
# the English training set, not in their sum.
COUNTS = {
    "en": {"train": 22541, "dev": Counts(3049, 10503), "eval": Counts(4306, 14884)},
    "ch": {"train": Counts(9000, 17850), "dev": Counts(6109, 12015), "eval": Counts(6109, 12015)},
}


def prepare_data(
    corpus_dir: str,
    language: Literal["en", "ch"],
    subset: Subset = "eval",
    data_dir: str = "data",
    expect_counts: bool = True,
    relative: bool = False,
):
    """Write data/decro_<language>_<subset>, or data/{train,dev,eval} of all three sets.

    Args:
        corpus_dir: folder that holds <language>_<set>.txt and <language>_<set> with .wav files.
        language: en or ch.
        subset: set to prepare as a test set; all: the three sets of a training.
        data_dir: folder to write the data directories into.
        expect_counts: refuse lists that don't have the published numbers of utterances.
        relative: write paths from the data directory to the audio, for trees that are moved.
    """

    def read_set(name: str) -> list[Trial]:
        path = Path(corpus_dir, f"{language}_{name}.txt")
        # The two languages, and sets of them, have files of the same names.
        return read_protocol(path, COLUMNS, path.parent, f"{path.stem}/", extension=".wav")

    write_sets(
        f"decro_{language}",
        subset,
        read_set,
        COUNTS[language],
        data_dir,
        expect_counts,
        relative=relative,
    )


if __name__ == "__main__":
    cli.run(prepare_data)
