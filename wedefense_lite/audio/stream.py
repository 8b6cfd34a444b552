"""Shards that come over a network or out of a command: read as a stream, whatever webdataset opens.

A stream can't be indexed, so order is random only within a buffer, and each rank and worker reads
shards of its own, or all shards and a part of each where they are fewer.
"""

import random
from collections.abc import Iterator
from itertools import count, islice

import numpy as np

from wedefense_lite.audio.shards import read_tar
from wedefense_lite.audio.utterance import Utterance
from wedefense_lite.files import InputError, abbreviate

BUFFER = 1000
Seed = tuple[int, ...] | None  # where the chance of an utterance starts; None to score it


class Stream(list[Utterance]):
    """The rows of a streamed list, which ``utt2lab`` states: they are what must come out of it.

    Args:
        urls: the shards.
        labels: ``utt2lab`` of the list.
    """

    def __init__(self, urls: list[str], labels: dict[str, str]):
        super().__init__(Utterance(key, "", label=label) for key, label in labels.items())
        self.urls, self._labels = urls, labels

    def batches(
        self, size: int, seed: Seed, rank: int, world: int, worker: int, workers: int
    ) -> Iterator[list[tuple[Utterance, Seed]]]:
        """``size`` utterances at a time of one worker's part; all parts together are exactly all.

        Args:
            seed: None reads the part once; else it comes over and over, shards permuted, utterances
                shuffled, each with a seed of its own.

        Raises:
            InputError: a shard is damaged, or the utterances or labels are not those of ``utt2lab``.
                What is in no shard is known only to a part that reads all of them.
        """
        draws = self._draws(rank * workers + worker, world * workers, seed)
        return iter(lambda: list(islice(draws, size)), [])

    def _draws(self, part: int, parts: int, seed: Seed) -> Iterator[tuple[Utterance, Seed]]:
        from webdataset import shuffle  # brings torch along, which reading an index can do without

        if seed is None:
            yield from ((row, None) for row in self._part(self.urls, part, parts))
            return
        parts = min(parts, len(self))  # where utterances are fewer, parts share them
        part %= parts
        for turn in count():
            permuted = np.random.default_rng([*seed, turn]).permutation(self.urls).tolist()
            mixed = shuffle(BUFFER, rng=random.Random(repr((seed, turn, part))))
            for position, row in enumerate(mixed(self._part(permuted, part, parts)), 1):
                yield row, (*seed, turn, part, position)

    def _part(self, urls: list[str], part: int, parts: int) -> Iterator[Utterance]:
        from webdataset import gopen

        by_shard, left = len(urls) >= parts, dict(self._labels)
        for url in urls[part::parts] if by_shard else urls:
            try:
                with gopen(url) as stream:
                    for row in read_tar(stream, url):
                        known = left.pop(row.key, None)
                        if known is None or row.label not in (None, known):
                            expected = known or "nothing, or not twice"
                            raise InputError(
                                f"{url}: {row.key} is {row.label}, utt2lab says {expected}"
                            )
                        if by_shard or len(left) % parts == part:
                            yield row
            except OSError as error:
                raise InputError(f"{url}: {error}") from error
        if left and (parts == 1 or not by_shard):
            raise InputError(
                f"{len(left)} utterances are not in the shards: {abbreviate(list(left))}"
            )
