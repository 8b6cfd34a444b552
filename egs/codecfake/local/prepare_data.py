"""Codecfake (Xie et al.), as published, to data directories."""

from wedefense_lite import cli

from pathlib import Path
from typing import Literal

from wedefense_lite.audio.data_dir import Trial
from wedefense_lite.audio.protocol import read_protocol
from wedefense_lite.audio.published import Subset, write_sets

Test = Literal["C1", "C2", "C3", "C4", "C5", "C6", "C7", "A1", "A2", "A3"]
COLUMNS = "key label attack"
# Published numbers of utterances of both classes together.
COUNTS = {"train": 740747, "dev": 92596, "C7": 145505, "A1": 8902, "A2": 8902, "A3": 99112}
COUNTS |= dict.fromkeys(("C1", "C2", "C3", "C4", "C5", "C6"), 26456)


def prepare_data(
    corpus_dir: str,
    subset: Subset = "eval",
    test: Test = "C1",
    data_dir: str = "data",
    expect_counts: bool = True,
    spoof_only: bool = False,
    relative: bool = False,
):
    """Write data/codecfake_<test>_eval, or data/{train,dev,eval}; an attack is a codec's number.

    Args:
        corpus_dir: folder that holds label/<set>.txt, train, dev and test/<test> with .wav files.
        subset: set to prepare as a test set; all: the three sets of a training.
        test: test set that is eval: codecs seen (C1 to C6) and unseen (C7), audio language models.
        data_dir: folder to write the data directories into.
        expect_counts: refuse labels that don't have the published number of utterances.
        spoof_only: leave out the bona fide speech, which is not published for A3.
        relative: write paths from the data directory to the audio, for trees that are moved.
    """

    def read_set(name: str) -> list[Trial]:
        label = test if name == "eval" else name
        folder = f"test/{test}" if name == "eval" else name
        path = Path(corpus_dir, f"label/{label}.txt")
        # The bona fide files of the test sets have the same names.
        return read_protocol(path, COLUMNS, Path(corpus_dir), f"{folder}/", extension=".wav")

    counts = COUNTS | {"eval": COUNTS[test]}
    name = f"codecfake_{test}"
    write_sets(
        name, subset, read_set, counts, data_dir, expect_counts, spoof_only, relative=relative
    )


if __name__ == "__main__":
    cli.run(prepare_data)
