"""A system run over a list."""

from collections.abc import Callable, Iterator
from typing import TypeVar

import torch

from wedefense_lite.progress import progress
from wedefense_lite.runtime import Precision, Process, precision_context
from wedefense_lite.scoring.loader import EvalLoader
from wedefense_lite.systems.batch import Batch
from wedefense_lite.systems.tasks import Task

Output = TypeVar("Output")


def run_inference(
    task: Task,
    loader: EvalLoader,
    process: Process,
    function: Callable[[Batch], Output],
    precision: Precision = "fp32",
    output_name: str = "embeddings",
) -> Iterator[tuple[Batch, Output]]:
    """Batches of this rank's share of a list, each with the output of a method of the task.

    Args:
        task: the system, which is put into evaluation mode.
        loader: this rank's batches.
        process: this process, for its device.
        function: method of the task, such as ``task.embed``; it runs without gradients.
        precision: number format of the computation.
        output_name: name of the outputs for the progress bar.
    """
    task.eval()
    for batch in progress(loader, len(loader), output_name, "batch"):
        batch = batch.to(process.device)
        with torch.no_grad(), precision_context(process.device, precision):
            output = function(batch)
        yield batch, output
