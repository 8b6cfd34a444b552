"""Batches for scoring."""

from collections.abc import Iterator
from functools import partial

from wedefense_lite.audio.stream import Seed, Stream
from wedefense_lite.audio.utterance import Utterance
from wedefense_lite.systems.batch import Batch
from wedefense_lite.systems.config import DataConfig
from wedefense_lite.systems.delivery import read_batches, worker_share


class EvalLoader:
    """Scoring batches: this rank's block of a list, each utterance once, whole, no augmentation.

    A batch holds utterances of one length only, so that no score depends on a neighbour's padding;
    therefore the order within a block may differ from the list's. A stream's utterances come one by one,
    and which of them this rank gets depends on the shards.

    Args:
        index: the list; all ranks together deliver it exactly once.
        rank: this process's number.
        world: the number of processes.
        batch_size: utterances in a batch, at most; by default one, or, where ``eval_seconds`` makes all of one length,
            those of a training batch.
        num_workers: processes that read ahead.

    Attributes:
        positions: rows of this rank's block; of a stream, as many as an even split would give.
    """

    def __init__(
        self,
        index: list[Utterance],
        config: DataConfig,
        rank=0,
        world=1,
        batch_size=None,
        num_workers=0,
    ):
        size = batch_size or (config.batch_size if config.eval_seconds else 1)
        self.positions = range(rank * len(index) // world, (rank + 1) * len(index) // world)
        self.config, self.num_workers = config, num_workers
        if isinstance(index, Stream):
            self._plan, self._length = (
                partial(index.batches, 1, None, rank, world),
                len(self.positions),
            )
            return
        groups: dict[int, list[tuple[Utterance, Seed]]] = {}
        for row in self.positions:
            groups.setdefault(0 if config.eval_seconds else index[row].samples, []).append(
                (index[row], None)
            )
        batches = [
            group[n : n + size] for group in groups.values() for n in range(0, len(group), size)
        ]
        self._plan, self._length = partial(worker_share, batches), len(batches)

    def __len__(self) -> int:
        """Batches of this rank; of a stream, what an even split would give."""
        return self._length

    def __iter__(self) -> Iterator[Batch]:
        return read_batches(self._plan, self.config, self.num_workers)
