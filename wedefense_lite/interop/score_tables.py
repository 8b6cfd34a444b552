"""Score and key files as other toolkits and challenges write them, recognised by their content.

Nothing has to be named: the number of columns, a header, and what stands in the first line tell the
formats apart. What a file was taken for is part of the result, so that commands can print it.

| file | a line |
|---|---|
| scores of ASVspoof 5 and of this toolkit | header ``filename cm-score`` |
| scores of ASVspoof 2021, of SSL systems, of the arenas | ``utt score`` |
| scores of ASVspoof 2019 | ``utt attack label score`` |
| scores of ASVspoof 5's first package | ``speaker utt score label`` |
| log of NII's toolkit | ``Output, utt, label, score``, between other lines |
| scores of AntiDeepfake | header ``ID,Score,Label``, a score is ``"[fake, real]"``, logits |
| a protocol or ``trial_metadata.txt`` with a score at the end of each line | as below, ``score`` |
| key of ASVspoof 5 and of this toolkit | header ``filename cm-label`` |
| full key of ASVspoof 5 | header with ``trial_anon``, ``cm-label`` and conditions |
| ``utt2lab`` | ``utt label`` |
| protocol of ASVspoof 2019 LA and PA | ``speaker utt environment attack label`` |
| protocol of ASVspoof 2015 | ``speaker utt attack label`` |
| protocol of ASVspoof 2017 | ``utt label speaker phrase environment playback recording`` |
| ``trial_metadata.txt`` of ASVspoof 2021 LA, DF | ``speaker utt codec ... label trim phase ...`` |
| ``trial_metadata.txt`` of ASVspoof 2021 PA | ``speaker utt room ... label trim phase`` |
| protocol of ASVspoof 5 | ``speaker utt gender codec q seed tag attack label -`` |
| protocol of CtrSVDD | ``source speaker utt - attack label`` |
| labels of LlamaPartialSpoof | ``utt duration label start-end-label ...`` |
| labels of HAD | ``utt start-end-T/... 0``, 1 without a spoofed part |
| table of the arenas, In-the-Wild | a header that names file and label, commas or tabs |
| ``.npy``, ``.npz``, ``.pkl`` | utterance to score, or a column of each, see ``interop.pickled`` |
| ``meta.csv`` of MLAAD | header ``path|...|model_name|architecture|...``; all of it is spoofed |
"""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple, NoReturn, TypeVar

import numpy as np

from wedefense_lite.columns import Table, is_unique
from wedefense_lite.files import NO_VALUE, InputError, check_text, converted, number
from wedefense_lite.interop.cells import cells_of, plain, quoted_cells, regular_table, rows_of
from wedefense_lite.interop.pickled import is_pickled, read_arrays
from wedefense_lite.labels import label_of_word

# Columns of a header by what they hold; compared without regard to case and punctuation.
UTTERANCE_COLUMNS = (
    *("filename", "file", "utt", "utterance", "uttid", "utteranceid", "trial", "trialanon"),
    *("audiopath", "filepath", "wavpath", "path", "audio", "wav", "name", "id"),
)
SCORE_COLUMNS = ("cmscore", "score", "scores", "llr")
LABEL_COLUMNS = ("cmlabel", "label", "key", "groundtruth")
# Columns of MLAAD's tables, which need no label: all of it is spoofed.
MLAAD_COLUMNS = ("modelname", "architecture")
NII_OUTPUT = "Output,"  # beginning of the lines of NII's log that have scores
NII_COLUMNS = ("-", "utt", "-", "score")  # its labels are numbers, which are not taken
# A score of AntiDeepfake: logits of the classes.
LOGITS = re.compile(r"\[\s*(\S+)\s*,\s*(\S+)\s*\]")
LOGIT_LABELS = {"0": "spoof", "1": "bonafide"}  # and its labels
LOGIT_TABLE = "scores of AntiDeepfake, real minus fake logit"
DEFAULT_PHASE = "eval"  # of ASVspoof 2021
ALL_PHASES = "all"
ASVSPOOF_2021 = "ASVspoof 2021"  # beginning of the names of formats with phases
AUDIO_EXTENSIONS = (".flac", ".wav", ".mp3", ".ogg", ".opus", ".m4a")
TIMED_LABEL = re.compile(r"(\d+\.?\d*)-(\d+\.?\d*)-(\w+)")  # of a part: start, end, label
HAD = "labels of HAD"
HAD_LABELS = {"0": "spoof", "1": "bonafide"}
LLAMA = ("utt", "duration", "label")  # of a line, before its timed parts
NO_CONDITIONS = ("utt", "label", "score", "-")  # columns that are no condition of a trial
ATTACK_COLUMNS = ("attack", "attack_anon")


Value = TypeVar("Value")  # of a trial


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


def _is_had(cells: Sequence[str]) -> bool:
    """Whether a line has timed parts, and 0 where one of them is spoofed."""
    return len(cells) == 3 and all(map(TIMED_LABEL.fullmatch, cells[1].split("/")))


def _is_llama(cells: Sequence[str]) -> bool:
    """Whether a line has the label of an utterance, and those of its parts behind it."""
    return len(cells) > 3 and bool(TIMED_LABEL.fullmatch(cells[3])) and _is_class(cells[2])


CM_2019 = ("utt", "attack", "label", "score")
CM_5 = ("speaker", "utt", "score", "label")
PROTOCOL_2019 = ("speaker", "utt", "environment", "attack", "label")
LA_2021 = ("speaker", "utt", "codec", "transmission", "attack", "label", "trim", "phase")
DF_2021 = (
    *("speaker", "utt", "codec", "source", "attack", "label", "trim", "phase"),
    *("vocoder", "task", "team", "gender-pair", "language"),
)
PA_2021 = (
    *("speaker", "utt", "asv_room", "asv_mic", "dis_to_asv", "att_room", "att_mic", "att_d"),
    *("att_to_spk", "label", "trim", "phase"),
)
# Scores whose lines have labels too, so that they are keys as well.
LABELLED_LAYOUTS = [
    Layout("ASVspoof 2019 CM scores", CM_2019, _has(4, label=2, score=3)),
    Layout("scores of speakers and utterances", CM_5, _has(4, label=3, score=2)),
    Layout("utterances, labels and scores", ("utt", "label", "score"), _has(3, label=1, score=2)),
    Layout("utterances, scores and labels", ("utt", "score", "label"), _has(3, label=2, score=1)),
    Layout(
        "an ASVspoof 2019 protocol with scores",
        (*PROTOCOL_2019, "score"),
        _has(6, label=4, score=5),
    ),
    Layout(
        "ASVspoof 2021 LA trial metadata with scores",
        (*LA_2021, "score"),
        _has(9, label=5, score=8),
    ),
    Layout(
        "ASVspoof 2021 DF trial metadata with scores",
        (*DF_2021, "score"),
        _has(14, label=5, score=13),
    ),
    Layout(
        "ASVspoof 2021 PA trial metadata with scores",
        (*PA_2021, "score"),
        _has(13, label=9, score=12),
    ),
]
SCORE_LAYOUTS = [
    Layout("utterances and scores", ("utt", "score"), _has(2, score=1)),
    *LABELLED_LAYOUTS,
]
KEY_LAYOUTS = [
    Layout("utterances and labels", ("utt", "label"), _has(2, label=1)),
    Layout("an ASVspoof 2019 protocol", PROTOCOL_2019, _has(5, label=4)),
    Layout(
        "an ASVspoof 2017 protocol",
        ("utt", "label", "speaker", "phrase", "environment", "playback", "recording"),
        _has(7, label=1),
    ),
    Layout("ASVspoof 2021 LA trial metadata", LA_2021, _has(8, label=5)),
    Layout("ASVspoof 2021 DF trial metadata", DF_2021, _has(13, label=5)),
    Layout("ASVspoof 2021 PA trial metadata", PA_2021, _has(12, label=9)),
    Layout(
        "an ASVspoof 5 protocol",
        (
            *("speaker", "utt", "gender", "codec", "codec_q", "codec_seed"),
            *("attack_tag", "attack", "label", "-"),
        ),
        _has(10, label=8),
    ),
    Layout(
        "a protocol of CtrSVDD",
        ("source", "speaker", "utt", "-", "attack", "label"),
        _has(6, label=5),
    ),
    Layout(HAD, ("utt", "-", "label"), _is_had),
    *LABELLED_LAYOUTS,
    # Behind the scores of as many columns, in which a number is no attack.
    Layout("an ASVspoof 2015 protocol", ("speaker", "utt", "attack", "label"), _has(4, label=3)),
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
    if is_pickled(path):
        return _read_score_arrays(path, convert)
    table = _read(path, SCORE_LAYOUTS, "score", SCORE_COLUMNS)
    _refuse_repeated(path, table)
    scores = {}
    for line, row in table.rows:
        scores[row["utt"]] = _score(path, line, row, convert)
    return ScoreTable(table.format, scores)


def _read_score_arrays(path: str | Path, convert: Callable[[str], float]) -> ScoreTable:
    """Scores of a ``.npy``, ``.npz`` or ``.pkl`` file: by utterance, or a column of each.

    Raises:
        InputError: arrays without utterances, or an utterance with several scores.
    """
    arrays = read_arrays(path)
    if isinstance(arrays, list):
        raise InputError(
            f"{path}: arrays without utterances, expected a dictionary: utterances to scores, or "
            "a column of utterances and one of scores"
        )
    names = [name for name in arrays if plain(name) in UTTERANCE_COLUMNS]
    values = [name for name in arrays if plain(name) in SCORE_COLUMNS]
    if len(names) == 1 and len(values) == 1:
        name = "a dictionary of columns"
        utterances = [str(utterance) for utterance in arrays[names[0]].ravel()]
        cells = arrays[values[0]].ravel()
        if len(cells) != len(utterances):
            raise InputError(f"{path}: {len(cells)} scores of {len(utterances)} utterances")
    else:
        name = "a dictionary of scores"
        utterances = list(arrays)
        for utterance, array in arrays.items():
            if array.size != 1:
                raise InputError(f"{path}: {utterance} has {array.size} values, expected a score")
        cells = [array.ravel()[0] for array in arrays.values()]
    scores: dict[str, float] = {}
    for utterance, cell in zip(utterances, cells):
        if utterance in scores:
            raise InputError(f"{path}: {utterance} is there twice")
        try:
            scores[utterance] = convert(str(cell))
        except ValueError as error:
            raise InputError(f"{path}: {utterance}: {error}") from None
    if not scores:
        raise InputError(f"{path}: empty, expected scores")
    return ScoreTable(name, scores)


def _score(
    path: str | Path, line: int, row: Mapping[str, str], convert: Callable[[str], float]
) -> float:
    try:
        return convert(row["score"])
    except ValueError as error:
        raise InputError(f"{path}:{line}: {row['utt']}: {error}") from None


def read_key_table(path: str | Path, phase: str = DEFAULT_PHASE) -> KeyTable:
    """Labels of a set in any of the formats above; gzip is unpacked.

    Args:
        path: the file.
        phase: part of an ASVspoof 2021 set that is kept: progress, eval, hidden, or all.

    Raises:
        InputError: unknown format, an utterance twice, an unknown label, another number of cells
            than in the first line, or no utterance of the phase.
    """
    table = _of_phase(path, _read(path, KEY_LAYOUTS, "label", LABEL_COLUMNS), phase)
    _refuse_repeated(path, table)
    return _key_table(path, table, [row["utt"] for _, row in table.rows])


def read_labelled_scores(
    path: str | Path, phase: str = DEFAULT_PHASE, convert: Callable[[str], float] = number
) -> tuple[KeyTable, dict[str, float], str]:
    """Labels and scores of a file that has both, such as CM scores of ASVspoof 2019.

    Its lines need no ids to be joined by, so that an id may be on several of them, as in files of
    the official programs; the trials get numbers then: ``id``, ``id#2``, ``id#3``.

    Args:
        path: the file.
        phase: as in ``read_key_table``.
        convert: conversion of a score, which raises ValueError.

    Returns:
        Labels and scores by trial; a sentence about ids that are there several times, or nothing.

    Raises:
        InputError: as the two other readers, or a file without labels or without scores.
    """
    try:
        table = _read(path, LABELLED_LAYOUTS, "label", LABEL_COLUMNS)
    except InputError as error:
        _refuse_without_labels(path, error)
    columns = list(table.columns)
    scores_are_named = [name for name in columns if plain(name) in SCORE_COLUMNS]
    if len(scores_are_named) != 1:
        raise InputError(
            f"{path}: header {' '.join(columns)!r} has {len(scores_are_named)} columns of scores, "
            f"expected one of the names {', '.join(SCORE_COLUMNS)}"
        )
    table = _of_phase(path, table, phase)
    seen: Counter[str] = Counter()
    trials = []
    scores = {}
    for line, row in table.rows:
        utterance = row["utt"]
        seen[utterance] += 1
        count = seen[utterance]
        trial = utterance if count == 1 else f"{utterance}#{count}"
        trials.append(trial)
        row["score"] = row[scores_are_named[0]]
        scores[trial] = _score(path, line, row, convert)
    if len(scores) < len(table.rows):
        raise InputError(f"{path}: ids with and without '#' and a number, expected no such numbers")
    repeated = sum(count > 1 for count in seen.values())
    remark = ""
    if repeated:
        remark = f"{path}: {repeated} ids are on several lines, each of which is a trial"
    return _key_table(path, table, trials), scores, remark


def _refuse_without_labels(path: str | Path, error: InputError) -> NoReturn:
    """Say that a file has scores and no labels, where it is one of scores; else raise the error."""
    try:
        read_score_table(path)
    except InputError:
        raise error from None
    raise InputError(
        f"{path}: scores without labels in words, expected a key: --cm_key utt2lab, or none where "
        "nobody knows the labels"
    ) from error


def _key_table(path: str | Path, table: "_Rows", trials: Sequence[str]) -> KeyTable:
    """Labels and conditions of rows under the names of their trials."""
    labels = {}
    names = [name for name in table.columns if name not in NO_CONDITIONS]
    conditions: dict[str, dict[str, str]] = {name: {} for name in names}
    for trial, (line, row) in zip(trials, table.rows):
        word = row["label"]
        if table.format == HAD:
            word = HAD_LABELS.get(word, word)
        try:
            labels[trial] = label_of_word(word)
        except ValueError as error:
            raise InputError(f"{path}:{line}: {trial} has {error}") from None
        for name in names:
            conditions[name][trial] = row[name]
    for name in ATTACK_COLUMNS:
        attacks = conditions.get(name, {})
        for trial in attacks:
            # Bona fide speech is "-", "bonafide", "human" or "A00" in this column, by corpus.
            if labels[trial] == "bonafide":
                attacks[trial] = NO_VALUE
    return KeyTable(table.format, labels, conditions)


class _Rows(NamedTuple):
    format: str
    columns: Sequence[str]
    rows: list[tuple[int, dict[str, str]]]


def _of_phase(path: str | Path, table: _Rows, phase: str) -> _Rows:
    """Rows of a phase of ASVspoof 2021; a table of another format has no phases."""
    if not table.format.startswith(ASVSPOOF_2021):
        refuse_phase(path, phase)
        return table
    if phase == ALL_PHASES:
        return table
    # The third phase is "hidden" in the later keys, "hidden_track" in the first ones.
    names = (phase, f"{phase}_track")
    rows = [(line, row) for line, row in table.rows if row["phase"] in names]
    if not rows:
        phases = sorted({row["phase"] for _, row in table.rows})
        raise InputError(
            f"{path}: no utterance of phase {phase!r}, expected one of {', '.join(phases)} or all"
        )
    name = f"{table.format}, phase {phase}: {len(rows)} of {len(table.rows)} trials"
    return _Rows(name, table.columns, rows)


class RegularRows(NamedTuple):
    """Rows of a table in which nothing is wrong or particular, see ``regular_rows``.

    Attributes:
        format: what the file was taken for; None for a table with a header of this toolkit's own.
        columns: names of the columns.
        table: the rows, without a header.
        names: ``(N,)`` ids of the utterances, UTF-8, each once.
    """

    format: str | None
    columns: Sequence[str]
    table: Table
    names: np.ndarray

    def column(self, name: str) -> np.ndarray | None:
        """``(N,)`` cells of a column, UTF-8; None where one is far longer than the others."""
        return self.table.column(self.columns.index(name))


def regular_key_rows(path: str | Path, phase: str = DEFAULT_PHASE) -> RegularRows | None:
    """Rows of ``read_key_table`` as columns, the labels in ``label``.

    Returns:
        the rows; None where only ``read_key_table`` says what they are, or what is wrong.
    """
    return _regular_rows(path, KEY_LAYOUTS, "label", LABEL_COLUMNS, phase)


def regular_score_rows(path: str | Path) -> RegularRows | None:
    """Rows of ``read_score_table`` as columns, the scores in ``score``.

    Returns:
        the rows; None where only ``read_score_table`` says what they are, or what is wrong.
    """
    if is_pickled(path):
        return None
    return _regular_rows(path, SCORE_LAYOUTS, "score", SCORE_COLUMNS)


def _regular_rows(
    path: str | Path,
    layouts: Iterable[Layout],
    value: str,
    value_columns: Sequence[str],
    phase: str | None = None,
) -> RegularRows | None:
    """Rows as ``_read`` and ``_of_phase`` find them."""
    table = regular_table(path)
    if table is None:
        return None
    first_row = table.row(0)
    try:
        header = _columns_of_header(str(path), first_row, value, value_columns)
        # Beside the first row, recognition needs the number of rows alone.
        lines = [(0, first_row)] * len(table)
        name, columns, lines = recognise(path, lines, header, layouts, value)
        if phase and not name.startswith(ASVSPOOF_2021):
            refuse_phase(path, phase)
    except InputError:
        return None
    table = table.rows(slice(len(table) - len(lines), None))
    is_particular = value not in columns or name == HAD or _is_llama(first_row)
    if is_particular or _may_be_nii_log(table) or len(columns) != table.width:
        return None
    if phase and phase != ALL_PHASES and name.startswith(ASVSPOOF_2021):
        trials = len(table)
        table = _regular_phase(table, columns.index("phase"), phase)
        name = f"{name}, phase {phase}: {len(table)} of {trials} trials"
    names = table.column(columns.index("utt")) if len(table) else None
    if names is None or not is_unique(names):
        return None
    return RegularRows(name, columns, table, names)


def _may_be_nii_log(table: Table) -> bool:
    begin = NII_OUTPUT.encode()
    return table.content.startswith(begin) or b"\n" + begin in table.content


def _regular_phase(table: Table, position: int, phase: str) -> Table:
    """Rows of a phase; none where only ``_of_phase`` can tell."""
    phases = table.column(position)
    if phases is None:
        return table.rows(slice(0))
    return table.rows(np.isin(phases, [phase.encode(), f"{phase}_track".encode()]))


def refuse_phase(path: str | Path, phase: str) -> None:
    """Refuse a phase that somebody asked for in a key that has none.

    Raises:
        InputError: the phase is progress or hidden.
    """
    if phase not in (DEFAULT_PHASE, ALL_PHASES):
        raise InputError(f"{path}: a key without phases, expected no --phase {phase}")


def _refuse_repeated(path: str | Path, table: _Rows) -> None:
    """Refuse rows of one id, which could not be told apart in another file."""
    utterances = set()
    for line, row in table.rows:
        if row["utt"] in utterances:
            raise InputError(f"{path}:{line}: {row['utt']} is there twice")
        utterances.add(row["utt"])


def _read(
    path: str | Path, layouts: Iterable[Layout], value: str, value_columns: Sequence[str]
) -> _Rows:
    """Rows of a table, as line number and cells by the name of their column.

    Raises:
        InputError: unknown format, or another number of cells than in the first line.
    """
    nii_lines = _nii_lines(path)
    if nii_lines and value == "label":
        raise InputError(
            f"{path}: NII's log has numbers as labels, and toolkits differ in which of them is "
            "bona fide: expected a key with words, such as utt2lab"
        )
    if nii_lines:
        return _rows(path, "NII's log", NII_COLUMNS, nii_lines, {})
    lines = cells_of(path)
    if value == "label" and _is_llama(lines[0][1]):
        rows = []
        for line, cells in lines:
            check_cells(path, line, cells, len(LLAMA) + 1, at_least=True)
            rows.append((line, dict(zip(LLAMA, cells))))
        return _Rows("labels of LlamaPartialSpoof", LLAMA, rows)
    first, cells = lines[0]
    header = _columns_of_header(f"{path}:{first}", cells, value, value_columns)
    name, columns, lines = recognise(path, lines, header, layouts, f"'cm-{value}'")
    added = {}
    if value not in columns and header:
        name = "MLAAD's table, all of it spoofed"
        added = {"label": "spoof"}
    table = _rows(path, name, columns, lines, added)
    score = next((column for column in columns if plain(column) in SCORE_COLUMNS), None)
    if score and LOGITS.fullmatch(table.rows[0][1][score]):
        return _with_differences(path, table, score)
    return table


def _rows(
    path: str | Path,
    name: str,
    columns: Sequence[str],
    lines: list[tuple[int, list[str]]],
    added: Mapping[str, str],
) -> _Rows:
    """Rows of lines under the names of their columns, and ``added`` to each.

    Raises:
        InputError: a line of another number of cells, or without an utterance.
    """
    rows = []
    for line, cells in lines:
        check_cells(path, line, cells, len(columns))
        row = dict(zip(columns, cells)) | added
        if not row["utt"]:
            raise InputError(f"{path}:{line}: no utterance, expected its name: {cells}")
        rows.append((line, row))
    return _Rows(name, columns, rows)


def _with_differences(path: str | Path, table: _Rows, score: str) -> _Rows:
    """Rows with the real minus the fake logit as the score, and labels by their words.

    Raises:
        InputError: a row without two logits.
    """
    for line, row in table.rows:
        logits = LOGITS.fullmatch(row[score])
        if not logits:
            raise InputError(
                f"{path}:{line}: {row['utt']}: {row[score]!r}, expected two logits '[fake, real]'"
            )
        fake = converted(path, line, row["utt"], logits[1], number)
        real = converted(path, line, row["utt"], logits[2], number)
        row[score] = repr(real - fake)
        if "label" in row:
            row["label"] = LOGIT_LABELS.get(row["label"], row["label"])
    return _Rows(LOGIT_TABLE, table.columns, table.rows)


def recognise(
    path: str | Path,
    lines: list[tuple[int, list[str]]],
    header: list[str] | None,
    layouts: Iterable[Layout],
    titles: str,
) -> tuple[str, list[str], list[tuple[int, list[str]]]]:
    """Format of a table, the names of its columns, and its rows.

    Args:
        path: the table.
        lines: number and cells of each line.
        header: names of the columns, where the first line is a header; else None.
        layouts: formats without one.
        titles: what a header has, for errors.

    Raises:
        InputError: no row behind the header, or an unknown format.
    """
    first, cells = lines[0]
    if header:
        if len(lines) == 1:
            raise InputError(f"{path}: no line after the header")
        return f"a table with the header {' '.join(cells)!r}", header, lines[1:]
    for layout in layouts:
        if layout.is_of(cells):
            return layout.name, list(layout.columns), lines
    kinds = "; ".join(f"{layout.name} ({' '.join(layout.columns)})" for layout in layouts)
    raise InputError(
        f"{path}:{first}: {' '.join(cells)!r} is of no known format, expected a header with "
        f"{titles} or one of: {kinds}"
    )


def check_cells(
    path: str | Path, line: int, cells: Sequence[str], count: int, at_least: bool = False
) -> None:
    """Refuse a line of another number of cells.

    Raises:
        InputError: names the line.
    """
    if len(cells) < count or (len(cells) > count and not at_least):
        words = f"at least {count}" if at_least else str(count)
        raise InputError(f"{path}:{line}: {len(cells)} columns, expected {words}: {cells}")


def _nii_lines(path: str | Path) -> list[tuple[int, list[str]]]:
    """Cells of the lines of NII's log that have scores; it has lines of other kinds around them."""
    lines = []
    for line, row in rows_of(path):
        if row.startswith(NII_OUTPUT):
            check_text(path, line, row)
            lines.append((line, quoted_cells(path, line, row, ",")))
    return lines


def _columns_of_header(
    place: str, cells: Sequence[str], value: str, value_columns: Sequence[str]
) -> list[str] | None:
    """Names of columns of a header, with ``utt`` and ``value`` as such; None where it is none.

    Raises:
        InputError: two columns that may hold the same.
    """
    names = [plain(cell) for cell in cells]
    utterance = next((name for name in UTTERANCE_COLUMNS if name in names), None)
    values = [position for position, name in enumerate(names) if name in value_columns]
    is_mlaad = value == "label" and set(MLAAD_COLUMNS) <= set(names)
    if utterance is None or not (values or is_mlaad):
        return None
    header = " ".join(cells)
    if len(values) > 1:
        # Which of them is meant is nobody's guess: they may even differ in polarity.
        titles = " and ".join(cells[position] for position in values)
        raise InputError(
            f"{place}: header {header!r} has two columns for {value!r}, {titles}: expected one, "
            "so give the other another name"
        )
    columns = list(cells)
    columns[names.index(utterance)] = "utt"
    if values:
        columns[values[0]] = value
    # The later of two columns of one name would take the place of the other.
    counts = Counter(columns)
    repeated = [name for name, count in counts.items() if name and count > 1]
    if repeated:
        raise InputError(
            f"{place}: header {header!r} has two columns for {repeated[0]!r}, expected one"
        )
    return columns


def matched(
    values: Mapping[str, Value],
    source: str | Path,
    reference: Mapping[str, str],
    key: str | Path,
    has_speakers: bool = False,
) -> tuple[dict[str, Value], list[str]]:
    """Values under the utterances of a key, which may be written in another way.

    Ids that differ by a folder or by an extension of audio files are one where that is unique.

    Args:
        values: what was read from ``source``, by utterance.
        source: file of the values.
        reference: what was read from ``key``, by utterance.
        key: file of the reference.
        has_speakers: ids are a speaker, a space and an utterance.

    Returns:
        values in the order of the reference; sentences that say what was done about differences.

    Raises:
        InputError: utterances of the key without a value; says how many and names the first five.
    """
    renamed, remarks = renamed_by_stem(values, source, reference, has_speakers)
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
        remarks.append(surplus_remark(surplus, source, key))
    return {utterance: renamed[utterance] for utterance in reference}, remarks


def surplus_remark(count: int, source: str | Path, key: str | Path) -> str:
    """Sentence about trials that only a score file has."""
    return f"{count} trials of {source} are left out, as {key} lacks them"


def renamed_by_stem(
    values: Mapping[str, Value],
    source: str | Path,
    reference: Mapping[str, str],
    has_speakers: bool = False,
) -> tuple[Mapping[str, Value], list[str]]:
    """Values under the ids of a reference, where only folder and extension keep them apart.

    Args:
        values: what was read from ``source``, by utterance.
        source: file of the values.
        reference: utterances of the reference.
        has_speakers: ids are a speaker, a space and an utterance.

    Returns:
        the values as they are where some id is the same, or where stems are no ids; sentences that
        say what was done.
    """
    if values.keys() & reference.keys():
        return values, []
    renamed = _by_stem(values, reference, has_speakers)
    if not renamed:
        return values, []
    return renamed, [f"ids of {source} are matched without folder and extension"]


def _by_stem(
    values: Mapping[str, Value], reference: Mapping[str, str], has_speakers: bool
) -> dict[str, Value]:
    """Values by the ids of a reference that have the same stem; nothing where that is ambiguous."""
    ids = {_stem(trial, has_speakers): trial for trial in reference}
    stems = [_stem(trial, has_speakers) for trial in values]
    if len(ids) < len(reference) or len(set(stems)) < len(stems):
        return {}
    renamed = {}
    for stem, value in zip(stems, values.values()):
        renamed[ids.get(stem, stem)] = value
    return renamed


def _stem(trial: str, has_speakers: bool) -> str:
    """Id without the folder and the extension of its utterance."""
    speaker = ""
    utterance = trial
    if has_speakers:
        speaker, _, utterance = trial.partition(" ")
    path = PurePosixPath(utterance.replace("\\", "/"))
    stem = path.stem if path.suffix.lower() in AUDIO_EXTENSIONS else path.name
    return f"{speaker} {stem}" if has_speakers else stem
