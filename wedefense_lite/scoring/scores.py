"""Score and key files: read, checked line by line, and joined by utterance."""

import codecs
import logging
import math
import os
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from wedefense_lite.columns import (
    decoded,
    distinct,
    encoded,
    find,
    is_unique,
    numbers,
    strings,
    table_of,
)
from wedefense_lite.files import (
    NO_VALUE,
    InputError,
    converted,
    iter_rows,
    note_input,
    number,
    open_bytes,
    read_bytes,
    read_columns,
    write_lines,
)
from wedefense_lite.interop.cells import cells_of, plain, regular_table
from wedefense_lite.interop.score_tables import (
    ALL_PHASES,
    ATTACK_COLUMNS,
    NO_CONDITIONS,
    UTTERANCE_COLUMNS,
    RegularRows,
    check_cells,
    matched,
    read_key_table,
    read_labelled_scores,
    read_score_table,
    refuse_phase,
    regular_key_rows,
    regular_score_rows,
    renamed_by_stem,
    surplus_remark,
)
from wedefense_lite.interop.verification_tables import (
    ASV_LABELS,
    VerificationTable,
    classes_of,
    conditions_by_utterance,
    read_verification_table,
)
from wedefense_lite.labels import LABELS, NO_LABELS, SYNONYMS, label_of_word
from wedefense_lite.scoring.sidecar import find_sidecar

Phase = Literal["progress", "eval", "hidden", "all"]  # of an ASVspoof 2021 key
DEFAULT_PHASE: Phase = "eval"
TRIAL_METADATA = "trial_metadata.txt"  # name of keys of ASVspoof 2021
MOST_HEADER_BYTES = 1 << 16  # a file without ends of lines is no table
# First cells of a header of metadata, in lower case.
UTTERANCE_TITLES = frozenset(
    "filename file file_name fname path wav audio key id trial name stem "
    "utt utt_id uttid utterance utterance_id recording".split()
)


def align(values: Mapping, source: str | Path, reference: Mapping, other: str | Path) -> list:
    """``values`` in the order of ``reference``, which must have the same keys.

    Args:
        values: what was read from ``source``, by key.
        source: file of the values.
        reference: what was read from ``other``, by key.
        other: file of the reference.

    Raises:
        InputError: names a key that only one of the two files has, its line, and how many such
            keys there are.
    """
    surplus = values.keys() - reference.keys()
    if surplus:
        key = min(surplus)
        raise InputError(f"{_line_of(source, key)}: {key} is not in {other}{_count(surplus)}")
    missing = reference.keys() - values.keys()
    if missing:
        key = min(missing)
        raise InputError(f"{_line_of(other, key)}: {key} is not in {source}{_count(missing)}")
    return [values[key] for key in reference]


def _count(keys: Collection) -> str:
    """The end of a message about one of several keys; empty for a single one."""
    return f" ({len(keys)} such)" if len(keys) > 1 else ""


def _line_of(path: str | Path, key: str) -> str:
    """``path:line`` of a key, for an error; ``path`` where no line has it as it is.

    A key of several ids (speaker and utterance) is looked for in the line that has most of them.
    """
    # The file is read again, on the way to an error only: values come from readers of score tables,
    # RTTM, archives and frames, and none of them would otherwise need to keep line numbers.
    ids = set(key.split())
    best_line = None
    most_shared = 0
    for line, fields in iter_rows(path, columns=None):
        shared = len(ids.intersection(fields))
        if shared > most_shared:
            best_line = line
            most_shared = shared
    return str(path) if best_line is None else f"{path}:{best_line}"


def read_trials(
    scores: str | Path,
    key: str | Path,
    convert: Callable[[str], float] = number,
    phase: str = DEFAULT_PHASE,
    needs_both: bool = True,
) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Utterances, labels and scores of a detector, in the order of the key.

    Trials that only the score file has are left out and counted in a line.

    Args:
        scores: with the header ``filename cm-score``, or in another format of
            ``interop.score_tables``; its sidecar, if any, must have our polarity.
        key: with the header ``filename cm-label``, or in another format; synonyms of the labels are
            taken, and said. The score file itself, if its lines have labels.
        convert: conversion of a score, such as ``finite_number``.
        phase: part of an ASVspoof 2021 key: progress, eval, hidden, or all.
        needs_both: refuse a key of one class.

    Returns:
        utterances; ``(N,)`` labels ``bonafide`` or ``spoof``; ``(N,)`` scores.

    Raises:
        InputError: as ``read_columns``, an utterance of the key without a score, with
            ``needs_both`` a class without trials.
    """
    if key == NO_LABELS:
        raise InputError(
            "a key is needed here, and 'none' is none; bin/evaluate.py alone takes scores without "
            "labels"
        )
    trials = _regular_trials(scores, key, convert, phase)
    if trials is None:
        trials = _trials_by_line(scores, key, convert, phase)
    labels = trials[1]
    if needs_both and len(set(labels)) < len(LABELS):
        raise InputError(
            f"{key}: {len(labels)} trials, all {labels[0]}, expected both classes; of one class "
            "bin/evaluate.py has the error rate at a threshold"
        )
    return trials


def _trials_by_line(
    scores: str | Path, key: str | Path, convert: Callable[[str], float], phase: str
) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Trials of any two files, each line checked by itself."""
    if os.path.realpath(scores) == os.path.realpath(key):
        find_sidecar(scores)
        table, values_by_name, remark = read_labelled_scores(scores, phase, convert)
        labels = table.labels
        logging.info("%s: read as %s", scores, table.format)
        remarks = [remark] if remark else []
    else:
        labels = read_key(key, phase)
        rows = read_scores(scores, convert)
        values_by_name = {name: score for name, (score,) in rows.items()}
        values_by_name, remarks = matched(values_by_name, scores, labels, key)
    for remark in remarks:
        logging.warning("%s", remark)
    classes = np.array(list(labels.values()))
    return list(labels), classes, np.array(list(values_by_name.values()))


class RegularKey(NamedTuple):
    """Labels of a key in which nothing is wrong.

    Attributes:
        format: what the file was taken for; None for a key of this toolkit.
        names: ``(N,)`` utterances, UTF-8.
        labels: ``(N,)`` ``bonafide`` or ``spoof``.
        word_counts: words that stand for them, each with the number of its lines.
    """

    format: str | None
    names: np.ndarray
    labels: np.ndarray
    word_counts: dict[str, int]


class RegularScores(NamedTuple):
    """Scores of a file in which nothing is wrong.

    Attributes:
        format: what the file was taken for; None for a file of this toolkit.
        names: ``(N,)`` utterances, UTF-8.
        values: ``(N,)`` scores.
    """

    format: str | None
    names: np.ndarray
    values: np.ndarray


def _regular_trials(
    scores: str | Path, key: str | Path, convert: Callable[[str], float], phase: str
) -> tuple[list[str], np.ndarray, np.ndarray] | None:
    """Trials of two files in which nothing is wrong; None where anything may be."""
    if os.path.realpath(scores) == os.path.realpath(key):
        return None
    labels = _regular_key(key, phase)
    if labels is None:
        return None
    values = _regular_scores(scores, convert)
    if values is None:
        return None
    places = find(labels.names, values.names)
    if places is None:
        return None
    # What is said line by line, in the same order: nothing before all is known to be right.
    if labels.format is None:
        _say_synonyms(key, labels.word_counts)
    else:
        logging.info("%s: read as %s", key, labels.format)
    find_sidecar(scores)
    if values.format is not None:
        logging.info("%s: read as %s", scores, values.format)
    surplus = len(values.names) - len(labels.names)
    if surplus:
        logging.warning("%s", surplus_remark(surplus, scores, key))
    return strings(labels.names), labels.labels, values.values[places]


def _own_rows(path: str | Path, column: str) -> RegularRows | None:
    """Rows of a table with a header of this toolkit's own names; None where anything is wrong."""
    if not os.path.isfile(path):  # a pipe can be read once
        return None
    note_input(path)
    table = table_of(read_bytes(path))
    if table is None or len(table) == 1:
        return None
    header = table.row(0)
    if header.count("filename") != 1 or header.count(column) != 1:
        return None
    rows = table.rows(slice(1, None))
    names = rows.column(header.index("filename"))
    if names is None or not is_unique(names):
        return None
    return RegularRows(None, header, rows, names)


def _regular_key(path: str | Path, phase: str) -> RegularKey | None:
    """Labels of a key in which nothing is wrong; None where anything may be."""
    try:
        if _has_header(path, "cm-label"):
            refuse_phase(path, phase)
            return _regular_labels(_own_rows(path, "cm-label"), "cm-label")
        return _regular_labels(regular_key_rows(path, phase), "label")
    except InputError:
        return None


def _regular_labels(rows: RegularRows | None, column: str) -> RegularKey | None:
    """Labels of a column of words; None where one of them is no word for a label."""
    cells = None if rows is None else rows.column(column)
    if cells is None:
        return None
    values, places = distinct(cells)
    words = strings(values)
    try:
        labels = np.array([label_of_word(word) for word in words])
    except ValueError:
        return None
    counts = dict(zip(words, np.bincount(places, minlength=len(words)).tolist()))
    return RegularKey(rows.format, rows.names, labels[places], counts)


def _regular_scores(path: str | Path, convert: Callable[[str], float]) -> RegularScores | None:
    """Scores of a file in which nothing is wrong; None where anything may be."""
    if convert not in (number, finite_number):
        return None
    try:
        if _has_header(path, "cm-score"):
            rows = _own_rows(path, "cm-score")
            column = "cm-score"
        else:
            rows = regular_score_rows(path)
            column = "score"
    except InputError:
        return None
    if rows is None:
        return None
    cells = rows.column(column)
    values = None if cells is None else numbers(cells)
    if values is None or (convert is finite_number and not np.isfinite(values).all()):
        return None
    return RegularScores(rows.format, rows.names, values)


def key_of_set(folder: str | Path) -> Path:
    """Key of a data directory; one made by hand may have labels alone, which are a key too."""
    key = Path(folder) / "cm_key_file.txt"
    labels = Path(folder) / "utt2lab"
    return labels if labels.exists() and not key.exists() else key


def read_key(path: str | Path, phase: str = DEFAULT_PHASE) -> dict[str, str]:
    """Label of each utterance of a key: of ours, or of another format, which is said.

    Args:
        path: with the header ``filename cm-label``, or as ``interop.score_tables`` takes it.
        phase: part of an ASVspoof 2021 key: progress, eval, hidden, or all.
    """
    if not _has_header(path, "cm-label"):
        table = read_key_table(path, phase)
        logging.info("%s: read as %s", path, table.format)
        return table.labels
    refuse_phase(path, phase)
    words = read_columns(path, {"cm-label": _label_word})
    labels = _labels_of_words(path, [word for (word,) in words.values()])
    return dict(zip(words, labels))


def _has_header(path: str | Path, column: str) -> bool:
    """Whether a table begins with a header of this toolkit's own names."""
    with open_bytes(path) as file:
        first_line = file.readline(MOST_HEADER_BYTES)
    names = first_line.removeprefix(codecs.BOM_UTF8).decode(errors="replace").split()
    return {"filename", column} <= set(names)


def _label_word(text: str) -> str:
    """A word that names a class, as it stands; ValueError for any other."""
    label_of_word(text)
    return text


def _labels_of_words(key: str | Path, words: Sequence[str]) -> list[str]:
    """Labels of the words of a key; a line says which words were taken for which labels."""
    _say_synonyms(key, Counter(words))
    return [label_of_word(word) for word in words]


def _say_synonyms(key: str | Path, counts: Mapping[str, int]) -> None:
    """Say which words of a key were taken for which labels.

    Args:
        key: the file.
        counts: number of lines of each word.
    """
    for word in sorted(SYNONYMS.keys() & counts.keys()):
        logging.info("%s: %d labels %r are taken for %s", key, counts[word], word, SYNONYMS[word])


def read_verification(
    scores: str | Path, key: str | Path, columns: Sequence[str]
) -> tuple[list[str], np.ndarray, dict[str, np.ndarray]]:
    """Utterances, classes and columns of scores of trials of a speaker and an utterance each.

    Trials that only the score file has are left out and counted in a line.

    Args:
        scores: with the header ``spk filename`` and ``columns``, or in another format of
            ``interop.verification_tables``.
        key: with the header ``spk filename cm-label asv-label``, or in another format; the score
            file itself, if its lines have classes.
        columns: names of the scores to read.

    Returns:
        utterances; ``(N,)`` classes ``target``, ``nontarget`` or ``spoof``; ``(N,)`` scores by
        column.

    Raises:
        InputError: as ``read_trials``, or a spoof by one label alone.
    """
    key_table = read_verification_table(key)
    trials = _unique_trials(key, key_table)
    classes = classes_of(key, key_table)
    _check_cm_labels(key, key_table, trials, classes)
    score_table = read_verification_table(scores)
    for path, table in ((key, key_table), (scores, score_table)):
        logging.info("%s: read as %s", path, table.format)
    if "utt" not in key_table.columns and "utt" not in score_table.columns:
        logging.warning("%s and %s have no ids, row N is the same trial in both", scores, key)
    rows = np.stack(_score_columns(scores, score_table, columns), axis=1)
    rows_by_trial = dict(zip(_unique_trials(scores, score_table), rows))
    reference = dict(zip(trials, classes))
    has_speakers = "speaker" in key_table.columns and "speaker" in score_table.columns
    rows_by_trial, remarks = matched(rows_by_trial, scores, reference, key, has_speakers)
    for remark in remarks:
        logging.warning("%s", remark)
    classes = np.array(classes)
    _check_classes(classes, ASV_LABELS, key)
    matched_rows = np.array(list(rows_by_trial.values()))
    return key_table.columns.get("utt", trials), classes, dict(zip(columns, matched_rows.T))


def _unique_trials(path: str | Path, table: VerificationTable) -> list[str]:
    """Ids of trials; InputError where one is on two lines."""
    lines_by_trial: dict[str, int] = {}
    trials = table.trials()
    for trial, line in zip(trials, table.lines):
        if trial in lines_by_trial:
            raise InputError(f"{path}:{line}: {trial} is there twice")
        lines_by_trial[trial] = line
    return trials


def _check_cm_labels(
    path: str | Path, table: VerificationTable, trials: Sequence[str], classes: Sequence[str]
) -> None:
    """Refuse labels of a trial that contradict each other."""
    words = table.columns.get("cm-label")
    if words is None:
        return
    for line, trial, word in zip(table.lines, trials, words):
        converted(path, line, trial, word, label_of_word)
    for trial, cm_label, asv_label in zip(trials, _labels_of_words(path, words), classes):
        if (cm_label == "spoof") != (asv_label == "spoof"):
            raise InputError(
                f"{path}: {trial} is {cm_label} by cm-label and {asv_label} by asv-label"
            )


def _score_columns(
    path: str | Path, table: VerificationTable, names: Sequence[str]
) -> list[np.ndarray]:
    """Columns of scores as numbers; a single column that nothing names is any of them."""
    columns = []
    trials = table.trials()
    for name in names:
        title = name
        if name not in table.columns and "score" in table.columns and len(names) == 1:
            title = "score"
        if title not in table.columns:
            raise InputError(
                f"{path}: read as {table.format}, which has no column {name!r}, expected "
                f"{', '.join(names)}"
            )
        values = []
        for line, trial, text in zip(table.lines, trials, table.columns[title]):
            values.append(converted(path, line, trial, text, number))
        columns.append(np.array(values))
    return columns


def read_scores(
    path: str | Path, convert: Callable[[str], float] = number
) -> dict[str, list[float]]:
    """Rows of one score of a file, whose sidecar, if any, is checked.

    Args:
        path: with the header ``filename cm-score``, or as ``interop.score_tables`` takes it.
        convert: conversion of a score, such as ``finite_number``.
    """
    find_sidecar(path)
    regular = _regular_scores(path, convert)
    if regular is not None:
        if regular.format is not None:
            logging.info("%s: read as %s", path, regular.format)
        names = strings(regular.names)
        return {name: [score] for name, score in zip(names, regular.values.tolist())}
    if _has_header(path, "cm-score"):
        return read_columns(path, {"cm-score": convert})
    table = read_score_table(path, convert)
    logging.info("%s: read as %s", path, table.format)
    return {name: [score] for name, score in table.scores.items()}


def finite_number(text: str) -> float:
    """Finite number in a text.

    Raises:
        ValueError: no number, NaN, or an infinite one.
    """
    value = number(text)
    if math.isinf(value):
        raise ValueError(f"{text}, expected a finite number")
    return value


def read_condition(path: str | Path, column: str, names: Iterable[str]) -> np.ndarray:
    """A column of a metadata table, one value for each of ``names``; it may have more utterances.

    A table has a header, with the utterance in the column ``filename``, else in one of another
    name for it, else in the first. Two columns without a header (``utt2attack``) *are* the column
    asked for. Their first line is a header if it begins with a title (``utt``, ``file`` ...), or if
    it is the only line of the table that is of none of ``names``. Protocols of challenges have
    their own columns, see ``interop.score_tables``; spaces, tabs, commas and gzip are as there.

    Args:
        path: the table.
        column: name of the column.
        names: utterances.

    Returns:
        ``(N,)`` texts.

    Raises:
        InputError: no such column, an utterance twice with different values, or one without a line.
    """
    names = list(names)
    values = _regular_condition(path, column, names)
    return _condition_by_line(path, column, names) if values is None else values


# Utterances and values of a table in which nothing is wrong, UTF-8; None where anything may be.
Pair = tuple[np.ndarray | None, np.ndarray | None]
NO_PAIR: Pair = (None, None)


def _regular_condition(path: str | Path, column: str, names: list[str]) -> np.ndarray | None:
    """Column of ``read_condition`` from a table in which nothing is wrong; None where it may be."""
    fields = encoded(names)
    if fields is None:
        return None
    try:
        utterances, values = _regular_pair(path, column, fields)
    except InputError:
        return None
    if utterances is None or values is None or not is_unique(utterances):
        return None
    places = find(fields, utterances)
    return None if places is None else decoded(values[places])


def _regular_pair(path: str | Path, column: str, names: np.ndarray) -> Pair:
    """Utterances and values of a column of ``read_condition``.

    Args:
        path: the table.
        column: name of the column.
        names: ``(N,)`` utterances, UTF-8, of which the table should have lines.
    """
    table = regular_table(path)
    if table is None or len(table) == 1:
        return NO_PAIR
    first_row = table.row(0)
    title = _title_of(column, first_row)
    if title is not None:
        rows = table.rows(slice(1, None))
        utterances = rows.column(_column_of_utterances(first_row))
        return utterances, rows.column(first_row.index(title))
    if "filename" in first_row or table.width == 1:
        return NO_PAIR
    if table.width > 2:
        return _regular_pair_of_key(path, column)
    # No key of two columns has conditions beside utterance and label.
    utterances = table.column(0)
    if utterances is None or _has_titles(utterances, names):
        return NO_PAIR
    return utterances, table.column(1)


def _regular_pair_of_key(path: str | Path, column: str) -> Pair:
    """Utterances and values of a condition of a key; bona fide speech has no attack."""
    rows = regular_key_rows(path, ALL_PHASES)
    if rows is None or column not in rows.columns or column in NO_CONDITIONS:
        return NO_PAIR
    key = _regular_labels(rows, "label")
    values = rows.column(column)
    if key is None or values is None:
        return NO_PAIR
    if column in ATTACK_COLUMNS:
        values = np.where(key.labels == "bonafide", NO_VALUE.encode(), values)
    return rows.names, values


def _has_titles(utterances: np.ndarray, names: np.ndarray) -> bool:
    """Whether ``_begins_with_header`` holds of a column of at least two cells."""
    if find(utterances[:1], names) is not None:
        return False
    others_are_known = find(utterances[1:], names) is not None
    return others_are_known or strings(utterances[:1])[0].lower() in UTTERANCE_TITLES


def _title_of(column: str, header: Sequence[str]) -> str | None:
    """Title of a column in a header; None where it isn't there."""
    # The full keys of ASVspoof 5 have the names of attacks under another title.
    for title in (column, f"{column}_anon"):
        if title in header:
            return title
    return None


def _condition_by_line(path: str | Path, column: str, names: list[str]) -> np.ndarray:
    """Column of ``read_condition``, each line checked by itself."""
    lines = cells_of(path)
    first_row = lines[0][1]
    title = _title_of(column, first_row)
    has_header = title is not None or "filename" in first_row
    if not has_header:
        conditions = _conditions_of_key(path)
        if column in conditions:
            return _values_of(path, conditions[column], names)
    is_pairs = len(first_row) == 2 and not has_header
    if is_pairs and not _begins_with_header([row[0] for _, row in lines], names):
        return _values_of(path, _column_of_cells(path, lines, 0, 1), names)
    if title is None:
        header = " ".join(first_row)
        raise InputError(f"{path}:{lines[0][0]}: header {header!r} has no column {column!r}")
    utterance = _column_of_utterances(first_row)
    values = _column_of_cells(path, lines[1:], utterance, first_row.index(title), len(first_row))
    return _values_of(path, values, names)


def _column_of_utterances(header: Sequence[str]) -> int:
    """Position of the column that names the utterances; the first if none has a name for that."""
    if "filename" in header:
        return header.index("filename")
    titles = [plain(title) for title in header]
    # A title of the first column counts, whatever other names the table has for recordings.
    if titles[0] not in UTTERANCE_COLUMNS:
        for title in UTTERANCE_COLUMNS:
            if title in titles:
                return titles.index(title)
    return 0


def _column_of_cells(
    path: str | Path,
    lines: Iterable[tuple[int, list[str]]],
    name_column: int,
    value_column: int,
    columns: int = 2,
) -> dict[str, str]:
    """Values of a column by utterance; lines of one utterance must agree."""
    values: dict[str, str] = {}
    for line, row in lines:
        check_cells(path, line, row, columns)
        name = row[name_column]
        value = row[value_column]
        # A trial list has an utterance once for each speaker that it is compared with.
        if values.setdefault(name, value) != value:
            raise InputError(
                f"{path}:{line}: {name} is there twice, with {values[name]!r} and {value!r}"
            )
    return values


def _conditions_of_key(path: str | Path) -> dict[str, dict[str, str]]:
    """Conditions of the trials of a key in a format of ``interop.score_tables``, else nothing."""
    try:
        return read_key_table(path, ALL_PHASES).conditions
    except InputError:
        pass
    try:
        # Trials of such a file have numbers where an id is on several lines.
        return read_labelled_scores(path, ALL_PHASES)[0].conditions
    except InputError:
        pass
    try:
        return conditions_by_utterance(path)
    except InputError:
        # Tables without labels are read by their own columns.
        return {}


def attacks_of_key(path: str | Path) -> set[str]:
    """Attacks that a key names; none where it names none."""
    conditions = _conditions_of_key(path)
    attacks = set()
    for name in ATTACK_COLUMNS:
        attacks.update(conditions.get(name, {}).values())
    return attacks - {NO_VALUE}


def _values_of(path: str | Path, table: Mapping[str, str], names: Sequence[str]) -> np.ndarray:
    """Values of utterances in a table that may have more of them."""
    values, remarks = renamed_by_stem(table, path, dict.fromkeys(names, ""))
    for remark in remarks:
        logging.warning("%s", remark)
    missing = [name for name in names if name not in values]
    if missing:
        raise InputError(f"{path}: no line for {missing[0]}{_count(missing)}")
    return np.array([values[name] for name in names])


def _begins_with_header(ids: Sequence[str], names: Iterable[str]) -> bool:
    """Whether the first line of a table of two columns has their titles.

    Args:
        ids: first cells of its lines.
        names: utterances of which it should have lines.
    """
    known_ids = set(names)
    if ids[0] in known_ids:
        return False
    others_are_known = len(ids) > 1 and known_ids.issuperset(ids[1:])
    return ids[0].lower() in UTTERANCE_TITLES or others_are_known


class AsvScores(NamedTuple):
    """Trials of an ASV system.

    Attributes:
        format: what the file was taken for.
        classes: ``(N,)`` target, nontarget or spoof.
        scores: ``(N,)``.
        conditions: ``(N,)`` values by name, such as attack and codec.
        utterances: N ids; none where the file has none.
    """

    format: str
    classes: np.ndarray
    scores: np.ndarray
    conditions: dict[str, np.ndarray]
    utterances: list[str]

    def by_class(self) -> dict[str, np.ndarray]:
        """Scores of each class."""
        return {label: self.scores[self.classes == label] for label in ASV_LABELS}

    def attacks(self) -> list[str]:
        """Attacks of the spoofs, sorted; none where the file has no attacks."""
        if "attack" not in self.conditions:
            return []
        return np.unique(self.conditions["attack"][self.classes == "spoof"]).tolist()

    def of_condition(self, name: str, value: str, both: bool) -> dict[str, np.ndarray]:
        """Scores of each class, spoofs (with ``both`` all trials) of one value of a condition."""
        is_value = self.conditions[name] == value
        trials = {}
        for label in ASV_LABELS:
            rows = self.classes == label
            if both or label == "spoof":
                rows = rows & is_value
            trials[label] = self.scores[rows]
        return trials


def read_asv_trials(
    path: str | Path, key: str | Path | None = None, phase: str = DEFAULT_PHASE
) -> AsvScores:
    """ASV scores in any format of ``interop.verification_tables``.

    Args:
        path: lines ``attack key score`` of ASVspoof 2019, or another format.
        key: file with the classes of the trials, for scores that have none; by default the
            ``trial_metadata.txt`` in the folder above, where ASVspoof 2021 has it.
        phase: part of ASVspoof 2021: progress, eval, hidden, or all.

    Raises:
        InputError: as ``read_verification``.
    """
    table = read_verification_table(path)
    if "phase" in table.columns:
        table = read_verification_table(path, phase)
    if "asv-label" in table.columns:
        (scores,) = _score_columns(path, table, ["asv-score"])
        classes = classes_of(path, table)
        labelled = table
    else:
        beside = Path(path).resolve().parent.parent / TRIAL_METADATA
        if key is None and not beside.exists():
            raise InputError(
                f"{path}: read as {table.format}, without classes: --asv_key names the file with "
                f"the classes of its trials, such as {TRIAL_METADATA} of ASVspoof 2021"
            )
        key = key or beside
        labelled = read_verification_table(key)
        if "phase" in labelled.columns:
            labelled = read_verification_table(key, phase)
        logging.info("%s: read as %s", key, labelled.format)
        classes = classes_of(key, labelled)
        (scores,) = _score_columns(path, table, ["asv-score"])
        scores_by_trial = dict(zip(_unique_trials(path, table), scores))
        reference = dict(zip(_unique_trials(key, labelled), classes))
        scores_by_trial, _ = matched(scores_by_trial, path, reference, key, has_speakers=True)
        scores = np.array(list(scores_by_trial.values()))
    logging.info("%s: read as %s", path, table.format)
    classes = np.array(classes)
    _check_classes(classes, ASV_LABELS, path)
    conditions = {name: np.array(cells) for name, cells in labelled.conditions().items()}
    return AsvScores(table.format, classes, scores, conditions, labelled.columns.get("utt", []))


def read_asv_scores(path: str | Path) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """ASV scores by class, and those of the spoofs by their attack, if the file has attacks.

    Args:
        path: as ``read_asv_trials`` takes it.

    Raises:
        InputError: another key than target, nontarget or spoof, a score that is no number, or a key
            that does not occur.
    """
    asv = read_asv_trials(path)
    spoofs = {}
    for attack in asv.attacks():
        spoofs[attack] = asv.of_condition("attack", attack, both=False)["spoof"]
    return asv.by_class(), spoofs


def by_class(
    labels: np.ndarray, values: np.ndarray, classes: Sequence[str], source: str | Path
) -> dict[str, np.ndarray]:
    """``values`` of each class; a class without trials is an ``InputError``."""
    _check_classes(labels, classes, source)
    return {label: values[labels == label] for label in classes}


def _check_classes(labels: np.ndarray, classes: Sequence[str], source: str | Path) -> None:
    for label in classes:
        if label not in labels:
            raise InputError(f"{source}: no {label} trial among {len(labels)}")


def check_finite(path: str | Path, names: Iterable[str], scores: Iterable[float]) -> None:
    """Refuse scores that are not finite, before they are written.

    Raises:
        InputError: names the file and the utterance.
    """
    for name, score in zip(names, scores):
        if not math.isfinite(score):
            raise InputError(f"{path}: {name} has the score {score}, expected a finite number")


def write_scores(path: str | Path, names: Iterable[str], scores: Iterable[float]) -> None:
    """Write ``filename cm-score`` rows in ASVspoof 5's format, numbers in full precision."""
    lines = ["filename\tcm-score"]
    for name, score in zip(names, scores):
        lines.append(f"{name}\t{float(score)!r}")
    write_lines(path, lines)
