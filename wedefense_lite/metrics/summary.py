"""All metrics of a set of trials at once, for all trials or for a bootstrap sample of them."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from wedefense_lite.metrics.bootstrap import Resampler
from wedefense_lite.metrics.costs import DEFAULT, CostModel
from wedefense_lite.metrics.detection import MERGE_TIES, SortedScores, WeightedScores
from wedefense_lite.metrics.tandem import (
    AsvRates,
    concurrent_teer,
    measure_asv_rates,
    min_adcf,
    min_tdcf,
)

# Names of error rates that are above 50 % where scores are high for spoofs.
# Equal error rates between these are those of scores that tell nothing.
CHANCE = (0.4, 0.6)
USELESS_CLLR = 1.0  # bits, of scores that tell nothing; worse ones are misleading LLRs
POLARITY_METRICS = ("eer", "sasv_eer", "range_eer", "any_spoof_eer", "source_eer")

# A set of trials whose labels nobody knows, as if it were a class.
UNLABELLED = "unlabelled"
# Error rate at a threshold that the trials of a class define; of unlabelled ones, what is accepted.
RATE_OF_CLASS = {"bonafide": "miss", "spoof": "fa", UNLABELLED: "accepted"}
# Quantiles of a distribution of scores, by their names in the results.
QUANTILES = {"min": 0, "p5": 0.05, "p25": 0.25, "median": 0.5, "p75": 0.75, "p95": 0.95, "max": 1}

# By class, columns of (N,): scores by their names in the ASVspoof files, conditions, ``cluster``.
Trials = dict[str, dict[str, np.ndarray]]


@dataclass(frozen=True)
class MetricOptions:
    """What metrics depend on besides the scores.

    Attributes:
        cost: priors and costs of DCF, t-DCF and a-DCF.
        asv: error rates of the ASV system; without them there is no t-DCF of a detector.
        merge_ties: tie rule of the EER, see ``SortedScores.eer``.
        asv_by: error rates of the ASV system on the spoofs of each attack, if ASV scores were
            given; None for an attack of which it accepts none, which leaves the t-DCF undefined.
        threshold: of the error rates ``miss`` and ``fa``, which are left out without it.
    """

    cost: CostModel = DEFAULT
    asv: AsvRates | None = None
    merge_ties: bool = MERGE_TIES
    asv_by: dict[str, AsvRates | None] | None = None
    threshold: float | None = None

    def for_condition(self, value: str) -> "MetricOptions":
        """Options for the spoofs of one attack, or of another condition without ASV rates."""
        if self.asv_by is None:
            return self
        return replace(self, asv=self.asv_by.get(value))


def likely_cause(eer: float, cllr: float | None = None) -> str | None:
    """Likely cause of an equal error rate about or above 50 %, for a warning; None where it is low.

    Args:
        eer: fraction.
        cllr: of the same scores in bits, if known. Scores of a set that a system was not made for
            are off as LLRs, too, so that one above 1 makes an EER below 50 % suspicious.
    """
    lowest, highest = CHANCE
    if eer > highest:
        return "the polarity may be flipped (higher is bona fide)"
    is_misleading = cllr is not None and cllr > USELESS_CLLR
    if eer > 0.5 or (eer >= lowest and is_misleading):
        return "the scores tell nothing here: a set that the system was not made for"
    return None


def warn_of_polarity(name: str, metrics: Mapping) -> None:
    """Warn where an equal error rate is about 50 % or above it, with the likely cause.

    Args:
        name: of the system, the file or the condition.
        metrics: error rates by their names in the results, fractions; None or absent is unknown.
    """
    for metric in POLARITY_METRICS:
        value = metrics.get(metric)
        cause = None if value is None else likely_cause(value, metrics.get("cllr"))
        if cause:
            title = metric.removesuffix("eer").replace("_", " ") + "EER"
            place = "above" if value > 0.5 else "near"
            logging.warning("%s: %s %s 50 %%, %s", name, title, place, cause)
            return


def split(classes: np.ndarray, columns: dict[str, np.ndarray]) -> Trials:
    """One table of trials, a row each, as one table a class.

    The scores of several systems belong into one table: row n of every column is then the same
    trial, before and after, so that a bootstrap draws the same trials of all systems. Tables of
    their own would be in different orders.

    Args:
        classes: ``(N,)`` class of each row.
        columns: ``(N,)`` scores, conditions and, if any, ``cluster``, by name.

    Returns:
        Tables of the classes in alphabetical order, the rows in the order of the first column.
    """
    # In the order of the scores a bootstrap reads its counts as they lie in memory; in another
    # order that reading takes most of its time.
    first_column = next(iter(columns.values()))
    order = np.argsort(first_column, kind="stable")
    trials = {}
    for label in np.unique(classes).tolist():
        rows = order[classes[order] == label]
        trials[label] = {name: cells[rows] for name, cells in columns.items()}
    return trials


def count_trials(trials: Trials) -> dict[str, int]:
    """Number of trials of each class."""
    return {label: len(next(iter(columns.values()))) for label, columns in trials.items()}


def make_resampler(trials: Trials) -> Resampler:
    """Draws trials, or the values of their column ``cluster`` if there is one."""
    sizes = list(count_trials(trials).values())
    clusters = [columns["cluster"] for columns in trials.values() if "cluster" in columns]
    return Resampler(sizes, np.concatenate(clusters) if clusters else None)


def detection_metrics(scores: WeightedScores, options: MetricOptions) -> dict[str, float]:
    """Every metric of a spoof detector by its name in the results; t-DCF only with ASV rates."""
    eer = scores.eer(options.merge_ties)
    metrics = {
        "eer": eer.value,
        "eer_threshold": eer.threshold,
        "eer_rocch": scores.eer_rocch(),
        "min_dcf": scores.min_dcf(options.cost).value,
        "act_dcf": scores.act_dcf(options.cost),
        "cllr": scores.cllr(),
        "min_cllr": scores.min_cllr(),
        "auc": scores.auc(),
    }
    if options.threshold is not None:
        miss, false_alarm = scores.errors_at(options.threshold)
        metrics |= {"miss": miss, "fa": false_alarm}
    if options.asv:
        metrics |= min_tdcf(scores, options.asv, options.cost)
    return metrics


def verification_metrics(trials: Trials, options: MetricOptions) -> dict[str, float]:
    """Metrics of targets, nontargets and spoofs.

    Args:
        trials: ``sasv-score`` (one for both decisions), and ``cm-score`` with ``asv-score`` or
            neither.
        options: without ASV rates they are measured on the ``asv-score``.
    """
    target, nontarget, spoof = _by_verification_class(trials, "sasv-score")
    metrics = {
        "min_adcf": min_adcf(target, nontarget, spoof, options.cost).value,
        "sasv_eer": _eer(target, np.concatenate([nontarget, spoof]), options),
        "sv_eer": _eer(target, nontarget, options),
        "spf_eer": _eer(target, spoof, options),
    }
    if "cm-score" in trials["spoof"]:
        cm_target, cm_nontarget, cm_spoof = _by_verification_class(trials, "cm-score")
        cm_bonafide = np.concatenate([cm_target, cm_nontarget])
        asv_scores = _by_verification_class(trials, "asv-score")
        asv = options.asv or measure_asv_rates(*asv_scores, options.merge_ties)
        detector = SortedScores(cm_bonafide, cm_spoof)
        metrics |= detection_metrics(detector, replace(options, asv=asv))
        metrics["teer"] = concurrent_teer(cm_bonafide, cm_spoof, *asv_scores, options.merge_ties)
    return metrics


def _by_verification_class(
    trials: Trials, column: str
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A column of targets, nontargets and spoofs."""
    return trials["target"][column], trials["nontarget"][column], trials["spoof"][column]


def _eer(accepted: np.ndarray, rejected: np.ndarray, options: MetricOptions) -> float:
    return SortedScores(accepted, rejected).eer(options.merge_ties).value


class DetectionMeasure:
    """The ``detection_metrics`` of a column of scores, which are sorted once for all samples.

    Args:
        trials: tables of ``bonafide`` and ``spoof``.
        options: what the metrics depend on.
        column: name of the scores.
    """

    def __init__(self, trials: Trials, options: MetricOptions, column: str = "cm-score"):
        self.scores = SortedScores(trials["bonafide"][column], trials["spoof"][column])
        self.options = options

    def metrics(self) -> dict[str, float]:
        """Metrics of all trials, each once."""
        return detection_metrics(self.scores, self.options)

    def resampled_metrics(self, bonafide: np.ndarray, spoof: np.ndarray) -> dict[str, float]:
        """Metrics of a sample, given how often each trial of a class is in it."""
        return detection_metrics(self.scores.weighted(bonafide, spoof), self.options)


class VerificationMeasure:
    """The ``verification_metrics`` of trials.

    Args:
        trials: tables of ``target``, ``nontarget`` and ``spoof``.
        options: what the metrics depend on.
    """

    def __init__(self, trials: Trials, options: MetricOptions):
        self.trials = trials
        self.options = options

    def metrics(self) -> dict[str, float]:
        """Metrics of all trials, each once."""
        return verification_metrics(self.trials, self.options)

    def resampled_metrics(self, *counts: np.ndarray) -> dict[str, float]:
        """Metrics of a sample, given how often each trial is in it, an array a class."""
        sample = {}
        for (label, columns), count in zip(self.trials.items(), counts):
            scores = {name: cells for name, cells in columns.items() if name.endswith("score")}
            sample[label] = {name: np.repeat(cells, count) for name, cells in scores.items()}
        return verification_metrics(sample, self.options)


class OneClassMeasure:
    """The error rate of trials of one class at a threshold, see ``RATE_OF_CLASS``.

    Args:
        trials: table of the one class.
        options: with the threshold; without one there is no rate.
        column: name of the scores.
    """

    def __init__(self, trials: Trials, options: MetricOptions, column: str = "cm-score"):
        ((self.label, columns),) = trials.items()
        self.is_accepted = None
        if options.threshold is not None:
            self.is_accepted = columns[column] >= options.threshold

    def metrics(self) -> dict[str, float]:
        """The rate of all trials, each once."""
        if self.is_accepted is None:
            return {}
        return self.resampled_metrics(np.ones(len(self.is_accepted), dtype=int))

    def resampled_metrics(self, counts: np.ndarray) -> dict[str, float]:
        """The rate of a sample, given how often each trial is in it."""
        if self.is_accepted is None:
            return {}
        counted = ~self.is_accepted if self.label == "bonafide" else self.is_accepted
        return {RATE_OF_CLASS[self.label]: float(counts[counted].sum() / counts.sum())}


def score_distribution(scores: np.ndarray) -> dict[str, float | None]:
    """Mean, standard deviation and ``QUANTILES`` of scores; None where infinite ones leave none."""
    with np.errstate(invalid="ignore"):
        values = {"mean": scores.mean(), "sd": scores.std()}
        for name, share in QUANTILES.items():
            values[name] = np.quantile(scores, share)
    return {name: float(value) if np.isfinite(value) else None for name, value in values.items()}


Measure = DetectionMeasure | VerificationMeasure | OneClassMeasure


def make_measure(trials: Trials, options: MetricOptions) -> Measure:
    """The measure of the classes that the trials have."""
    if len(trials) == 1:
        return OneClassMeasure(trials, options)
    if "bonafide" in trials:
        return DetectionMeasure(trials, options)
    return VerificationMeasure(trials, options)
