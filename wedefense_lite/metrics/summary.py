"""All metrics of a set of trials at once, as functions of how often each trial counts."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from wedefense_lite.metrics.bootstrap import Resampler
from wedefense_lite.metrics.costs import DEFAULT, CostModel
from wedefense_lite.metrics.detection import SortedScores
from wedefense_lite.metrics.tandem import (
    AsvRates,
    concurrent_teer,
    measured_rates,
    min_adcf,
    min_tdcf,
)

# By class, columns of (N,): scores by their names in the ASVspoof files, conditions, ``cluster``.
Trials = dict[str, dict[str, np.ndarray]]


class Options(NamedTuple):
    """What metrics depend on besides the scores: costs, error rates of an ASV system, the tie rule.

    Where an ASV system was measured, ``asv_by`` has its error rates with the spoofs of each attack alone.
    """

    cost: CostModel = DEFAULT
    asv: AsvRates | None = None
    merge_ties: bool = True
    asv_by: dict[str, AsvRates] | None = None

    def of(self, value: str) -> "Options":
        """The options for the spoofs of one attack, or of another condition, of which no ASV rates are known."""
        return self if self.asv_by is None else self._replace(asv=self.asv_by.get(value))


def split(classes: np.ndarray, columns: dict[str, np.ndarray]) -> Trials:
    """Columns of each class, the classes in alphabetical order, each in the order of its first column.

    So a bootstrap reads its draws as they lie in memory, which takes most of its time otherwise. Row n
    of every column is the same trial: scores of several systems belong into one table, since tables of
    their own would be in different orders.
    """
    order = np.argsort(next(iter(columns.values())), kind="stable")
    rows = {kind: order[classes[order] == kind] for kind in np.unique(classes).tolist()}
    return {
        kind: {name: cells[chosen] for name, cells in columns.items()}
        for kind, chosen in rows.items()
    }


def resampler(trials: Trials) -> Resampler:
    """Draws trials, or the values of their column ``cluster`` if there is one."""
    clusters = [cells["cluster"] for cells in trials.values() if "cluster" in cells]
    sizes = [len(next(iter(cells.values()))) for cells in trials.values()]
    return Resampler(sizes, np.concatenate(clusters) if clusters else None)


def detection_metrics(scores: SortedScores, options: Options) -> dict[str, float]:
    """Every metric of a spoof detector by its name in the results; t-DCF only with ASV rates."""
    cost, asv, merge_ties, _ = options
    eer = scores.eer(merge_ties)
    metrics = {
        "eer": eer.value,
        "eer_threshold": eer.threshold,
        "eer_rocch": scores.eer_rocch(),
        "min_dcf": scores.min_dcf(cost).value,
        "act_dcf": scores.act_dcf(cost),
        "cllr": scores.cllr(),
        "min_cllr": scores.min_cllr(),
        "auc": scores.auc(),
    }
    return metrics | (min_tdcf(scores, asv, cost) if asv else {})


def verification_metrics(trials: Trials, options: Options) -> dict[str, float]:
    """Metrics of targets, nontargets and spoofs.

    Args:
        trials: ``sasv-score`` (one for both decisions), and ``cm-score`` with ``asv-score`` or neither.
        options: without ASV rates they are measured on the ``asv-score``.
    """
    kinds = [trials[kind] for kind in ("target", "nontarget", "spoof")]
    target, nontarget, spoof = (cells["sasv-score"] for cells in kinds)
    others = {"sasv_eer": np.concatenate([nontarget, spoof]), "sv_eer": nontarget, "spf_eer": spoof}
    metrics = {"min_adcf": min_adcf(target, nontarget, spoof, options.cost).value}
    metrics |= {
        name: SortedScores(target, scores).eer(options.merge_ties).value
        for name, scores in others.items()
    }
    if "cm-score" in trials["spoof"]:
        *bonafide, fake = (cells["cm-score"] for cells in kinds)
        bonafide, verified = np.concatenate(bonafide), [cells["asv-score"] for cells in kinds]
        asv = options.asv or measured_rates(*verified, options.merge_ties)
        metrics |= detection_metrics(SortedScores(bonafide, fake), options._replace(asv=asv))
        metrics["teer"] = concurrent_teer(bonafide, fake, *verified)
    return metrics


def statistic(
    trials: Trials, options: Options, column: str = "cm-score"
) -> Callable[..., dict[str, float]]:
    """Metrics of trials as a function of the counts of the trials of each class; without, all once.

    Trials of the classes ``bonafide`` and ``spoof`` have the :func:`detection_metrics` of the scores in
    ``column``, sorted once; others the :func:`verification_metrics`.
    """
    if "bonafide" in trials:
        given = SortedScores(trials["bonafide"][column], trials["spoof"][column])
        return lambda *counts: detection_metrics(
            given.weighted(*counts) if counts else given, options
        )

    def resampled(*counts: np.ndarray) -> dict[str, float]:
        chosen = {
            kind: {
                column: np.repeat(scores, count)
                for column, scores in cells.items()
                if column.endswith("score")
            }
            for (kind, cells), count in zip(trials.items(), counts or [1] * len(trials))
        }
        return verification_metrics(chosen, options)

    return resampled
