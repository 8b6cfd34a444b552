"""Scores of mixtures: read, joined with the key, and measured by condition.

Shapes: M mixtures, K streams or talkers of a mixture, S talkers that streams are compared with,
J columns of a table.
"""

import math
from bisect import bisect_left
from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

import numpy as np

from wedefense_lite.files import NO_VALUE, InputError, number, read_columns
from wedefense_lite.labels import NO_LABEL, SPOOF, label_id
from wedefense_lite.mixtures.ids import WHOLE_MIXTURE, talker_id
from wedefense_lite.mixtures.metrics import (
    assign_by_oracle,
    assign_by_sisdr,
    chance_macro_f1,
    lowest,
    mixture_metrics,
)
from wedefense_lite.mixtures.plan import Column, MixtureRow, read_mixture_table
from wedefense_lite.scoring.scores import align, finite_number, read_scores

Assignment = Literal["sisdr", "identity", "oracle"]
# The upper end of each bin, itself included.
OVERLAP_BINS = {
    "none": 0.0,
    "up to 25 %": 0.25,
    "25 to 50 %": 0.5,
    "50 to 75 %": 0.75,
    "over 75 %": math.inf,
}
LEVEL_BINS = {"up to 3 dB": 3.0, "3 to 6 dB": 6.0, "6 to 10 dB": 10.0, "over 10 dB": math.inf}
BINS = {"overlap": OVERLAP_BINS, "level_difference": LEVEL_BINS}
MAX_ATTACKS = (
    2  # spoofed talkers in a condition of attacks: of more there are too many combinations
)

# The columns of a plan that a key may have.
KEY_COLUMNS = (
    Column("overlap", number, optional=True),
    Column("level_difference", number, optional=True),
    Column("sex", optional=True),
)
KEY_TALKER_COLUMNS = (Column("label", label_id), Column("attack", optional=True))


class Key(NamedTuple):
    """Labels and conditions of mixtures, in the order of their file.

    Attributes:
        path: that file.
        names: ids of the mixtures.
        labels_MK: class index of each talker, NO_LABEL after a mixture's last one.
        conditions: by the name of a condition, the value of each mixture ``(M,)``, ``-`` if
            unknown.
    """

    path: str
    names: list[str]
    labels_MK: np.ndarray
    conditions: dict[str, np.ndarray]


class ScoredMixtures(NamedTuple):
    """Mixtures and their scores, higher is more bona fide.

    Attributes:
        key: labels and conditions.
        scores_MK: of each stream, NaN where it is absent.
        any_spoof_M: whether any talker is spoofed: an output for the mixture, or its lowest stream.
        assignment_MK: talker of each stream; None where nothing ties streams to talkers.
        improvement_MK: SI-SDR of each stream less that of the mixture, dB; None where unknown.
        assigned_by: option by which streams were assigned, or ``none``.
    """

    key: Key
    scores_MK: np.ndarray
    any_spoof_M: np.ndarray
    assignment_MK: np.ndarray | None
    improvement_MK: np.ndarray | None
    assigned_by: str

    @property
    def is_bonafide_M(self) -> np.ndarray:
        """Whether no talker is spoofed."""
        return (self.key.labels_MK != SPOOF).all(axis=1)

    def metrics(self, threshold: float, rows: Sequence[int] | slice = slice(None)) -> dict:
        """Metrics of some rows, by default of all.

        See ``wedefense_lite.mixtures.metrics.mixture_metrics``.
        """
        assignment_MK = None if self.assignment_MK is None else self.assignment_MK[rows]
        return mixture_metrics(
            self.scores_MK[rows],
            self.key.labels_MK[rows],
            assignment_MK,
            threshold,
            self.any_spoof_M[rows],
        )

    def summary(self, threshold: float, rows: Sequence[int] | slice = slice(None)) -> dict:
        """The numbers by which conditions are compared.

        A number is None where a class does not occur or the talkers of streams are unknown.
        """
        metrics = self.metrics(threshold, rows)
        labels_MK = self.key.labels_MK[rows]
        summary = {
            "n": len(labels_MK),
            "accuracy": metrics["accuracy"],
            "macro_f1": None,
            "chance_macro_f1": None,
            "source_eer": metrics.get("source_eer"),
            "any_spoof_eer": metrics.get("any_spoof_eer"),
            "sisdr_improvement": None,
        }
        # A class that does not occur has an F1 of 0, which would lower the mean.
        all_classes_occur = all(any(row) for row in metrics["confusion"])
        if all_classes_occur:
            summary["macro_f1"] = metrics["macro_f1"]
            summary["chance_macro_f1"] = chance_macro_f1(labels_MK)
        if self.improvement_MK is not None:
            summary["sisdr_improvement"] = float(np.nanmean(self.improvement_MK[rows]))
        return summary

    def by_condition(self, threshold: float) -> dict[str, dict[str, dict]]:
        """A ``summary`` of each value of each condition that has two or more known values.

        Bins are in their own order, other values in that of the alphabet.
        """
        rank = {}
        for bins in BINS.values():
            for name in bins:
                rank[name] = len(rank)
        summaries = {}
        for condition, value_M in self.key.conditions.items():
            values = set(value_M.tolist()) - {NO_VALUE}
            if len(values) < 2:
                continue
            summaries[condition] = {}
            for value in sorted(values, key=lambda value: (rank.get(value, 0), value)):
                rows = np.flatnonzero(value_M == value)
                summaries[condition][value] = self.summary(threshold, rows)
        return summaries


def read_key(path: str) -> Key:
    """Labels from a table ``mixture label_1 label_2 ...``, conditions from its columns of a plan.

    Raises:
        InputError: as ``wedefense_lite.mixtures.plan.read_mixture_table``.
    """
    rows = read_mixture_table(path, KEY_COLUMNS, KEY_TALKER_COLUMNS)
    most_talkers = max(len(row.talkers) for row in rows)
    labels_MK = np.full((len(rows), most_talkers), NO_LABEL)
    for position, row in enumerate(rows):
        for talker_number, talker in enumerate(row.talkers):
            labels_MK[position, talker_number] = talker["label"]
    return Key(path, [row.mixture for row in rows], labels_MK, _conditions(rows))


def _conditions(rows: list[MixtureRow]) -> dict[str, np.ndarray]:
    """Values of the conditions whose columns are there, ``(M,)`` each."""
    conditions = {"talkers": np.array([str(len(row.talkers)) for row in rows])}
    for column, bins in BINS.items():
        if column in rows[0].cells:
            conditions[column] = np.array([_bin_name(row.cells[column], bins) for row in rows])
    if "sex" in rows[0].cells:
        conditions["sex"] = np.array([row.cells["sex"] or NO_VALUE for row in rows])
    have_attacks = True
    for row in rows:
        if not all("attack" in talker for talker in row.talkers):
            have_attacks = False
    if have_attacks:
        conditions["attacks"] = np.array([_attacks(row) for row in rows])
    return conditions


def _bin_name(value: float | None, bins: dict[str, float]) -> str:
    if value is None:
        return NO_VALUE
    # To the left of an equal upper end, so that it belongs to its bin.
    position = bisect_left(list(bins.values()), value)
    return list(bins)[position]


def _attacks(row: MixtureRow) -> str:
    """Attacks of a mixture, as ``A01+A02``; unknown where one is, or where there are too many."""
    attacks = []
    for talker in row.talkers:
        if talker["label"] == SPOOF:
            attacks.append(talker["attack"])
    if not attacks or None in attacks or len(attacks) > MAX_ATTACKS:
        return NO_VALUE
    return "+".join(sorted(attacks))


def read_mixtures(
    key: Key, cm: str, separation: str | None, assignment: Assignment | None
) -> ScoredMixtures:
    """Scores of talkers ``<mixture>-<stream>``, streams numbered from 1.

    Args:
        key: the mixtures.
        cm: ``filename cm-score``; rows ``<mixture>-0`` are scores of mixtures.
        separation: ``mixture stream sisdr_1 .. sisdr_mixture_1 ..``, dB.
        assignment: by default sisdr with ``separation``, and none without it.

    Raises:
        InputError: a row that is missing, or of no mixture; an assignment by SI-SDR without
            ``separation``.
    """
    if assignment is None:
        assignment = "sisdr" if separation else "none"
    if assignment == "sisdr" and not separation:
        raise InputError(
            "assignment by sisdr needs SI-SDRs (--separation), and these are not given"
        )
    rows = read_scores(cm)
    outputs = {}
    for mixture in key.names:
        name = talker_id(mixture, WHOLE_MIXTURE)
        if name in rows:
            outputs[mixture] = rows.pop(name)
    scores_MK = _by_stream(rows, cm, key, talker_id)[..., 0]
    any_spoof_M = lowest(scores_MK)
    if outputs:
        any_spoof_M = np.ravel(align(outputs, cm, dict.fromkeys(key.names), key.path))

    assignments = {
        "none": None,
        "identity": np.broadcast_to(np.arange(scores_MK.shape[1]), scores_MK.shape),
        "oracle": assign_by_oracle(scores_MK, key.labels_MK),
    }
    improvement_MK = None
    if separation:
        # The improvement is that of the best assignment, however talkers are assigned for metrics.
        sisdr_MKS, mixture_sisdr_MKS = _read_separation(separation, key)
        _check_sisdr(sisdr_MKS, separation, key)
        by_sisdr_MK = assign_by_sisdr(sisdr_MKS)
        assignments["sisdr"] = by_sisdr_MK
        improvement_MK = np.take_along_axis(
            sisdr_MKS - mixture_sisdr_MKS, by_sisdr_MK[..., None], axis=2
        )[..., 0]
    return ScoredMixtures(
        key, scores_MK, any_spoof_M, assignments[assignment], improvement_MK, assignment
    )


def _read_separation(path: str, key: Key) -> tuple[np.ndarray, np.ndarray]:
    """SI-SDR of each stream, and of its mixture, against each talker: ``MKS`` in dB each.

    NaN where a talker is absent or the table has no number.
    """
    talkers = range(1, key.labels_MK.shape[1] + 1)
    columns = [f"sisdr_{talker}" for talker in talkers]
    columns += [f"sisdr_mixture_{talker}" for talker in talkers]
    conversions = dict.fromkeys(columns, number_or_unknown)
    cells = read_columns(path, conversions, ["mixture", "stream"])
    values_MKJ = _by_stream(cells, path, key, _separation_id)
    sisdr_MKS, mixture_sisdr_MKS = np.split(values_MKJ, 2, axis=2)
    absent_MS = key.labels_MK == NO_LABEL
    sisdr_MKS[np.broadcast_to(absent_MS[:, None], sisdr_MKS.shape)] = np.nan
    return sisdr_MKS, mixture_sisdr_MKS


def _separation_id(mixture: str, stream: int) -> str:
    """A row of ``separation.tsv``: the cells of its two id columns, joined as they are read."""
    return f"{mixture} {stream}"


def _check_sisdr(sisdr_MKS: np.ndarray, path: str, key: Key) -> None:
    """Refuse an unknown SI-SDR of a present stream against a present talker."""
    present_MK = key.labels_MK != NO_LABEL
    pairs_MKS = present_MK[:, :, None] & present_MK[:, None]
    unknown = np.argwhere(pairs_MKS & np.isnan(sisdr_MKS))
    if len(unknown):
        mixture, stream, talker = unknown[0]
        pair = f"{key.names[mixture]} {stream + 1}: no SI-SDR against source {talker + 1}"
        raise InputError(f"{path}: {pair}, which is in {key.path}")


def _by_stream(
    cells: dict[str, list], path: str, key: Key, stream_id: Callable[[str, int], str]
) -> np.ndarray:
    """Columns of a table by mixture and stream, ``MKJ``, NaN where a mixture lacks the stream.

    Args:
        cells: rows of the table by their ids.
        path: of the table, for messages.
        key: the mixtures.
        stream_id: id of a row from its mixture and the number of its stream, from 1.
    """
    present = np.argwhere(key.labels_MK != NO_LABEL)
    names = {}
    for mixture, stream in present:
        names[stream_id(key.names[mixture], stream + 1)] = None
    rows = align(cells, path, names, key.path)
    values_MKJ = np.full((*key.labels_MK.shape, len(rows[0])), np.nan)
    for (mixture, stream), row in zip(present, rows):
        values_MKJ[mixture, stream] = row
    return values_MKJ


def number_or_unknown(text: str) -> float:
    """A finite number, NaN where it is not known; ValueError for anything else."""
    return math.nan if text == NO_VALUE else finite_number(text)
