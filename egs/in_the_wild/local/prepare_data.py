"""In-the-Wild, as published, to a data directory."""

from wedefense_lite import cli

from pathlib import Path

from wedefense_lite.audio.data_dir import Counts, Trial, write_data_dirs
from wedefense_lite.audio.protocol import make_trial
from wedefense_lite.audio.published import read_csv

# Columns of meta.csv, and our names of them.
COLUMNS = {"file": "key", "speaker": "speaker", "label": "label"}
# Published numbers of utterances, bona fide and spoofed.
COUNTS = {"in_the_wild": Counts(19963, 11816)}


def read_meta(path: Path) -> list[Trial]:
    """Trials of ``meta.csv``, beside which the audio lies."""
    rows = read_csv(path, COLUMNS)
    return [make_trial(line, row, path.parent) for line, row in rows]


def prepare_data(
    corpus_dir: str,
    data_dir: str = "data",
    expect_counts: bool = True,
    relative: bool = False,
):
    """Write data/in_the_wild.

    Args:
        corpus_dir: folder that holds meta.csv and the audio files (release_in_the_wild).
        data_dir: folder to write the data directory into.
        expect_counts: refuse a meta.csv that doesn't have the published numbers of utterances.
        relative: write paths from the data directory to the audio, for trees that are moved.
    """
    sets = {"in_the_wild": read_meta(Path(corpus_dir, "meta.csv"))}
    write_data_dirs(data_dir, sets, COUNTS if expect_counts else None, relative=relative)


if __name__ == "__main__":
    cli.run(prepare_data)
