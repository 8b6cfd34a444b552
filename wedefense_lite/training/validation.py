"""Validation: loss and EER of the dev set.

Letters: N decisions of an utterance that have a label, C classes [spoof, bonafide].
"""

from collections import Counter
from collections.abc import Iterable

import numpy as np
import torch

from wedefense_lite.audio.utterance import Utterance
from wedefense_lite.files import InputError
from wedefense_lite.labels import BONAFIDE, LABELS, SPOOF, label_id
from wedefense_lite.metrics.detection import SortedScores
from wedefense_lite.runtime import Process, gather_objects
from wedefense_lite.scoring.loader import EvalLoader
from wedefense_lite.scoring.run import run_inference
from wedefense_lite.systems.batch import Batch
from wedefense_lite.systems.tasks import Task

Decisions = dict[str, tuple[np.ndarray, np.ndarray]]  # labels and scores of each utterance


def check_classes(index: Iterable[Utterance]) -> None:
    """Refuse a dev set without one of the classes, of which there is no EER.

    Args:
        index: rows of the dev list, with segments or stems where the task decides on these.

    Raises:
        InputError: all decisions would be of one class.
    """
    counts = Counter()
    for row in index:
        if row.segments is not None:
            counts.update(np.unique(row.segments.label).tolist())
        elif row.stems:
            counts.update(label_id(stem.label) for stem in row.stems if stem.label)
        elif row.label:
            counts[label_id(row.label)] += 1
    for number, label in enumerate(LABELS):
        if not counts[number]:
            raise InputError(
                f"the dev set has no {label}: its EER needs both classes (--val_data, --val_label)"
            )


@torch.no_grad()
def validate(task: Task, loader: EvalLoader, process: Process) -> dict[str, float]:
    """Loss and EER of a whole labelled list, the same on all ranks.

    Each rank scores its block, and all gather the results.

    Returns:
        ``dev_loss``, the mean of the losses of the utterances, and, for a task with decisions,
        ``dev_eer``, a fraction: over utterances, or over frames. Frames have their labels by the
        rule of PartialSpoof's published label lists; the official scorer's rule differs at
        boundaries. Of a list of several corpora, ``dev_eer_NAME`` of each corpus with both classes,
        and ``dev_eer`` is the mean of these; it is of all together where no corpus has both. Source
        tracing has ``dev_error`` instead, the share of utterances with a wrong class.

    Raises:
        InputError: a score that is not finite, or an utterance that was not scored exactly once.
    """

    def evaluate(batch: Batch) -> list:
        return list(task.evaluate_each(batch))

    # On the device until all are there: one by one, they would be waited for.
    keys = []
    losses_of_device = []
    scores_of_device = []
    labels_of_device = []
    batches = run_inference(task, loader, process, evaluate, output_name="validation")
    for batch, results in batches:
        for key, (loss, logits_NC, labels_N) in zip(batch.keys, results):
            logits_NC = logits_NC.double()
            score_N = logits_NC[:, BONAFIDE] - logits_NC[:, SPOOF]
            if task.classes:
                score_N = _of_likeliest(logits_NC)
            keys.append(key)
            losses_of_device.append(loss)
            scores_of_device.append(score_N)
            labels_of_device.append(labels_N)
    decisions: Decisions = {}
    losses: dict[str, float] = {}
    if keys:
        losses = dict(zip(keys, torch.stack(losses_of_device).tolist()))
        labels = _arrays(labels_of_device)
        scores = _arrays(scores_of_device)
        decisions = dict(zip(keys, zip(labels, scores)))
    decisions, losses = _gather(process, decisions, losses, len(loader.positions))
    for key, (_, score_N) in decisions.items():
        if not np.isfinite(score_N).all():
            worst = score_N[~np.isfinite(score_N)][0]
            raise InputError(f"validation: the score of {key} is {worst}")
    # Summed in one order, so that the mean doesn't depend on the number of ranks.
    summed_loss = sum(losses[key] for key in sorted(losses))
    metrics = {"dev_loss": summed_loss / len(losses)}
    if task.classes:
        labels_N = np.concatenate([labels for labels, _ in decisions.values()])
        class_N = np.concatenate([scores for _, scores in decisions.values()])
        metrics["dev_error"] = float((labels_N != class_N).mean())
    elif task.head is not None:
        metrics |= _error_rates(decisions, loader.corpora)
    return metrics


def _arrays(tensors: list[torch.Tensor]) -> list[np.ndarray]:
    """Tensors ``(N,)`` on the CPU, moved together."""
    ends = np.cumsum([len(tensor) for tensor in tensors])
    return np.split(torch.cat(tensors).cpu().numpy(), ends[:-1])


def _error_rates(decisions: Decisions, corpora: dict[str, str]) -> dict[str, float]:
    """``dev_eer``, and those of the corpora.

    Args:
        decisions: labels and scores of each utterance.
        corpora: name of the corpus of each utterance; empty where the list doesn't say.

    Raises:
        InputError: decisions of one class only.
    """
    names = set(corpora.values())
    metrics = {}
    for name in sorted(names):
        part = {key: value for key, value in decisions.items() if corpora[key] == name}
        bonafide, spoof = _scores_by_class(part)
        if len(bonafide) and len(spoof):
            trials = SortedScores(bonafide=bonafide, spoof=spoof)
            metrics[f"dev_eer_{name}"] = float(trials.eer().value)
    if metrics:
        return {"dev_eer": sum(metrics.values()) / len(metrics), **metrics}
    bonafide, spoof = _scores_by_class(decisions)
    if not (len(bonafide) and len(spoof)):
        raise InputError(
            f"validation: {len(bonafide)} bona fide and {len(spoof)} spoofed decisions, "
            "an EER needs both"
        )
    trials = SortedScores(bonafide=bonafide, spoof=spoof)
    return {"dev_eer": float(trials.eer().value)}


def _scores_by_class(decisions: Decisions) -> tuple[np.ndarray, np.ndarray]:
    """Scores of the bona fide decisions, and of the spoofed ones."""
    labels_N = np.concatenate([labels for labels, _ in decisions.values()])
    score_N = np.concatenate([scores for _, scores in decisions.values()])
    return score_N[labels_N == BONAFIDE], score_N[labels_N == SPOOF]


def _of_likeliest(logits_NC: torch.Tensor) -> torch.Tensor:
    """The class of the highest logit, as a number; NaN where logits are not finite."""
    class_N = logits_NC.argmax(1).double()
    return class_N.where(logits_NC.isfinite().all(1), torch.nan)


def _gather(process: Process, decisions: dict, losses: dict, num_listed: int) -> tuple[dict, dict]:
    """Results of all ranks together.

    Raises:
        InputError: an utterance that was not scored exactly once.
    """
    all_decisions = {}
    all_losses = {}
    listed = 0
    for rank_decisions, rank_losses, rank_listed in gather_objects(
        process, (decisions, losses, num_listed)
    ):
        all_decisions |= rank_decisions
        all_losses |= rank_losses
        listed += rank_listed
    if len(all_decisions) != listed:
        raise InputError(f"validation scored {len(all_decisions)} utterances of {listed}")
    return all_decisions, all_losses
