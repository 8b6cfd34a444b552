"""Score and key files as other toolkits and challenges write them, recognised by their content.

Nothing has to be named: the number of columns, a header, and what stands in the first line tell the
formats apart. What a file was taken for is part of the result, so that commands can print it.

| file | a line |
|---|---|
| scores of ASVspoof 5 and of this toolkit | header ``filename cm-score`` |
| scores of ASVspoof 2021, of SSL systems, of the arenas | ``utt score`` |
| scores of ASVspoof 2019 | ``utt attack label score`` |
| log of NII's toolkit | ``Output, utt, label, score`` |
| key of ASVspoof 5 and of this toolkit | header ``filename cm-label`` |
| ``utt2lab`` | ``utt label`` |
| protocol of ASVspoof 2019 | ``speaker utt environment attack label`` |
| protocol of ASVspoof 2017 | ``utt label speaker phrase environment playback recording`` |
| ``trial_metadata.txt`` of ASVspoof 2021 | ``speaker utt codec ... attack label trim phase`` |
| protocol of ASVspoof 5 | ``speaker utt gender codec q seed tag attack label -`` |
| table of the arenas, In-the-Wild, MLAAD | a header that names file and label, commas or tabs |
"""

import csv
import gzip
import io
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from wedefense_lite.files import (
    GZIP,
    NO_VALUE,
    InputError,
    check_text,
    note_input,
    number,
    read_bytes,
    split_fields,
)
from wedefense_lite.labels import label_of_word

# Columns of a header by what they hold; compared without regard to case and punctuation.
UTTERANCE_COLUMNS = (
    "filename",
    "file",
    "utt",
    "utterance",
    "uttid",
    "utteranceid",
    "trial",
    "trialanon",
    "audiopath",
    "path",
)
SCORE_COLUMNS = ("cmscore", "score", "scores", "llr")
LABEL_COLUMNS = ("cmlabel", "label", "key")
# Bytes of a table that was packed; the largest of the field have 100 MB.
MOST_BYTES = 1 << 30
AUDIO_EXTENSIONS = (".flac", ".wav", ".mp3", ".ogg", ".opus", ".m4a")


class Layout(NamedTuple):
    """Columns of a format without a header.

    Attributes:
        name: name of the format, for people.
        columns: name of each column; ``-`` is left out.
        is_of: whether the cells of a line are of this format.
    """

    name: str
    columns: Sequence[str]
    is_of: Callable[[Sequence[str]], bool]


class ScoreTable(NamedTuple):
    """Scores of a file.

    Attributes:
        format: what the file was taken for.
        scores: utterance to score, in the order of the file.
    """

    format: str
    scores: dict[str, float]


class KeyTable(NamedTuple):
    """Labels of a file.

    Attributes:
        format: what the file was taken for.
        labels: utterance to ``bonafide`` or ``spoof``, in the order of the file.
        conditions: name of each further column to the values of the utterances.
    """

    format: str
    labels: dict[str, str]
    conditions: dict[str, dict[str, str]]


def _is_class(text: str) -> bool:
    try:
        label_of_word(text)
    except ValueError:
        return False
    return True


def _is_number(text: str) -> bool:
    try:
        number(text)
    except ValueError:
        return False
    return True


def _has(count: int, label: int | None = None, score: int | None = None) -> Callable:
    """Test of a line: its number of cells, and the columns of its class and its score."""

    def test(cells: Sequence[str]) -> bool:
        if len(cells) != count:
            return False
        if label is not None and not _is_class(cells[label]):
            return False
        return score is None or _is_number(cells[score])

    return test


def _is_nii_log(cells: Sequence[str]) -> bool:
    return len(cells) == 4 and cells[0] == "Output" and _is_number(cells[3])


SCORE_LAYOUTS = [
    Layout("NII's log", ("-", "utt", "-", "score"), _is_nii_log),
    Layout("utterances and scores", ("utt", "score"), _has(2, score=1)),
    Layout(
        "ASVspoof 2019 CM scores", ("utt", "attack", "label", "score"), _has(4, label=2, score=3)
    ),
]
KEY_LAYOUTS = [
    Layout("utterances and labels", ("utt", "label"), _has(2, label=1)),
    Layout(
        "an ASVspoof 2019 protocol",
        ("speaker", "utt", "environment", "attack", "label"),
        _has(5, label=4),
    ),
    Layout(
        "an ASVspoof 2017 protocol",
        ("utt", "label", "speaker", "phrase", "environment", "playback", "recording"),
        _has(7, label=1),
    ),
    Layout(
        "ASVspoof 2021 LA trial metadata",
        ("speaker", "utt", "codec", "transmission", "attack", "label", "trim", "phase"),
        _has(8, label=5),
    ),
    Layout(
        "ASVspoof 2021 DF trial metadata",
        (
            *("speaker", "utt", "codec", "source", "attack", "label", "trim", "phase"),
            *("vocoder", "-", "-", "-", "-"),
        ),
        _has(13, label=5),
    ),
    Layout(
        "an ASVspoof 5 protocol",
        (
            *("speaker", "utt", "gender", "codec", "codec_q", "codec_seed"),
            *("attack_tag", "attack", "label", "-"),
        ),
        _has(10, label=8),
    ),
    Layout("ASVspoof 2019 CM scores", ("utt", "attack", "label", "-"), _has(4, label=2, score=3)),
]


def read_score_table(path: str | Path, convert: Callable[[str], float] = number) -> ScoreTable:
    """Scores of a detector in any of the formats above; gzip is unpacked.

    Args:
        path: the file.
        convert: conversion of a score, which raises ValueError.

    Raises:
        InputError: unknown format, an utterance twice, a score that is no number, or another number
            of cells than in the first line.
    """
    table = _read(path, SCORE_LAYOUTS, "score", SCORE_COLUMNS)
    scores = {}
    for line, row in table.rows:
        utterance = row["utt"]
        try:
            scores[utterance] = convert(row["score"])
        except ValueError as error:
            raise InputError(f"{path}:{line}: {utterance}: {error}") from None
    return ScoreTable(table.format, scores)


def read_key_table(path: str | Path, phase: str | None = "eval") -> KeyTable:
    """Labels of a set in any of the formats above; gzip is unpacked.

    Args:
        path: the file.
        phase: part of an ASVspoof 2021 set that is kept: progress, eval or hidden; None keeps all.

    Raises:
        InputError: unknown format, an utterance twice, an unknown label, another number of cells
            than in the first line, or no utterance of the phase.
    """
    table = _read(path, KEY_LAYOUTS, "label", LABEL_COLUMNS)
    labels = {}
    names = [name for name in table.columns if name not in ("utt", "label", "-")]
    has_phases = table.format.startswith("ASVspoof 2021")
    conditions: dict[str, dict[str, str]] = {name: {} for name in names}
    for line, row in table.rows:
        if phase is not None and has_phases and row["phase"] != phase:
            continue
        utterance = row["utt"]
        try:
            labels[utterance] = label_of_word(row["label"])
        except ValueError as error:
            raise InputError(f"{path}:{line}: {utterance} has {error}") from None
        for name in names:
            conditions[name][utterance] = row[name]
    if not labels:
        raise InputError(f"{path}: no utterance of phase {phase!r}")
    attacks = conditions.get("attack", {})
    for utterance, label in labels.items():
        # Bona fide speech is "-", "bonafide" or "A00" in this column, by corpus.
        if attacks and label == "bonafide":
            attacks[utterance] = NO_VALUE
    kept = f"{table.format}, phase {phase}" if phase and has_phases else table.format
    return KeyTable(kept, labels, conditions)


class _Rows(NamedTuple):
    format: str
    columns: Sequence[str]
    rows: list[tuple[int, dict[str, str]]]


def _read(
    path: str | Path, layouts: Iterable[Layout], value: str, value_columns: Sequence[str]
) -> _Rows:
    """Rows of a table, as line number and cells by the name of their column.

    Raises:
        InputError: unknown format, another number of cells than in the first line, or an utterance
            twice.
    """
    lines = _cells_of(path)
    first, cells = lines[0]
    columns = _columns_of_header(f"{path}:{first}", cells, value, value_columns)
    if columns:
        name = f"a table with the header {' '.join(cells)!r}"
        lines = lines[1:]
        if not lines:
            raise InputError(f"{path}: no line after the header")
    else:
        layout = next((layout for layout in layouts if layout.is_of(cells)), None)
        if layout is None:
            kinds = "; ".join(f"{layout.name} ({' '.join(layout.columns)})" for layout in layouts)
            raise InputError(
                f"{path}:{first}: {' '.join(cells)!r} is of no known format, expected a header "
                f"with 'cm-{value}' or one of: {kinds}"
            )
        name = layout.name
        columns = list(layout.columns)
    rows = []
    utterances = set()
    for line, cells in lines:
        if len(cells) != len(columns):
            raise InputError(
                f"{path}:{line}: {len(cells)} columns, expected {len(columns)}: {cells}"
            )
        row = dict(zip(columns, cells))
        if row["utt"] in utterances:
            raise InputError(f"{path}:{line}: {row['utt']} is there twice")
        utterances.add(row["utt"])
        rows.append((line, row))
    return _Rows(name, columns, rows)


def _cells_of(path: str | Path) -> list[tuple[int, list[str]]]:
    """Cells of each line that isn't blank, with its number."""
    note_input(path)
    content = read_bytes(path)
    if content.startswith(GZIP):
        content = _unpacked(path, content)
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        reason = f"{error.reason} at byte {error.start}"
        raise InputError(f"{path}: not UTF-8 text ({reason})") from error
    rows = text.splitlines() if "\n" not in text else text.removesuffix("\n").split("\n")
    rows = [row.removesuffix("\r") for row in rows]
    first_row = next((row for row in rows if row.strip()), "")
    if not first_row:
        raise InputError(f"{path}: empty, expected a line a trial")
    lines = []
    for line, row in enumerate(rows, 1):
        if "," in first_row:
            check_text(path, line, row)
            cells = _cells_of_commas(path, line, row)
        else:
            cells = split_fields(path, line, row)
        if cells:
            lines.append((line, cells))
    return lines


def _unpacked(path: str | Path, content: bytes) -> bytes:
    """Content of a gzip file.

    Raises:
        InputError: it is damaged, or far larger than a table.
    """
    try:
        with gzip.open(io.BytesIO(content)) as file:
            unpacked = file.read(MOST_BYTES + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{path}: not a whole gzip file: {error}") from error
    if len(unpacked) > MOST_BYTES:
        raise InputError(f"{path}: more than {MOST_BYTES} bytes in a gzip file, expected a table")
    return unpacked


def _cells_of_commas(path: str | Path, line: int, row: str) -> list[str]:
    """Cells of a line that commas separate."""
    try:
        cells = next(csv.reader([row], skipinitialspace=True), [])
    except csv.Error as error:
        raise InputError(f"{path}:{line}: {error}") from error
    return [cell.strip() for cell in cells]


def _plain(name: str) -> str:
    """Name of a column without case and punctuation."""
    return "".join(character for character in name.lower() if character.isalnum())


def _columns_of_header(
    place: str, cells: Sequence[str], value: str, value_columns: Sequence[str]
) -> list[str] | None:
    """Names of columns of a header, with ``utt`` and ``value`` as such; None where it is none.

    Raises:
        InputError: two columns that may hold the same.
    """
    plain = [_plain(cell) for cell in cells]
    utterance = _first_in(plain, UTTERANCE_COLUMNS)
    value_column = _first_in(plain, value_columns)
    if utterance is None or value_column is None:
        return None
    columns = list(cells)
    columns[utterance] = "utt"
    columns[value_column] = value
    # The later of two columns of one name would take the place of the other.
    counts = Counter(columns)
    repeated = [name for name, count in counts.items() if name and count > 1]
    if repeated:
        raise InputError(
            f"{place}: header {' '.join(cells)!r} has two columns for {repeated[0]!r}, expected one"
        )
    return columns


def _first_in(names: Sequence[str], wanted: Iterable[str]) -> int | None:
    for name in wanted:
        if name in names:
            return names.index(name)
    return None


def matched(
    values: Mapping[str, float], source: str | Path, reference: Mapping[str, str], key: str | Path
) -> tuple[dict[str, float], list[str]]:
    """Values under the utterances of a key, which may be written in another way.

    Ids that differ by a folder or by an extension of audio files are one where that is unique.

    Args:
        values: what was read from ``source``, by utterance.
        source: file of the values.
        reference: what was read from ``key``, by utterance.
        key: file of the reference.

    Returns:
        values in the order of the reference; sentences that say what was done about differences.

    Raises:
        InputError: utterances of the key without a value; says how many and names the first five.
    """
    remarks = []
    renamed = values
    if not values.keys() & reference.keys():
        renamed = _by_stem(values, reference)
        if renamed:
            remarks.append(f"ids of {source} are matched without folder and extension")
    missing = [utterance for utterance in reference if utterance not in renamed]
    if missing:
        names = ", ".join(missing[:5])
        more = " ..." if len(missing) > 5 else ""
        raise InputError(
            f"{source}: {len(missing)} of {len(reference)} trials of {key} have no score: "
            f"{names}{more}"
        )
    surplus = len(renamed) - len(reference)
    if surplus:
        remarks.append(f"{surplus} trials of {source} are left out, as {key} lacks them")
    return {utterance: renamed[utterance] for utterance in reference}, remarks


def _by_stem(values: Mapping[str, float], reference: Mapping[str, str]) -> dict[str, float]:
    """Values by the ids of a reference that have the same stem; nothing where that is ambiguous."""
    ids = {_stem(utterance): utterance for utterance in reference}
    stems = [_stem(utterance) for utterance in values]
    if len(ids) < len(reference) or len(set(stems)) < len(stems):
        return {}
    renamed = {}
    for stem, value in zip(stems, values.values()):
        renamed[ids.get(stem, stem)] = value
    return renamed


def _stem(utterance: str) -> str:
    path = PurePosixPath(utterance.replace("\\", "/"))
    if path.suffix.lower() in AUDIO_EXTENSIONS:
        return path.stem
    return path.name
