"""CtrSVDD (singing voices), as published, to data directories."""

from wedefense_lite import cli

from pathlib import Path

from wedefense_lite.audio.data_dir import Counts, Trial
from wedefense_lite.audio.protocol import read_protocol
from wedefense_lite.audio.published import Subset, write_sets

NAMES = {"train": "train", "dev": "dev", "eval": "test"}
COLUMNS = "source speaker key - attack label"
# Published numbers of utterances, bona fide and spoofed.
COUNTS = {
    "train": Counts(12169, 72235),
    "dev": Counts(6547, 37078),
    "eval": Counts(13596, 79173),
}


def prepare_data(
    corpus_dir: str,
    subset: Subset = "eval",
    data_dir: str = "data",
    expect_counts: bool = True,
    relative: bool = False,
):
    """Write data/ctrsvdd_<subset>, or data/{train,dev,eval} of all three sets.

    The label deepfake becomes spoof; the corpus that a clip comes from is in meta.tsv.

    Args:
        corpus_dir: folder that holds {train,dev,test}.txt and {train,dev,test}_set/*.flac.
        subset: set to prepare as a test set; all: the three sets of a training.
        data_dir: folder to write the data directories into.
        expect_counts: refuse lists that don't have the published numbers of utterances.
        relative: write paths from the data directory to the audio, for trees that are moved.
    """

    def read_set(name: str) -> list[Trial]:
        folder = Path(corpus_dir, f"{NAMES[name]}_set")
        return read_protocol(Path(corpus_dir, f"{NAMES[name]}.txt"), COLUMNS, folder)

    write_sets("ctrsvdd", subset, read_set, COUNTS, data_dir, expect_counts, relative=relative)


if __name__ == "__main__":
    cli.run(prepare_data)
