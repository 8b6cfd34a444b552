"""All metrics of a set of trials at once, as functions of the weight of each trial."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from wedefense_lite.metrics.costs import DEFAULT, CostModel
from wedefense_lite.metrics.detection import SortedScores
from wedefense_lite.metrics.tandem import AsvRates, concurrent_teer, measured_rates, min_adcf, min_tdcf

Statistic = Callable[[np.ndarray | None], dict[str, float]]
Trials = dict[str, np.ndarray]  # columns of (N,): class, and scores by the names of the ASVspoof files


class Options(NamedTuple):
    """What metrics depend on besides the scores: costs, error rates of an ASV system, the tie rule."""

    cost: CostModel = DEFAULT
    asv: AsvRates | None = None
    tie: str = "merge"


def detection_metrics(scores: SortedScores, options: Options) -> dict[str, float]:
    """Every metric of a spoof detector by its name in the results; t-DCF only with ASV rates."""
    cost, asv, tie = options
    metrics = {
        "eer": scores.eer(tie).value,
        "eer_threshold": scores.eer(tie).threshold,
        "eer_rocch": scores.eer_rocch(),
        "min_dcf": scores.min_dcf(cost).value,
        "act_dcf": scores.act_dcf(cost),
        "cllr": scores.cllr(),
        "min_cllr": scores.min_cllr(),
        "auc": scores.auc(),
    }
    forms = ("2019", "2021") if asv else ()
    return metrics | {f"min_tdcf_{form}": min_tdcf(scores, asv, cost, form).value for form in forms}


def detection_statistic(trials: Trials, options: Options) -> Statistic:
    """Metrics of the ``cm-score`` of trials of the classes ``bonafide`` and ``spoof``, sorted once."""
    bonafide = trials["class"] == "bonafide"
    given = SortedScores(trials["cm-score"][bonafide], trials["cm-score"][~bonafide])

    def statistic(weights: np.ndarray | None) -> dict[str, float]:
        weighted = given if weights is None else given.weighted(weights[bonafide], weights[~bonafide])
        return detection_metrics(weighted, options)

    return statistic


def verification_statistic(trials: Trials, options: Options) -> Statistic:
    """Metrics of trials of the classes ``target``, ``nontarget`` and ``spoof``.

    Args:
        trials: ``sasv-score`` (one for both decisions), and ``cm-score`` with ``asv-score`` or neither.
        options: without ASV rates they are measured on the ``asv-score``.
    """
    rows = [np.flatnonzero(trials["class"] == name) for name in ("target", "nontarget", "spoof")]

    def statistic(weights: np.ndarray | None) -> dict[str, float]:
        chosen = rows if weights is None else [np.repeat(row, weights[row]) for row in rows]
        split = {column: [cells[row] for row in chosen] for column, cells in trials.items()}
        target, nontarget, spoof = split["sasv-score"]
        metrics = {
            "min_adcf": min_adcf(target, nontarget, spoof, options.cost).value,
            "sasv_eer": SortedScores(target, np.concatenate([nontarget, spoof])).eer(options.tie).value,
            "sv_eer": SortedScores(target, nontarget).eer(options.tie).value,
            "spf_eer": SortedScores(target, spoof).eer(options.tie).value,
        }
        if "cm-score" in split:
            bonafide, fake = np.concatenate(split["cm-score"][:2]), split["cm-score"][2]
            asv = options.asv or measured_rates(*split["asv-score"], options.tie)
            metrics |= detection_metrics(SortedScores(bonafide, fake), options._replace(asv=asv))
            metrics["teer"] = concurrent_teer(bonafide, fake, *split["asv-score"])
        return metrics

    return statistic
