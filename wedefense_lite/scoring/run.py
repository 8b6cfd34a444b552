"""A system run over a list."""

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

import torch

from wedefense_lite.progress import progress
from wedefense_lite.runtime import Precision, Process, autocast, float32_precision
from wedefense_lite.scoring.loader import EvalLoader
from wedefense_lite.systems.batch import Batch
from wedefense_lite.systems.tasks import Task

Output = TypeVar("Output")

# Batches that a CPU works on at the same time, at most: each needs memory of its own.
MOST_STREAMS = 8


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

    def compute(batch: Batch) -> tuple[Batch, Output]:
        batch = batch.to(process.device)
        # Both are of a thread.
        with torch.no_grad(), autocast(process.device, precision):
            return batch, function(batch)

    # What is computed is not waited for before there is more to do: a GPU never runs dry, and a CPU
    # works on several utterances, which share their operations among threads badly.
    pending: deque[Future | tuple[Batch, Output]] = deque()
    with _streams(process.device) as (pool, count), float32_precision(precision):
        for batch in progress(loader, len(loader), output_name, "batch"):
            pending.append(compute(batch) if pool is None else pool.submit(compute, batch))
            if len(pending) > count:
                yield _result(pending.popleft())
        while pending:
            yield _result(pending.popleft())


def _result(pending: Future | tuple[Batch, Output]) -> tuple[Batch, Output]:
    return pending.result() if isinstance(pending, Future) else pending


@contextmanager
def _streams(device: torch.device) -> Iterator[tuple[ThreadPoolExecutor | None, int]]:
    """Context with a pool of threads that compute side by side, each with its part of the cores.

    Yields:
        the pool, None where this thread computes; and how many batches may be under way.
    """
    threads = torch.get_num_threads()
    streams = min(threads, MOST_STREAMS)
    if device.type != "cpu":
        yield None, 1
        return
    if streams == 1:
        yield None, 0
        return
    share = threads // streams
    pool = ThreadPoolExecutor(streams, initializer=torch.set_num_threads, initargs=(share,))
    try:
        yield pool, 2 * streams
    finally:
        pool.shutdown(cancel_futures=True)
        # The setting of a thread is that of all that begin later, too.
        torch.set_num_threads(threads)
