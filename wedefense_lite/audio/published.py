"""What preparations of published corpora share: tables with a header, folders, names of sets."""

import csv
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal

from wedefense_lite.audio.data_dir import Counts, Trial, write_data_dirs
from wedefense_lite.audio.ids import AUDIO_EXTENSIONS
from wedefense_lite.files import InputError, note_input, read_text
from wedefense_lite.labels import LABELS, SPOOF

# A set to prepare as a test set, or the three of a training.
Subset = Literal["train", "dev", "eval", "all"]
SETS = ("train", "dev", "eval")


def read_csv(path: Path, columns: Mapping[str, str]) -> list[tuple[str, dict[str, str]]]:
    """Rows of a comma-separated table with a header, as (``file:line``, cells by our names).

    Args:
        path: the table, a row a line.
        columns: name in the header to our name of the column; other columns are left out.

    Raises:
        InputError: a header without one of the columns, a row with another number of cells than the
            header, or a second header.
    """
    note_input(path)
    names = ",".join(columns)
    header: list[str] = []
    rows = []
    for number, line in enumerate(read_text(path).split("\n"), 1):
        if not line.strip():
            continue
        cells = _split_cells(line)
        has_names = set(columns) <= set(cells)
        # The first line is the header, and no other is.
        if has_names != (not header) or (header and len(cells) != len(header)):
            raise InputError(
                f"{path}:{number}: {line!r}, expected {names} below a header of these names"
            )
        if header:
            row = dict(zip(header, cells))
            rows.append((f"{path}:{number}", {columns[name]: row[name] for name in columns}))
        else:
            header = cells
    return rows


def _split_cells(line: str) -> list[str]:
    """Cells of a line; none where a quotation mark leads on to the next line."""
    try:
        return next(csv.reader([line], strict=True))
    except csv.Error:
        return []


def find_audio(folder: Path, pattern: str) -> list[str]:
    """Names of the audio files of a folder, relative to it, sorted; hidden files are left out.

    Args:
        folder: folder of a corpus.
        pattern: of the names, as ``Path.glob`` takes it: ``*/*`` is a file in a folder.

    Raises:
        InputError: there is none.
    """
    names = []
    for path in folder.glob(pattern):
        name = path.relative_to(folder).as_posix()
        is_hidden = any(part.startswith(".") for part in name.split("/"))
        if path.suffix.lower() in AUDIO_EXTENSIONS and not is_hidden and path.is_file():
            names.append(name)
    if not names:
        raise InputError(f"{folder}: no audio file {pattern}, expected the folder as published")
    return sorted(names, key=str.encode)


def write_sets(
    corpus: str,
    subset: Subset,
    read_set: Callable[[str], list[Trial]],
    counts: Mapping[str, Counts | int],
    data_dir: str | Path,
    expect_counts: bool,
    spoof_only: bool = False,
    relative: bool = False,
) -> None:
    """Write ``data_dir/<corpus>_<subset>``, or ``data_dir/{train,dev,eval}`` of all three sets.

    Args:
        corpus: name of the corpus.
        subset: one set, or all.
        read_set: trials of a set of ``SETS``.
        counts: published numbers of utterances of some or all sets.
        data_dir: folder of the data directories.
        expect_counts: whether other numbers are refused.
        spoof_only: whether bona fide speech is left out, for corpora of which it is published
            elsewhere; what is left is not counted.
        relative: as in ``write_data_dirs``.

    Raises:
        InputError: as ``read_set`` and ``write_data_dirs``.
    """
    sets = {}
    expected = {}
    for name in SETS if subset == "all" else [subset]:
        written = name if subset == "all" else f"{corpus}_{name}"
        trials = read_set(name)
        if spoof_only:
            trials = [trial for trial in trials if trial.label == LABELS[SPOOF]]
        elif expect_counts and name in counts:
            expected[written] = counts[name]
        sets[written] = trials
    write_data_dirs(data_dir, sets, expected, relative=relative)
