"""Scores of a whole list with the system as it stands: what validation and extraction share."""

import numpy as np
import torch

from wedefense_lite.files import InputError
from wedefense_lite.labels import BONAFIDE, SPOOF
from wedefense_lite.metrics.detection import SortedScores
from wedefense_lite.runtime import Process, gather_objects
from wedefense_lite.scoring.loader import EvalLoader
from wedefense_lite.scoring.run import run_inference
from wedefense_lite.systems.tasks import Task


@torch.no_grad()
def validate(task: Task, loader: EvalLoader, process: Process) -> dict[str, float]:
    """Loss and EER over a whole labelled list, split over ranks, the same on all of them.

    Returns:
        ``dev_loss``, the mean loss of the utterances, and, of a task that decides, ``dev_eer``, a fraction: of
        utterances, or, where the task decides for frames, of frames, which is the segment EER at their length.

    Raises:
        InputError: a score that is not finite, by name, or an utterance scored other than once.
    """
    scores, losses = {}, {}
    for batch, judged in run_inference(
        task, loader, process, lambda batch: [*task.evaluate_each(batch)], output_name="validation"
    ):
        for key, (loss, logits_NC, labels_N) in zip(batch.keys, judged):
            score_N = logits_NC.double()[:, BONAFIDE] - logits_NC.double()[:, SPOOF]
            scores[key], losses[key] = (labels_N.cpu().numpy(), score_N.cpu().numpy()), loss.item()
    parts = gather_objects(process, (scores, losses, len(loader.positions)))
    scores = {key: scored for part, _, _ in parts for key, scored in part.items()}
    losses = {key: loss for _, part, _ in parts for key, loss in part.items()}
    listed = sum(count for _, _, count in parts)
    if len(scores) != listed:
        raise InputError(f"validation scored {len(scores)} utterances of {listed}")
    for key, (_, score) in scores.items():
        if not np.isfinite(score).all():
            raise InputError(f"validation: the score of {key} is {score[~np.isfinite(score)][0]}")
    labels_N, score_N = map(np.concatenate, zip(*scores.values()))
    results = {"dev_loss": sum(losses[key] for key in sorted(losses)) / len(losses)}
    if task.head is not None:
        trials = SortedScores(
            bonafide=score_N[labels_N == BONAFIDE], spoof=score_N[labels_N == SPOOF]
        )
        results["dev_eer"] = float(trials.eer().value)
    return results
