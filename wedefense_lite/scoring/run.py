"""A system run over a list."""

from collections.abc import Callable, Iterator
from typing import TypeVar

import torch

from wedefense_lite.progress import progress
from wedefense_lite.runtime import Precision, Process, precision_context
from wedefense_lite.scoring.loader import EvalLoader
from wedefense_lite.systems.batch import Batch
from wedefense_lite.systems.tasks import Task

Decided = TypeVar("Decided")


def run_inference(
    task: Task,
    loader: EvalLoader,
    process: Process,
    function: Callable[[Batch], Decided],
    precision: Precision = "fp32",
    what: str = "embeddings",
) -> Iterator[tuple[Batch, Decided]]:
    """Batches of this rank's part of a list and what a method of the task gives of each, in evaluation mode."""
    task.eval()
    for batch in progress(loader, len(loader), what, "batch"):
        batch = batch.to(process.device)
        with torch.no_grad(), precision_context(process.device, precision):
            found = function(batch)
        yield batch, found
