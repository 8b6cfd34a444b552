"""In-the-Wild, as published, to a data directory."""

import csv
from pathlib import Path

from wedefense_lite import cli
from wedefense_lite.audio.data_dir import Counts, Trial, write_data_dirs
from wedefense_lite.audio.protocol import make_trial
from wedefense_lite.files import InputError, read_text

COLUMNS = {"file": "key", "speaker": "speaker", "label": "label"}
COUNTS = {"in_the_wild": Counts(19963, 11816)}


def read_meta(path: Path) -> list[Trial]:
    """Trials of ``meta.csv``, whose names of speakers hold spaces (ours have ``_`` there)."""
    rows = [
        (number, cells)
        for number, cells in enumerate(csv.reader(read_text(path).splitlines()), 1)
        if cells
    ]
    trials, expected = [], list(COLUMNS)
    for number, cells in rows:
        if len(cells) != len(COLUMNS) or (number == 1) != (cells == expected):
            raise InputError(
                f"{path}:{number}: {','.join(cells)!r}, expected {','.join(expected)} below such a header"
            )
        if number > 1:
            row = dict(zip(COLUMNS.values(), cells))
            trials.append(make_trial(f"{path}:{number}", row, path.parent, extension=".wav"))
    return trials


def prepare_data(corpus_dir: str, data_dir: str = "data", expect_counts: bool = True):
    """Write data/in_the_wild.

    Args:
        corpus_dir: release_in_the_wild, the folder that holds meta.csv and the audio files.
        data_dir: folder to write the data directory into.
        expect_counts: refuse a meta.csv that doesn't have the published numbers of utterances.
    """
    sets = {"in_the_wild": read_meta(Path(corpus_dir, "meta.csv"))}
    write_data_dirs(data_dir, sets, COUNTS if expect_counts else None)


if __name__ == "__main__":
    cli.run(prepare_data)
