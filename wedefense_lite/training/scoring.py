"""Scores of a whole list with the system as it stands: what validation and extraction share."""

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from wedefense_lite.cli import progress
from wedefense_lite.dataset.loader import Batch, EvalLoader
from wedefense_lite.files import InputError
from wedefense_lite.labels import BONAFIDE, SPOOF
from wedefense_lite.metrics.detection import SortedScores
from wedefense_lite.training.distributed import Place, gather
from wedefense_lite.training.tasks import Task

AUTOCAST = {"bf16": torch.bfloat16, "fp16": torch.float16}


def autocast(place: Place, precision: str) -> torch.autocast:
    """The autocast context of a precision; ``fp32`` has none in effect."""
    dtype = AUTOCAST.get(precision)
    return torch.autocast(place.device.type, dtype=dtype, enabled=dtype is not None)


def embeddings(
    task: Task, loader: EvalLoader, place: Place, precision: str = "fp32", what: str = "embeddings"
) -> Iterator[tuple[Batch, Tensor]]:
    """Batches of this rank's part of a list and their float32 embeddings, in evaluation mode."""
    task.eval()
    for batch in progress(loader, len(loader), what, "batch"):
        batch = batch.to(place.device)
        with torch.no_grad(), autocast(place, precision):
            embedding_BE = task.embed(batch).float()
        yield batch, embedding_BE


@torch.no_grad()
def validate(task: Task, loader: EvalLoader, place: Place) -> dict[str, float]:
    """Loss and EER over a whole labelled list, split over ranks, the same on all of them.

    Returns:
        ``dev_loss``, the mean loss of the utterances, and ``dev_eer``, a fraction.

    Raises:
        InputError: a score that is not finite, by name, or an utterance scored other than once.
    """
    scores, losses = {}, {}
    for batch, embedding_BE in embeddings(task, loader, place, what="validation"):
        loss, logits_BC = task.head.loss(embedding_BE, batch.labels_B)
        score_B = logits_BC[:, BONAFIDE].double() - logits_BC[:, SPOOF].double()
        scores.update(zip(batch.keys, zip(batch.labels_B.tolist(), score_B.tolist())))
        losses.update(dict.fromkeys(batch.keys, loss.item()))
    parts = gather(place, (scores, losses, len(loader.positions)))
    scores = {key: scored for part, _, _ in parts for key, scored in part.items()}
    losses = {key: loss for _, part, _ in parts for key, loss in part.items()}
    listed = sum(count for _, _, count in parts)
    if len(scores) != listed:
        raise InputError(f"validation scored {len(scores)} utterances of {listed}")
    for key, (_, score) in scores.items():
        if not math.isfinite(score):
            raise InputError(f"validation: the score of {key} is {score}")
    by_class = [[score for label, score in scores.values() if label == wanted] for wanted in (0, 1)]
    eer = SortedScores(bonafide=by_class[BONAFIDE], spoof=by_class[SPOOF]).eer().value
    return {"dev_loss": sum(losses[key] for key in sorted(losses)) / len(losses), "dev_eer": float(eer)}
