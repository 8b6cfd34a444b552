"""Decisions of a run at the threshold that dev gives, and the errors among them."""

from typing import NamedTuple

import numpy as np

from wedefense_lite.report.run import CALIBRATED, Run, ScoredSet

DEV_RULE = "EER threshold of dev"
BAYES_RULE = "Bayes threshold of the costs"


class Decisions(NamedTuple):
    """Decisions on the trials of a set: at or above the threshold is bona fide.

    Attributes:
        name: of the set.
        threshold: nats.
        rule: what the threshold is.
        accepted_bonafide: bona fide trials that are accepted.
        rejected_bonafide: those that are rejected, the misses.
        accepted_spoof: spoofs that are accepted, the false alarms.
        rejected_spoof: those that are rejected.
    """

    name: str
    threshold: float
    rule: str
    accepted_bonafide: int
    rejected_bonafide: int
    accepted_spoof: int
    rejected_spoof: int

    @property
    def miss(self) -> float:
        """Share of bona fide trials that are rejected."""
        return self.rejected_bonafide / (self.accepted_bonafide + self.rejected_bonafide)

    @property
    def false_alarm(self) -> float:
        """Share of spoofs that are accepted."""
        return self.accepted_spoof / (self.accepted_spoof + self.rejected_spoof)


def threshold_of(run: Run, scored: ScoredSet) -> tuple[float, str]:
    """Threshold of the decisions on a set, and its name.

    It is the EER threshold of dev. Calibrated scores are on another scale, and are read as LLRs;
    so are scores without those of dev.
    """
    if run.dev_threshold is None or scored.name.endswith(CALIBRATED):
        return scored.cost.threshold, BAYES_RULE
    return run.dev_threshold, DEV_RULE


def decide(run: Run) -> list[Decisions]:
    """Decisions on each set of a run, in its order."""
    decisions = []
    for scored in run.sets:
        threshold, rule = threshold_of(run, scored)
        is_accepted = scored.llr >= threshold
        decisions.append(
            Decisions(
                name=scored.name,
                threshold=threshold,
                rule=rule,
                accepted_bonafide=int(np.sum(is_accepted & scored.bonafide)),
                rejected_bonafide=int(np.sum(~is_accepted & scored.bonafide)),
                accepted_spoof=int(np.sum(is_accepted & ~scored.bonafide)),
                rejected_spoof=int(np.sum(~is_accepted & ~scored.bonafide)),
            )
        )
    return decisions


def worst_errors(scored: ScoredSet, threshold: float, count: int) -> dict[str, np.ndarray]:
    """Errors at a threshold by their kind, as places among the trials, the worst first.

    Args:
        scored: the set.
        threshold: nats.
        count: how many of each kind, at most.

    Returns:
        ``false alarm``: accepted spoofs from the highest LLR down. ``miss``: rejected bona fide
        trials from the lowest LLR up.
    """
    order = np.argsort(scored.llr, kind="stable")
    is_accepted = scored.llr[order] >= threshold
    is_bonafide = scored.bonafide[order]
    false_alarms = order[is_accepted & ~is_bonafide][::-1]
    misses = order[~is_accepted & is_bonafide]
    return {"false alarm": false_alarms[:count], "miss": misses[:count]}
