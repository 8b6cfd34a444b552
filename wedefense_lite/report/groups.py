"""Fairness: error rates of groups of utterances at one threshold, and the gaps between them."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from wedefense_lite.audio.data_dir import META_FILE
from wedefense_lite.audio.subsets import GENDER_FILE
from wedefense_lite.files import NO_VALUE, InputError, read_table
from wedefense_lite.metrics.bootstrap import Resampler, interval, replicates
from wedefense_lite.metrics.detection import SortedScores, WeightedScores
from wedefense_lite.report.run import CALIBRATED, ScoredSet
from wedefense_lite.scoring.scores import read_condition

RATES = {"eer": "EER", "fa": "false alarms", "miss": "misses"}
# Columns of a speaker's sex, which data directories have in a table of speakers.
SEX_COLUMNS = ("sex", "gender")


class Rate(NamedTuple):
    """An error rate, or a difference of two.

    Attributes:
        value: fraction.
        ci: 95 % interval; None without a bootstrap.
    """

    value: float
    ci: tuple[float, float] | None


class Group(NamedTuple):
    """Utterances with one value of a column.

    Attributes:
        name: the value.
        n_bonafide: bona fide trials.
        n_spoof: spoofed trials.
        rates: by the names of ``RATES``; empty for a group of one class.
    """

    name: str
    n_bonafide: int
    n_spoof: int
    rates: dict[str, Rate]


class GroupTable(NamedTuple):
    """Groups of a set.

    Attributes:
        set_name: the set.
        column: the column that makes the groups.
        threshold: of false alarms and misses in all groups, nats.
        groups: by name, sorted.
        gaps: largest less smallest value of each rate; empty with fewer than two groups of both
            classes.
    """

    set_name: str
    column: str
    threshold: float
    groups: list[Group]
    gaps: dict[str, Rate]


def read_groups(data_dir: str | Path, scored: ScoredSet, column: str) -> np.ndarray:
    """Value of a column for each trial of a set.

    Args:
        data_dir: folder with the data directory of each set.
        scored: the set.
        column: column of its meta.tsv; ``speaker``; or ``sex``, which spk2gender has too.

    Raises:
        InputError: no such column, or an utterance without a value.
    """
    set_dir = Path(data_dir) / scored.name.removesuffix(CALIBRATED)
    meta = set_dir / META_FILE
    genders = set_dir / GENDER_FILE
    header: list[str] = []
    if meta.exists():
        with open(meta, encoding="utf-8") as file:
            header = file.readline().split()
    if column in header:
        return read_condition(meta, column, scored.key)
    if column == "speaker":
        return scored.speaker
    if column in SEX_COLUMNS and genders.exists():
        sex_of_speaker = read_table(genders)
        return np.array([sex_of_speaker.get(name, NO_VALUE) for name in scored.speaker])
    columns = ", ".join(header[1:]) or "none"
    raise InputError(f"{meta}: no column {column!r} for --groups, its columns: {columns}")


def measure_groups(
    scored: ScoredSet, column: str, values: np.ndarray, threshold: float, bootstrap: int
) -> GroupTable:
    """EER of each group, and its error rates at a threshold that all groups share.

    The bootstrap draws trials of one group and class among themselves, so that each sample has all
    groups, as large as they are. Trials count as independent: with few speakers, intervals are too
    narrow.

    Args:
        scored: the set.
        column: name of the column.
        values: group of each trial.
        threshold: nats.
        bootstrap: samples; 0 for no intervals.
    """
    names = sorted(set(values.tolist()))
    measured = []
    scores = []
    sizes = []
    counts = {}
    for name in names:
        is_member = values == name
        bonafide = scored.llr[is_member & scored.bonafide]
        spoof = scored.llr[is_member & ~scored.bonafide]
        counts[name] = (len(bonafide), len(spoof))
        if len(bonafide) and len(spoof):
            measured.append(name)
            scores.append(SortedScores(bonafide, spoof))
            sizes += [len(bonafide), len(spoof)]

    def sample_rates(*trial_counts: np.ndarray) -> dict[str, float]:
        sampled = []
        for number, group_scores in enumerate(scores):
            bonafide_counts, spoof_counts = trial_counts[2 * number : 2 * number + 2]
            sampled.append(group_scores.weighted(bonafide_counts, spoof_counts))
        return _rates_and_gaps(sampled, threshold)

    rates = _rates_and_gaps(scores, threshold)
    samples: dict[str, np.ndarray] = {}
    if bootstrap and scores:
        samples = replicates(sample_rates, Resampler(sizes), bootstrap)
    rate_of = {}
    for name, value in rates.items():
        rate_of[name] = Rate(value, interval(samples[name]) if samples else None)
    groups = []
    for name in names:
        group_rates = {}
        if name in measured:
            for rate in RATES:
                group_rates[rate] = rate_of[f"{rate} {measured.index(name)}"]
        groups.append(Group(name, *counts[name], group_rates))
    gaps = {rate: rate_of[f"{rate} gap"] for rate in RATES if f"{rate} gap" in rate_of}
    return GroupTable(scored.name, column, threshold, groups, gaps)


def _rates_and_gaps(groups: list[WeightedScores], threshold: float) -> dict[str, float]:
    """Rates of groups as ``eer 0``, ``fa 0``, ``miss 0`` ..., and their gaps as ``eer gap`` ..."""
    values: dict[str, list[float]] = {rate: [] for rate in RATES}
    for scores in groups:
        miss, false_alarm = scores.errors_at(threshold)
        values["eer"].append(scores.eer().value)
        values["fa"].append(false_alarm)
        values["miss"].append(miss)
    rates = {}
    for rate, of_groups in values.items():
        for number, value in enumerate(of_groups):
            rates[f"{rate} {number}"] = value
        if len(of_groups) > 1:
            rates[f"{rate} gap"] = max(of_groups) - min(of_groups)
    return rates
