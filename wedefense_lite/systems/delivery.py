"""Batches read by worker processes."""

import gc
import logging
import os
import signal
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from wedefense_lite.files import InputError
from wedefense_lite.runtime import READING_TIMEOUT, longest_wait, reading_processes
from wedefense_lite.systems.batch import Batch
from wedefense_lite.systems.config import DataConfig

# Called with the number of a worker and the number of workers: contents of this worker's batches,
# in order. The batches of the workers are delivered in turn.
Plan = Callable[[int, int], Iterable[list]]
# The same for any pass over a list, whose numbers come before those of the worker.
PlanOfPass = Callable[..., Iterable[list]]
ReadBatch = Callable[[list, DataConfig], Batch]

SHARED_MEMORY = Path("/dev/shm")
# Batches that a worker has ready.
PREFETCHED = 2
BYTES_PER_SAMPLE = 2  # at least
# Time that a worker goes on after a SIGTERM, which Slurm sends to all processes of a job: enough
# for the batch that the training ends with.
GRACE_SECONDS = 20
WAY_OUT = "--num_workers 0 needs none, docker run --shm-size 8g gives more"


class _Reader(IterableDataset):
    """Batches of a plan; an ``InputError`` is delivered as one, since a worker can't raise it.

    Raised in a worker, it would reach the main process as another exception with a traceback.

    A worker moves its batches into shared memory itself. Left to the queue, a batch for which there
    is no room would be dropped by a thread of the worker, and the epoch be shorter by it.
    """

    def __init__(
        self, plan: PlanOfPass, read_batch: ReadBatch, config: DataConfig, numbers: Tensor
    ):
        self.plan = plan
        self.read_batch = read_batch
        self.config = config
        self.numbers = numbers

    def __iter__(self) -> Iterator[Batch | InputError]:
        worker = get_worker_info()  # None in the main process, which reads alone
        place = (worker.id, worker.num_workers) if worker else (0, 1)
        try:
            for content in self.plan(*self.numbers.tolist(), *place):
                batch = self.read_batch(content, self.config)
                if worker:
                    share_memory(batch)
                yield batch
        except InputError as error:
            yield error


def share_memory(batch: Batch) -> None:
    """Move the tensors of a batch into shared memory.

    Raises:
        InputError: there is no room for it.
    """
    try:
        for tensor in batch[1:]:
            if tensor is not None:
                tensor.share_memory_()
    except (RuntimeError, OSError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(
            f"{batch.keys[0]}: its batch finds no shared memory, of which "
            f"{_megabytes(free_shared_memory())} are free ({reason}): {WAY_OUT}"
        ) from error


def share_state(tensor: Tensor) -> None:
    """Move what workers are told into shared memory, where those that have begun before see it.

    Raises:
        InputError: there is no room for it.
    """
    try:
        tensor.share_memory_()
    except (RuntimeError, OSError) as error:
        raise InputError(
            f"workers need {_megabytes(tensor.nbytes)} of shared memory for what they read, "
            f"{_megabytes(free_shared_memory())} are free: {WAY_OUT}"
        ) from error


def free_shared_memory() -> int | None:
    """Free bytes of shared memory; None where that is not known."""
    if not SHARED_MEMORY.is_dir():
        return None
    state = os.statvfs(SHARED_MEMORY)
    return state.f_bavail * state.f_frsize


def check_shared_memory(samples: int, num_workers: int) -> None:
    """Look for room for what workers have ready at a time, before they start.

    Args:
        samples: samples of a batch, at least.
        num_workers: workers of this process.

    Raises:
        InputError: there is too little.
    """
    free = free_shared_memory()
    needed = samples * BYTES_PER_SAMPLE * num_workers * PREFETCHED
    if free is not None and needed > free:
        raise InputError(
            f"{num_workers} workers need {_megabytes(needed)} of shared memory ({SHARED_MEMORY}) "
            f"for their batches, {_megabytes(free)} are free: {WAY_OUT}, "
            "fewer workers or smaller batches less"
        )


def readers_that_fit(setting: int | Literal["auto"], samples: int) -> int:
    """Number of workers; of ``auto`` no more than shared memory has room for.

    Args:
        setting: number of workers, or ``auto``.
        samples: samples of a batch, at least.
    """
    count = reading_processes(setting)
    free = free_shared_memory()
    if setting != "auto" or free is None or samples == 0:
        return count
    room = free // (samples * BYTES_PER_SAMPLE * PREFETCHED)
    if room < count:
        logging.warning(
            "%d workers read ahead in place of %d: %s has %s free, more room (--shm-size) lets "
            "more of them read",
            room,
            count,
            SHARED_MEMORY,
            _megabytes(free),
        )
    return min(count, room)


def _megabytes(count: int | None) -> str:
    return "unknown MB" if count is None else f"{count / 1e6:.3g} MB"


def _begin_worker(_worker: int) -> None:
    """Let a worker deliver a while longer: what ends is decided by the process that it reads for.

    Runs in a worker, after PyTorch's own handlers are set.
    """
    # The collector would look at every object of the process that it reads for, such as all rows of
    # the list, and so copy them.
    gc.freeze()
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _end_later)


def _end_later(_number: int, _frame) -> None:
    signal.alarm(GRACE_SECONDS)


def worker_share(batches: Sequence, worker: int, workers: int) -> Sequence:
    """Every ``workers``-th batch from the ``worker``-th on."""
    return batches[worker::workers]


class BatchReader:
    """Reads the batches of one pass over a list after the other; its workers live on in between.

    Args:
        plan: contents of the batches of a worker, called with the numbers of a pass, such as an
            epoch, the number of the worker and that of all workers.
        read_batch: reads the batch of such a content.
        config: how audio is read.
        num_workers: processes that read ahead; 0 reads in this process, ``auto`` chooses.
        samples: samples of a batch, at least, where that is known.
        count: how many numbers a pass has.

    Attributes:
        num_workers: processes that read ahead.
    """

    def __init__(
        self,
        plan: PlanOfPass,
        read_batch: ReadBatch,
        config: DataConfig,
        num_workers: int | Literal["auto"],
        samples: int = 0,
        count: int = 0,
    ):
        self.num_workers = readers_that_fit(num_workers, samples)
        self._samples = samples
        # In shared memory, where workers that have begun before see the pass that they begin.
        self._numbers = torch.zeros(count, dtype=torch.int64)
        if self.num_workers and count:
            share_state(self._numbers)
        self._dataset = _Reader(plan, read_batch, config, self._numbers)
        self._loader: DataLoader | None = None
        self._begun: tuple[tuple[int, ...], Iterator] | None = None

    def begin(self, *numbers: int) -> None:
        """Let workers read the first batches of a pass, which ``batches`` will be asked for."""
        if self.num_workers:
            self._begun = numbers, self._start(numbers)

    def batches(self, *numbers: int) -> Iterator[Batch]:
        """Batches of a pass, in order.

        Args:
            numbers: what the plan takes.

        Raises:
            InputError: audio that can't be used, named by utterance and file; workers that end,
                that deliver nothing for ten minutes or that have no shared memory.
        """
        if self._begun is not None and self._begun[0] == numbers:
            delivered = self._begun[1]
        else:
            delivered = self._start(numbers)
        self._begun = None
        for batch in _delivered(delivered, self.num_workers):
            if isinstance(batch, InputError):
                self.close()
                # A copy: the traceback of the delivered error would hold this frame, and with it
                # the workers, in a cycle, which ends them slowly.
                raise InputError(*batch.args)
            yield batch

    def close(self) -> None:
        """End the workers; the next pass starts others."""
        self._loader = None
        self._begun = None

    def _start(self, numbers: tuple[int, ...]) -> Iterator[Batch | InputError]:
        self._numbers.copy_(torch.tensor(numbers, dtype=torch.int64))
        if self._loader is None:
            check_shared_memory(self._samples, self.num_workers)
            self._loader = self._make_loader()
        return iter(self._loader)

    def _make_loader(self) -> DataLoader:
        # An iterator of DataLoader draws a seed for its workers, from the global generator unless
        # it has another one. Reading uses no such seed, and is not to change what the caller draws.
        generator = torch.Generator()
        has_workers = self.num_workers > 0
        return DataLoader(
            self._dataset,
            batch_size=None,
            collate_fn=_as_read,
            num_workers=self.num_workers,
            prefetch_factor=PREFETCHED if has_workers else None,
            persistent_workers=has_workers,
            pin_memory=torch.cuda.is_available(),
            timeout=longest_wait(READING_TIMEOUT).total_seconds() if has_workers else 0,
            generator=generator,
            worker_init_fn=_begin_worker,
        )


def _as_read(batch: Batch | InputError) -> Batch | InputError:
    """The batch itself: by default, PyTorch would look at each id in it."""
    return batch


def read_batches(
    plan: Plan,
    read_batch: ReadBatch,
    config: DataConfig,
    num_workers: int | Literal["auto"],
    samples: int = 0,
) -> Iterator[Batch]:
    """Batches of a plan that is read once, as ``BatchReader`` reads them."""
    return BatchReader(plan, read_batch, config, num_workers, samples).batches()


def _delivered(batches: Iterator, num_workers: int) -> Iterator[Batch | InputError]:
    """What the workers of a loader deliver.

    Raises:
        InputError: a worker has ended, delivers nothing, or can't reach this process.
    """
    try:
        yield from batches
    except (RuntimeError, OSError) as error:
        # What a worker raised itself comes with its traceback, and is a defect of the toolkit.
        if num_workers == 0 or "Original Traceback" in str(error):
            raise
        raise _delivery_error(error) from None


@contextmanager
def lost_workers_told() -> Iterator[None]:
    """Context in which batches are used: the death of a worker is noticed anywhere in it.

    Raises:
        InputError: a worker has ended.
    """
    try:
        yield
    except RuntimeError as error:
        # Raised by a signal handler of DataLoader, whatever this process is doing.
        if not str(error).startswith("DataLoader worker"):
            raise
        raise _delivery_error(error) from None


def _delivery_error(error: Exception) -> InputError:
    lines = str(error).splitlines() or [type(error).__name__]
    return InputError(
        f"the data workers can't deliver: {lines[0].rstrip('. ')}. They may have been killed for "
        "lack of memory, lack shared memory or open files (ulimit -n), or wait for a disk: "
        "--num_workers 0 reads without them"
    )
