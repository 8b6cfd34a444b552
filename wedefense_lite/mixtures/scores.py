"""Scores of mixtures of talkers: read, joined with what is known of the mixtures, and measured by condition."""

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np

from wedefense_lite.files import NO_VALUE, InputError, iter_rows, number, read_columns
from wedefense_lite.labels import NO_LABEL, SPOOF, label_id
from wedefense_lite.mixtures import metrics
from wedefense_lite.mixtures.metrics import assign_by_oracle, assign_by_sisdr, lowest
from wedefense_lite.scoring.scores import align, read_scores

Assignment = Literal["sisdr", "identity", "oracle"]
# The upper end of each bin, itself included.
OVERLAPS = {
    "none": 0.0,
    "up to 25 %": 0.25,
    "25 to 50 %": 0.5,
    "50 to 75 %": 0.75,
    "over 75 %": math.inf,
}
LEVELS = {"up to 3 dB": 3.0, "3 to 6 dB": 6.0, "6 to 10 dB": 10.0, "over 10 dB": math.inf}


class Key(NamedTuple):
    """What is known of mixtures, in the order of its file.

    Attributes:
        path: that file.
        names: of the mixtures.
        labels_MK: class index of each talker, :data:`ABSENT` after a mixture's last one.
        conditions: by what they are compared: a name each, ``-`` where it is unknown, ``(M,)``.
    """

    path: str
    names: list[str]
    labels_MK: np.ndarray
    conditions: dict[str, np.ndarray]


class Mixtures(NamedTuple):
    """Mixtures and their scores, higher is more bona fide.

    Attributes:
        key: what is known of them.
        scores_MK: of each stream, NaN where it is absent.
        any_spoof_M: whether any talker is spoofed: of an output for that, or of the lowest stream.
        sources_MK: source of each stream; None where nothing ties streams to sources.
        improvement_MK: SI-SDR of each stream less that of the mixture, dB, if known.
        assignment: how sources were found, or ``none``.
    """

    key: Key
    scores_MK: np.ndarray
    any_spoof_M: np.ndarray
    sources_MK: np.ndarray | None
    improvement_MK: np.ndarray | None
    assignment: str

    @property
    def is_bonafide_M(self) -> np.ndarray:
        """Whether no talker is spoofed."""
        return (self.key.labels_MK != SPOOF).all(axis=1)

    def metrics(self, threshold: float, chosen: Sequence[int] | slice = slice(None)) -> dict:
        """:func:`wedefense_lite.mixtures.metrics.mixture_metrics` of some of them, by their places."""
        sources = None if self.sources_MK is None else self.sources_MK[chosen]
        labels, any_spoof = self.key.labels_MK[chosen], self.any_spoof_M[chosen]
        return metrics.mixture_metrics(
            self.scores_MK[chosen], labels, sources, threshold, any_spoof
        )

    def summary(self, threshold: float, chosen: Sequence[int] | slice = slice(None)) -> dict:
        """The numbers by which conditions are compared; None where a class does not occur, or sources are unknown."""
        found, labels = self.metrics(threshold, chosen), self.key.labels_MK[chosen]
        complete = all(map(any, found["confusion"]))
        return {
            "n": len(labels),
            "accuracy": found["accuracy"],
            "macro_f1": found["macro_f1"] if complete else None,
            "chance_macro_f1": metrics.chance_macro_f1(labels) if complete else None,
            "source_eer": found.get("source_eer"),
            "any_spoof_eer": found.get("any_spoof_eer"),
            "sisdr_improvement": None
            if self.improvement_MK is None
            else float(np.nanmean(self.improvement_MK[chosen])),
        }

    def by_condition(self, threshold: float) -> dict[str, dict[str, dict]]:
        """A :meth:`summary` of the mixtures of each value of each condition of which there are two or more."""
        order, found = [*OVERLAPS, *LEVELS], {}
        for condition, values in self.key.conditions.items():
            known = sorted(
                {*values.tolist()} - {NO_VALUE},
                key=lambda name: (name in order and order.index(name), name),
            )
            if len(known) > 1:
                found[condition] = {
                    name: self.summary(threshold, np.flatnonzero(values == name)) for name in known
                }
        return found


def read_key(path: str) -> Key:
    """Mixtures of a table ``mixture label_1 label_2 ...``, and of its columns that a plan has.

    Raises:
        InputError: fewer than two talkers, a label that is none, a talker after one that is absent.
    """
    convert = dict.fromkeys(columns := named(path, "", "mixture"), str)
    talkers = [name for name in columns if name.startswith("label_")]
    if len(talkers) < 2 or talkers != [f"label_{talker}" for talker in range(1, len(talkers) + 1)]:
        found = " ".join(talkers) or "without label_1"
        raise InputError(f"{path}: columns {found}, expected label_1, label_2 and so on")
    convert |= dict.fromkeys(talkers, lambda text: NO_LABEL if text == NO_VALUE else label_id(text))
    convert |= dict.fromkeys({"overlap", "level_difference"} & {*columns}, number_or_unknown)
    rows = read_columns(path, convert, ["mixture"])
    cells = dict(zip(columns, map(np.array, zip(*rows.values()))))
    labels_MK = np.stack([cells[name] for name in talkers], axis=1)
    absent = labels_MK == NO_LABEL
    for name in np.array(list(rows))[absent[:, 0] | (absent[:, :-1] & ~absent[:, 1:]).any(axis=1)][
        :1
    ]:
        raise InputError(
            f"{path}: {name} has talkers after an absent one, expected {NO_VALUE} in the last columns only"
        )
    return Key(path, list(rows), labels_MK, _conditions(cells, labels_MK))


def _conditions(cells: dict[str, np.ndarray], labels_MK: np.ndarray) -> dict[str, np.ndarray]:
    """What mixtures are compared by, where its columns are there; attacks where one or two talkers are spoofed."""
    found = {"talkers": (labels_MK != NO_LABEL).sum(axis=1).astype(str)}
    for column, bins in {"overlap": OVERLAPS, "level_difference": LEVELS}.items():
        if column in cells:
            found[column] = np.array([*bins, NO_VALUE])[
                np.searchsorted([*bins.values()], cells[column])
            ]
            found[column][np.isnan(cells[column])] = NO_VALUE
    if "sex" in cells:
        found["sex"] = cells["sex"]
    attacks = [cells.get(f"attack_{talker}") for talker in range(1, labels_MK.shape[1] + 1)]
    if all(column is not None for column in attacks):
        spoofed = [
            [str(one) for one, label in zip(*row) if label == SPOOF]
            for row in zip(zip(*attacks), labels_MK)
        ]
        known = [
            row if len(row) < 3 and NO_VALUE not in row else [] for row in spoofed
        ]  # of more there are too many
        found["attacks"] = np.array(["+".join(sorted(row)) or NO_VALUE for row in known])
    return found


def read_mixtures(
    key: Key, cm: str, separation: str | None, assignment: Assignment | None
) -> Mixtures:
    """Scores of talkers ``<mixture>-<stream>``, streams numbered from 1.

    Args:
        key: the mixtures.
        cm: ``filename cm-score``; rows ``<mixture>-0`` are scores of mixtures.
        separation: ``mixture stream sisdr_1 .. sisdr_mixture_1 ..``, dB.
        assignment: by default sisdr where ``separation`` is given; else sources stay unknown.

    Raises:
        InputError: a row that is missing, or of no mixture; an assignment by SI-SDRs that are not given.
    """
    rows, improvement_MK = read_scores(cm), None
    outputs = {name: rows.pop(f"{name}-0") for name in key.names if f"{name}-0" in rows}
    scores_MK, sources = _by_stream(rows, cm, key, "{}-{}")[..., 0], {"none": None}
    any_spoof_M = (
        np.ravel(align(outputs, cm, dict.fromkeys(key.names), key.path))
        if outputs
        else lowest(scores_MK)
    )
    if separation:
        talkers = range(1, key.labels_MK.shape[1] + 1)
        columns = [f"{what}_{talker}" for what in ("sisdr", "sisdr_mixture") for talker in talkers]
        found = read_columns(
            separation, dict.fromkeys(columns, number_or_unknown), ["mixture", "stream"]
        )
        sisdr_MKS, before_MKS = np.split(_by_stream(found, separation, key, "{} {}"), 2, axis=2)
        sources["sisdr"] = _by_sisdr(sisdr_MKS, separation, key)
        improvement_MK = np.take_along_axis(
            sisdr_MKS - before_MKS, sources["sisdr"][..., None], axis=2
        )[..., 0]
    assignment = assignment or [*sources][-1]
    sources |= _without_sisdr(scores_MK, key)
    if assignment not in sources:
        raise InputError(
            "assignment by sisdr needs SI-SDRs (--separation), and these are not given"
        )
    return Mixtures(key, scores_MK, any_spoof_M, sources[assignment], improvement_MK, assignment)


def read_streams(key: Key, path: str, assignment: Assignment | None) -> Mixtures:
    """Scores and SI-SDRs in one table, ``mixture stream score sisdr_1 sisdr_2 ...``, streams numbered from 1 or 0.

    Raises:
        InputError: as :func:`read_mixtures`.
    """
    columns = named(path, "sisdr_")
    cells = read_columns(
        path, {"score": number} | dict.fromkeys(columns, number_or_unknown), ["mixture", "stream"]
    )
    values_MKC = _by_stream(
        cells, path, key, "{} {}", first=not any(name.endswith(" 0") for name in cells)
    )
    assignment, scores_MK = assignment or ("sisdr" if columns else "identity"), values_MKC[..., 0]
    sources = _without_sisdr(scores_MK, key)
    if assignment == "sisdr":
        if len(columns) != key.labels_MK.shape[1]:
            raise InputError(
                f"{path}: {len(columns)} columns sisdr_*, expected {key.labels_MK.shape[1]}"
            )
        sources["sisdr"] = _by_sisdr(values_MKC[..., 1:], path, key)
    return Mixtures(key, scores_MK, lowest(scores_MK), sources[assignment], None, assignment)


def _without_sisdr(scores_MK: np.ndarray, key: Key) -> dict[str, np.ndarray]:
    """``sources_MK`` by number, and by labels."""
    identity = np.broadcast_to(np.arange(scores_MK.shape[1]), scores_MK.shape)
    return {"identity": identity, "oracle": assign_by_oracle(scores_MK, key.labels_MK)}


def _by_sisdr(sisdr_MKS: np.ndarray, path: str, key: Key) -> np.ndarray:
    """``sources_MK`` by SI-SDR; one that is not known is an :class:`InputError`."""
    present_MK = key.labels_MK != NO_LABEL
    pairs_MKS = present_MK[:, :, None] & present_MK[:, None]
    for mixture, stream, source in np.argwhere(pairs_MKS & np.isnan(sisdr_MKS))[:1]:
        what = f"{key.names[mixture]} {stream + 1}: no SI-SDR against source {source + 1}"
        raise InputError(f"{path}: {what}, which is in {key.path}")
    return assign_by_sisdr(np.where(pairs_MKS, sisdr_MKS, np.nan))


def _by_stream(
    cells: dict[str, list], path: str, key: Key, name: str, first: int = 1
) -> np.ndarray:
    """Columns of a table by mixture and stream, ``(M, K, C)``, NaN where a mixture lacks the stream."""
    places = np.argwhere(key.labels_MK != NO_LABEL)
    wanted = {name.format(key.names[mixture], first + stream): None for mixture, stream in places}
    rows = align(cells, path, wanted, key.path)
    values_MKC = np.full((*key.labels_MK.shape, len(rows[0])), np.nan)
    values_MKC[tuple(places.T)] = rows
    return values_MKC


def named(path: str, prefix: str, *others: str) -> list[str]:
    """Columns of a table whose names start with ``prefix``, without ``others``."""
    return [
        name
        for name in next(iter_rows(path, columns=None))[1]
        if name.startswith(prefix) and name not in others
    ]


def number_or_unknown(text: str) -> float:
    """A number, NaN where it is not known; ValueError for anything else."""
    return math.nan if text == NO_VALUE else number(text)
