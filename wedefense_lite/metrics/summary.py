"""All metrics of a set of trials at once, as functions of the weight of each trial."""

from collections.abc import Callable

import numpy as np

from wedefense_lite.metrics.costs import CostModel
from wedefense_lite.metrics.detection import SortedScores
from wedefense_lite.metrics.tandem import AsvRates, asv_rates, concurrent_teer, min_adcf, min_tdcf

Statistic = Callable[[np.ndarray | None], dict[str, float]]


def detection_metrics(
    scores: SortedScores, cost: CostModel, asv: AsvRates | None = None, tie: str = "merge"
) -> dict[str, float]:
    """Every metric of a spoof detector by its name in the results; t-DCF only with ASV rates."""
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
    if asv is not None:
        metrics |= {
            f"min_tdcf_{form}": min_tdcf(scores, asv, cost, form).value for form in ("2019", "2021")
        }
    return metrics


def detection_statistic(
    classes: np.ndarray, scores: np.ndarray, cost: CostModel, asv: AsvRates | None, tie: str
) -> Statistic:
    """Metrics of trials of the classes ``bonafide`` and ``spoof``, sorted once for all weights."""
    bonafide = classes != "spoof"
    given = SortedScores(scores[bonafide], scores[~bonafide])

    def statistic(weights: np.ndarray | None = None) -> dict[str, float]:
        weighted = given if weights is None else given.weighted(weights[bonafide], weights[~bonafide])
        return detection_metrics(weighted, cost, asv, tie)

    return statistic


def verification_statistic(
    classes: np.ndarray, scores: dict[str, np.ndarray], cost: CostModel, asv: AsvRates | None, tie: str
) -> Statistic:
    """Metrics of trials of the classes ``target``, ``nontarget`` and ``spoof``.

    Args:
        classes: ``(N,)`` class of each trial.
        scores: ``sasv-score`` (one for both decisions), and ``cm-score`` with ``asv-score`` or neither.
        asv: rates for the t-DCF; None measures them on the ``asv-score``.
    """
    names = "target", "nontarget", "spoof"
    rows = [np.flatnonzero(classes == name) for name in names]

    def statistic(weights: np.ndarray | None = None) -> dict[str, float]:
        chosen = rows if weights is None else [np.repeat(row, weights[row]) for row in rows]
        split = {system: [values[row] for row in chosen] for system, values in scores.items()}
        target, nontarget, spoof = split["sasv-score"]
        metrics = {
            "min_adcf": min_adcf(target, nontarget, spoof, cost).value,
            "sasv_eer": SortedScores(target, np.concatenate([nontarget, spoof])).eer(tie).value,
            "sv_eer": SortedScores(target, nontarget).eer(tie).value,
            "spf_eer": SortedScores(target, spoof).eer(tie).value,
        }
        if "cm-score" in split:
            bonafide, fake = np.concatenate(split["cm-score"][:2]), split["cm-score"][2]
            rates = asv or asv_rates(*split["asv-score"], tie)
            metrics |= detection_metrics(SortedScores(bonafide, fake), cost, rates, tie)
            metrics["teer"] = concurrent_teer(bonafide, fake, *split["asv-score"])
        return metrics

    return statistic
