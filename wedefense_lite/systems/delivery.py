"""Batches read by worker processes."""

from collections.abc import Callable, Iterable, Iterator

import torch
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from wedefense_lite.files import InputError
from wedefense_lite.systems.batch import Batch
from wedefense_lite.systems.config import DataConfig

# Called with the number of a worker and the number of workers: contents of this worker's batches,
# in order. The batches of the workers are delivered in turn.
Plan = Callable[[int, int], Iterable[list]]
ReadBatch = Callable[[list, DataConfig], Batch]


class _Reader(IterableDataset):
    """Batches of a plan; an ``InputError`` is delivered as one, since a worker can't raise it.

    Raised in a worker, it would reach the main process as another exception with a traceback.
    """

    def __init__(self, plan: Plan, read_batch: ReadBatch, config: DataConfig):
        self.plan = plan
        self.read_batch = read_batch
        self.config = config

    def __iter__(self) -> Iterator[Batch | InputError]:
        worker = get_worker_info()  # None in the main process, which reads alone
        contents = self.plan(worker.id, worker.num_workers) if worker else self.plan(0, 1)
        try:
            for content in contents:
                yield self.read_batch(content, self.config)
        except InputError as error:
            yield error


def worker_share(batches: list, worker: int, workers: int) -> list:
    """Every ``workers``-th batch from the ``worker``-th on."""
    return batches[worker::workers]


def read_batches(
    plan: Plan, read_batch: ReadBatch, config: DataConfig, num_workers: int
) -> Iterator[Batch]:
    """Batches of a plan, in order.

    Args:
        plan: contents of the batches of a worker.
        read_batch: reads the batch of such a content.
        config: how audio is read.
        num_workers: processes that read ahead; 0 reads in this process.

    Raises:
        InputError: audio that can't be used; names the utterance and the file.
    """
    # An iterator of DataLoader draws a seed for its workers, from the global generator unless it
    # has another one. Reading uses no such seed, and is not to change what the caller draws.
    generator = torch.Generator()
    loader = DataLoader(
        _Reader(plan, read_batch, config),
        batch_size=None,
        num_workers=num_workers,
        pin_memory=torch.cuda.is_available(),
        generator=generator,
    )
    for batch in loader:
        if isinstance(batch, InputError):
            # A copy: the traceback of the delivered error would hold this frame, and with it the
            # workers, in a cycle, which ends them slowly.
            raise InputError(*batch.args)
        yield batch
