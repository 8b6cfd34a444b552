"""Batches read by worker processes."""

from collections.abc import Callable, Iterable, Iterator

import torch
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from wedefense_lite.audio.stream import Seed
from wedefense_lite.audio.utterance import Utterance
from wedefense_lite.files import InputError
from wedefense_lite.systems.batch import Batch
from wedefense_lite.systems.config import DataConfig
from wedefense_lite.systems.samples import read_batch


class _Reader(IterableDataset):
    """Batches in the order of a plan, or the error that a worker can't raise as it is.

    A plan is called with the worker's number and the number of workers, which read in turn.
    """

    def __init__(
        self, plan: Callable[[int, int], Iterable[list[tuple[Utterance, Seed]]]], config: DataConfig
    ):
        self.plan, self.config = plan, config

    def __iter__(self) -> Iterator[Batch | InputError]:
        worker = get_worker_info()
        try:
            for drawn in self.plan(worker.id, worker.num_workers) if worker else self.plan(0, 1):
                yield read_batch(drawn, self.config)
        except InputError as error:
            yield error


def worker_share(batches: list, worker: int, workers: int) -> list:
    return batches[worker::workers]


def read_batches(plan: Callable, config: DataConfig, num_workers: int) -> Iterator[Batch]:
    reader, pin = _Reader(plan, config), torch.cuda.is_available()
    own = (
        torch.Generator()
    )  # so that making an iterator draws nothing from the global one, which resume restores
    loader = DataLoader(
        reader, batch_size=None, num_workers=num_workers, pin_memory=pin, generator=own
    )
    for batch in loader:
        if isinstance(batch, InputError):
            # Raising it as it is would tie this frame, and so the workers, into a cycle: a slow end.
            raise InputError(*batch.args)
        yield batch
