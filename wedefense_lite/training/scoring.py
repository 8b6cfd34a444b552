"""Scores of a whole list with the system as it stands: what validation and extraction share."""

from collections.abc import Callable, Iterator
from typing import TypeVar

import numpy as np
import torch

from wedefense_lite.cli import progress
from wedefense_lite.dataset.loader import Batch, EvalLoader
from wedefense_lite.files import InputError
from wedefense_lite.labels import BONAFIDE, SPOOF
from wedefense_lite.metrics.detection import SortedScores
from wedefense_lite.training.config import Precision
from wedefense_lite.training.distributed import Place, gather
from wedefense_lite.training.tasks import Task

AUTOCAST = {"bf16": torch.bfloat16, "fp16": torch.float16}


def computing(device: torch.device, precision: Precision = "fp32") -> torch.autocast:
    """The context of a forward pass in a precision: autocast to 16 bits, or none in effect.

    From then on, and on the way back, a GPU multiplies float32 in full, or, of ``tf32``, with ten bits after the point.
    """
    torch.set_float32_matmul_precision("high" if precision == "tf32" else "highest")
    torch.backends.cudnn.allow_tf32 = precision == "tf32"
    dtype = AUTOCAST.get(precision)
    return torch.autocast(device.type, dtype=dtype, enabled=dtype is not None)


Decided = TypeVar("Decided")


def outputs(
    task: Task,
    loader: EvalLoader,
    place: Place,
    function: Callable[[Batch], Decided],
    precision: Precision = "fp32",
    what: str = "embeddings",
) -> Iterator[tuple[Batch, Decided]]:
    """Batches of this rank's part of a list and what a method of the task gives of each, in evaluation mode."""
    task.eval()
    for batch in progress(loader, len(loader), what, "batch"):
        batch = batch.to(place.device)
        with torch.no_grad(), computing(place.device, precision):
            found = function(batch)
        yield batch, found


@torch.no_grad()
def validate(task: Task, loader: EvalLoader, place: Place) -> dict[str, float]:
    """Loss and EER over a whole labelled list, split over ranks, the same on all of them.

    Returns:
        ``dev_loss``, the mean loss of the utterances, and, of a task that decides, ``dev_eer``, a fraction: of
        utterances, or, where the task decides for frames, of frames, which is the segment EER at their length.

    Raises:
        InputError: a score that is not finite, by name, or an utterance scored other than once.
    """
    scores, losses = {}, {}
    for batch, judged in outputs(task, loader, place, lambda batch: [*task.judge(batch)], what="validation"):
        for key, (loss, logits_NC, labels_N) in zip(batch.keys, judged):
            score_N = logits_NC.double()[:, BONAFIDE] - logits_NC.double()[:, SPOOF]
            scores[key], losses[key] = (labels_N.cpu().numpy(), score_N.cpu().numpy()), loss.item()
    parts = gather(place, (scores, losses, len(loader.positions)))
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
        trials = SortedScores(bonafide=score_N[labels_N == BONAFIDE], spoof=score_N[labels_N == SPOOF])
        results["dev_eer"] = float(trials.eer().value)
    return results
