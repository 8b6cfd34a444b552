"""ADD 2023 track 1.2, as published, to data directories."""

from wedefense_lite import cli

from pathlib import Path
from typing import Literal

from wedefense_lite.audio.data_dir import Trial
from wedefense_lite.audio.protocol import read_protocol
from wedefense_lite.audio.published import Subset, write_sets

# Published numbers of utterances of both classes together, by round.
COUNTS = {"R1": {"eval": 111976}, "R2": {"eval": 118477}}


def prepare_data(
    corpus_dir: str,
    subset: Subset = "eval",
    test: Literal["R1", "R2"] = "R2",
    data_dir: str = "data",
    expect_counts: bool = True,
    relative: bool = False,
):
    """Write data/add2023_<test>_<subset>, or data/{train,dev,eval} of all three sets.

    The label genuine becomes bonafide; speakers and attacks are unknown, as the labels lack them.

    Args:
        corpus_dir: folder that holds train, dev, testR1 and testR2, usually Track1.2.
        subset: set to prepare as a test set; all: the three sets of a training.
        test: round of the challenge whose test set is eval.
        data_dir: folder to write the data directories into.
        expect_counts: refuse test labels that don't have the published number of utterances.
        relative: write paths from the data directory to the audio, for trees that are moved.
    """

    def read_set(name: str) -> list[Trial]:
        folder = Path(corpus_dir, f"test{test}" if name == "eval" else name)
        return read_protocol(folder / "label.txt", "key label", folder / "wav")

    write_sets(
        f"add2023_{test}",
        subset,
        read_set,
        COUNTS[test],
        data_dir,
        expect_counts,
        relative=relative,
    )


if __name__ == "__main__":
    cli.run(prepare_data)
