"""Scores and keys of trials of a speaker and an utterance, recognised by their content.

| file | a line |
|---|---|
| ASVspoof 5 track 2, scores or key | header with ``spk filename``, scores or labels, in any order |
| protocol of ASVspoof 5 track 2 | ``speaker utt gender attack key`` |
| full key of ASVspoof 5 | header with ``tar_spk_anon trial_anon asv-label`` and conditions |
| ASV scores of ASVspoof 2019 | ``attack key score`` |
| ASV scores of ASVspoof 2021 | ``speaker utt score``, their classes in ``trial_metadata.txt`` |
| ASV ``trial_metadata.txt`` of ASVspoof 2021 | ``speaker utt ... key trim phase``, + ``score`` |
| list of the a-DCF package | ``speaker utt score key`` |
| ASV protocol of SASV 2022 and ASVspoof 2019 | ``speaker utt attack key``, + ``score`` |
| tables of ASVspoof 5's tool for fusion | header ``asv_score,cm_score,...`` without ids |

A key is target, nontarget or spoof.
"""

from collections import Counter
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import NamedTuple

from wedefense_lite.files import NO_VALUE, InputError
from wedefense_lite.interop.cells import cells_of, plain
from wedefense_lite.interop.score_tables import (
    ALL_PHASES,
    LA_2021,
    PA_2021,
    UTTERANCE_COLUMNS,
    Layout,
    check_cells,
    recognise,
    refuse_phase,
)

ASV_LABELS = ("target", "nontarget", "spoof")
# Names of columns, as the table has them, by what they hold; without case and punctuation.
TITLES = {
    "speaker": ("spk", "speaker", "spkid", "tarspkanon", "tarspk", "model", "enroll"),
    "utt": UTTERANCE_COLUMNS,
    "cm-label": ("cmlabel",),
    "asv-label": ("asvlabel", "sasvlabel", "key", "trialtype"),
    "cm-score": ("cmscore",),
    "asv-score": ("asvscore",),
    "sasv-score": ("sasvscore", "fusedscore"),
    "score": ("score", "scores", "llr"),
    "attack": ("attack", "attackanon"),
}
TELLING_TITLES = ("cm-label", "asv-label", "cm-score", "asv-score", "sasv-score", "score")
# Labels of ASVspoof 5's tool for fusion; its text has 3 for spoof, its data and its program 0.
NUMBERED_LABELS = {0.0: "spoof", 1.0: "target", 2.0: "nontarget", 3.0: "spoof"}
DUMMY_COLUMN = "track2tag"  # of full keys of ASVspoof 5: trials that are no part of track 2
DUMMY = "dummy"
NO_CONDITIONS = ("speaker", "utt", *TELLING_TITLES)


class VerificationTable(NamedTuple):
    """Trials of a file, a row each.

    Attributes:
        format: what the file was taken for.
        lines: numbers of the lines.
        columns: cells by column: those of ``TITLES``, ``score`` where nothing says of what, and
            conditions by their own names.
    """

    format: str
    lines: list[int]
    columns: dict[str, list[str]]

    def trials(self) -> list[str]:
        """Id of each trial: speaker and utterance, or its place in a file without ids."""
        if "utt" not in self.columns:
            return [f"row {row}" for row in range(1, len(self.lines) + 1)]
        utterances = self.columns["utt"]
        speakers = self.columns.get("speaker")
        if speakers is None:
            return list(utterances)
        return [f"{speaker} {utterance}" for speaker, utterance in zip(speakers, utterances)]

    def conditions(self) -> dict[str, list[str]]:
        """Columns that are no ids, labels or scores."""
        return {name: cells for name, cells in self.columns.items() if name not in NO_CONDITIONS}


def _layout(name: str, columns: Sequence[str]) -> Layout:
    """Format of lines with these columns, told by their class and their score."""
    label = columns.index("asv-label") if "asv-label" in columns else None
    score = columns.index("score") if "score" in columns else None

    def is_of(cells: Sequence[str]) -> bool:
        if len(cells) != len(columns):
            return False
        if label is not None and cells[label].lower() not in ASV_LABELS:
            return False
        return score is None or _is_like_number(cells[score])

    return Layout(name, columns, is_of)


def _is_like_number(text: str) -> bool:
    """Whether a text is a number, or a NaN, which is refused by its line later."""
    try:
        float(text)
    except ValueError:
        return False
    return True


def _with_asv_label(columns: Sequence[str]) -> tuple[str, ...]:
    return tuple("asv-label" if name == "label" else name for name in columns)


LA_ASV_2021 = _with_asv_label(LA_2021)
PA_ASV_2021 = _with_asv_label(PA_2021)
SASV_2022 = ("speaker", "utt", "attack", "asv-label")
TRACK_2_TRIALS = ("speaker", "utt", "gender", "attack", "asv-label")
LAYOUTS = [
    _layout("ASVspoof 2019 ASV scores", ("attack", "asv-label", "score")),
    _layout("scores of speakers and utterances", ("speaker", "utt", "score")),
    _layout("a list of the a-DCF package", ("speaker", "utt", "score", "asv-label")),
    _layout("an SASV 2022 protocol", SASV_2022),
    _layout("a protocol of ASVspoof 5 track 2", TRACK_2_TRIALS),
    _layout("an SASV 2022 protocol with scores", (*SASV_2022, "score")),
    _layout("ASVspoof 2021 LA ASV trial metadata", LA_ASV_2021),
    _layout("ASVspoof 2021 LA ASV trial metadata with scores", (*LA_ASV_2021, "score")),
    _layout("ASVspoof 2021 PA ASV trial metadata", PA_ASV_2021),
    _layout("ASVspoof 2021 PA ASV trial metadata with scores", (*PA_ASV_2021, "score")),
]


def read_verification_table(path: str | Path, phase: str = ALL_PHASES) -> VerificationTable:
    """Trials of a file in any of the formats above; gzip is unpacked.

    Args:
        path: the file.
        phase: part of ASVspoof 2021 that is kept: progress, eval, hidden, or all.

    Raises:
        InputError: unknown format, two columns of one meaning, another number of cells than in the
            first line, or no trial of the phase.
    """
    lines = cells_of(path)
    first, cells = lines[0]
    header = _columns_of_header(f"{path}:{first}", cells)
    titles = "'spk', 'filename' and scores or labels,"
    name, columns, lines = recognise(path, lines, header, LAYOUTS, titles)
    for line, row in lines:
        check_cells(path, line, row, len(columns))
    if "phase" not in columns:
        refuse_phase(path, phase)
    elif phase != ALL_PHASES:
        # The third phase is "hidden" in the later keys, "hidden_track" in the first ones.
        phases = {phase, f"{phase}_track"}
        name, lines = _kept(path, f"{name}, phase {phase}", lines, columns.index("phase"), phases)
    tags = [position for position, title in enumerate(columns) if plain(title) == DUMMY_COLUMN]
    if tags:
        values = {row[tags[0]] for _, row in lines} - {DUMMY}
        name, lines = _kept(path, name, lines, tags[0], values)
    cells_by_column = {}
    for position, title in enumerate(columns):
        cells_by_column[title] = [row[position] for _, row in lines]
    return VerificationTable(name, [line for line, _ in lines], cells_by_column)


def _kept(
    path: str | Path,
    name: str,
    lines: list[tuple[int, list[str]]],
    position: int,
    values: Collection[str],
) -> tuple[str, list[tuple[int, list[str]]]]:
    """Rows that have one of the values in a column, and the name of the format with their count."""
    kept = [(line, row) for line, row in lines if row[position] in values]
    if not kept:
        others = sorted({row[position] for _, row in lines})
        raise InputError(f"{path}: {name}: no trial, its trials are of {', '.join(others)}")
    return f"{name}: {len(kept)} of {len(lines)} trials", kept


def _columns_of_header(place: str, cells: Sequence[str]) -> list[str] | None:
    """Names of columns of a header, those of ``TITLES`` as there; None where it is none.

    Raises:
        InputError: two columns that may hold the same.
    """
    names = [plain(cell) for cell in cells]
    columns = list(cells)
    for title, spellings in TITLES.items():
        positions = [position for position, name in enumerate(names) if name in spellings]
        if title == "utt" and len(positions) > 1:
            # Of several names of a recording the one that comes first in the list counts.
            best = min(positions, key=lambda position: spellings.index(names[position]))
            positions = [best]
        if len(positions) > 1:
            found = " and ".join(cells[position] for position in positions)
            raise InputError(
                f"{place}: header {' '.join(cells)!r} has two columns for {title!r}, {found}: "
                "expected one, so give the other another name"
            )
        for position in positions:
            columns[position] = title
    if not set(TELLING_TITLES) & set(columns):
        return None
    repeated = [name for name, count in Counter(columns).items() if count > 1]
    if repeated:
        raise InputError(
            f"{place}: header {' '.join(cells)!r} has two columns for {repeated[0]!r}, expected one"
        )
    return columns


def classes_of(path: str | Path, table: VerificationTable) -> list[str]:
    """Class of each trial: target, nontarget or spoof.

    Raises:
        InputError: no column of classes, an unknown class, or a spoof by one of two labels alone.
    """
    if "asv-label" not in table.columns:
        raise InputError(
            f"{path}: read as {table.format}, which has no classes, expected "
            f"{', '.join(ASV_LABELS)} in a column asv-label"
        )
    classes = []
    for line, text in zip(table.lines, table.columns["asv-label"]):
        label = text.lower()
        if _is_like_number(text):
            label = NUMBERED_LABELS.get(float(text), label)
        if label not in ASV_LABELS:
            raise InputError(f"{path}:{line}: {text!r}, expected {' or '.join(ASV_LABELS)}")
        classes.append(label)
    return classes


def conditions_by_utterance(path: str | Path) -> dict[str, dict[str, str]]:
    """Conditions of the utterances of a key of trials; columns in which their trials differ go.

    Raises:
        InputError: as ``read_verification_table``.
    """
    table = read_verification_table(path)
    utterances = table.columns.get("utt", [])
    conditions = {}
    for name, cells in table.conditions().items():
        values: dict[str, str] = {}
        is_of_utterance = True
        for utterance, cell in zip(utterances, cells):
            # Bona fide speech is "-", "bonafide" or "A00" in the column of attacks, by corpus.
            value = NO_VALUE if name == "attack" and plain(cell) in ("bonafide", "a00") else cell
            if values.setdefault(utterance, value) != value:
                is_of_utterance = False
        if is_of_utterance:
            conditions[name] = values
    return conditions
