"""Batches for scoring."""

from collections.abc import Iterator
from functools import partial
from typing import Literal

import numpy as np

from wedefense_lite.audio.corpora import corpus_of_utterance
from wedefense_lite.audio.packed import PackedRows
from wedefense_lite.audio.stream import Stream
from wedefense_lite.audio.utterance import Utterance
from wedefense_lite.systems.batch import Batch
from wedefense_lite.systems.config import DataConfig
from wedefense_lite.systems.delivery import BatchReader, worker_share
from wedefense_lite.systems.samples import read_scoring_batch


class EvalLoader:
    """Scoring batches: this rank's block of a list, each utterance once, without augmentation.

    A batch holds utterances of one length only, so that no score depends on a neighbour's padding;
    therefore the order within a block may differ from the list's. Utterances of a stream come one
    by one, and the shards decide which rank gets which.

    Args:
        index: the list; all ranks together deliver it exactly once.
        config: how audio is read.
        rank: number of this process.
        world: number of processes.
        batch_size: utterances in a batch, at most; by default 1, or that of training where
            ``eval_seconds`` gives all utterances one length.
        num_workers: processes that read ahead; auto chooses.

    Attributes:
        positions: rows of this rank's block; of a stream, as many as an even split would give.
        corpora: name of the corpus of each utterance of the list, where it says.
    """

    def __init__(
        self,
        index: list[Utterance] | Stream,
        config: DataConfig,
        rank: int = 0,
        world: int = 1,
        batch_size: int | None = None,
        num_workers: int | Literal["auto"] = 0,
    ):
        first = rank * len(index) // world
        end = (rank + 1) * len(index) // world
        self.positions = range(first, end)
        self.corpora = corpus_of_utterance(index)
        if isinstance(index, Stream):
            # A stream's lengths are unknown before reading: a batch of one has one length.
            plan = partial(index.scoring_batches, 1, rank, world)
            self._length = len(self.positions)
        else:
            if batch_size is None:
                batch_size = config.batch_size if config.eval_seconds else 1
            plan = ScoringPlan(index[first:end], batch_size, config)
            self._length = len(plan)
        self._reader = BatchReader(plan, read_scoring_batch, config, num_workers)

    def __len__(self) -> int:
        """Batches of this rank; of a stream, what an even split would give."""
        return self._length

    def close(self) -> None:
        """End the reading processes, which live on from one pass to the next."""
        self._reader.close()

    def __iter__(self) -> Iterator[Batch]:
        return self._reader.batches()


class ScoringPlan:
    """Contents of the batches of a list, as workers ask for them.

    Batches are of utterances of the same length, in the order in which lengths first occur. Rows
    and their places are arrays, which all workers share.

    Args:
        rows: rows of a rank.
        size: utterances in a batch, at most.
        config: reading; with ``eval_seconds`` all are read with the same length.
    """

    def __init__(self, rows: list[Utterance], size: int, config: DataConfig):
        self._rows = PackedRows(rows)
        groups: dict[int, list[int]] = {}
        for place, row in enumerate(rows):
            length = 0 if config.eval_seconds else row.samples_at(config.sample_rate)
            groups.setdefault(length, []).append(place)
        places = []
        ends = []
        for group in groups.values():
            first = len(places)
            places += group
            for start in range(0, len(group), size):
                ends.append(first + min(start + size, len(group)))
        self._places = np.array(places, dtype=np.int64)
        self._ends = np.array([0, *ends], dtype=np.int64)

    def __len__(self) -> int:
        return len(self._ends) - 1

    def __call__(self, worker: int, workers: int) -> Iterator[list[Utterance]]:
        """Rows of every batch of a worker."""
        for number in worker_share(range(len(self)), worker, workers):
            places = self._places[self._ends[number] : self._ends[number + 1]]
            yield [self._rows[place] for place in places.tolist()]
