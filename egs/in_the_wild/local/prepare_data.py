"""In-the-Wild, as published, to a data directory."""

import csv
from pathlib import Path

from wedefense_lite import cli
from wedefense_lite.audio.data_dir import Counts, Trial, write_data_dirs
from wedefense_lite.audio.protocol import make_trial
from wedefense_lite.files import InputError, read_text

# Columns of meta.csv, and our names of them.
COLUMNS = {"file": "key", "speaker": "speaker", "label": "label"}
# Published numbers of utterances, bona fide and spoofed.
COUNTS = {"in_the_wild": Counts(19963, 11816)}


def read_meta(path: Path) -> list[Trial]:
    """Trials of ``meta.csv``; spaces in the names of speakers become ``_``.

    Args:
        path: comma-separated, with the header ``file,speaker,label``; the audio lies beside it.

    Raises:
        InputError: no header or two, another number of cells, or an unknown label.
    """
    header = list(COLUMNS)
    names = ",".join(header)
    trials = []
    for number, line in enumerate(read_text(path).split("\n"), 1):
        if not line.strip():
            continue
        cells = _split_cells(line)
        is_header = cells == header
        if len(cells) != len(header) or is_header != (number == 1):
            raise InputError(
                f"{path}:{number}: {line!r}, expected {names} below a header of these names"
            )
        if not is_header:
            row = dict(zip(COLUMNS.values(), cells))
            trials.append(make_trial(f"{path}:{number}", row, path.parent, extension=".wav"))
    return trials


def _split_cells(line: str) -> list[str]:
    """Cells of a line; none where a quotation mark leads on to the next line."""
    try:
        return next(csv.reader([line], strict=True))
    except csv.Error:
        return []


def prepare_data(corpus_dir: str, data_dir: str = "data", expect_counts: bool = True):
    """Write data/in_the_wild.

    Args:
        corpus_dir: folder that holds meta.csv and the audio files (release_in_the_wild).
        data_dir: folder to write the data directory into.
        expect_counts: refuse a meta.csv that doesn't have the published numbers of utterances.
    """
    sets = {"in_the_wild": read_meta(Path(corpus_dir, "meta.csv"))}
    write_data_dirs(data_dir, sets, COUNTS if expect_counts else None)


if __name__ == "__main__":
    cli.run(prepare_data)
