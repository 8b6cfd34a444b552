"""Shards that come over a network or out of a command: read as a stream, whatever webdataset opens.

A stream can't be indexed, so order is random only within a buffer, and each rank and worker reads
shards of its own, or all shards and a part of each where they are fewer.
"""

import random
import re
from collections.abc import Iterator
from itertools import count

import numpy as np

from wedefense_lite.dataset.audio import Held, Utterance, few
from wedefense_lite.dataset.shards import EXTENSIONS, parse_label, read_shard_list, read_tar
from wedefense_lite.files import InputError

BUFFER = 1000


def is_streamed(shard_list: str) -> bool:
    """Whether a shard list names a URL, ``file:`` or a command, ``pipe:``."""
    return any(re.match(r"pipe:|file:|\w+://", path) for path in read_shard_list(shard_list))


class Stream(list[Utterance]):
    """The rows of a streamed list, which ``utt2lab`` states: they are what must come out of it.

    Args:
        labels: ``utt2lab`` of the list.
    """

    def __init__(self, shard_list: str, labels: dict[str, str]):
        super().__init__(Utterance(key, shard_list, 0, 0, 0, label) for key, label in labels.items())
        self.urls = read_shard_list(shard_list)
        self._labels = labels

    def once(self, part: int, parts: int, urls: list[str] | None = None) -> Iterator[Held]:
        """One part of the utterances; all parts together are exactly all.

        Raises:
            InputError: a shard is damaged, or the utterances or labels are not those of ``utt2lab``.
        """
        urls = urls or self.urls
        by_shard = len(urls) >= parts
        seen: set[str] = set()
        for url in urls[part::parts] if by_shard else urls:
            for utterance in self._shard(url):
                if utterance.key in seen:
                    raise InputError(f"{url}: {utterance.key} is there twice")
                seen.add(utterance.key)
                if by_shard or len(seen) % parts == part:
                    yield utterance
        if parts == 1 or not by_shard:
            self.check_complete(seen)

    def endless(self, part: int, parts: int, seed: tuple) -> Iterator[tuple[Held, np.random.Generator]]:
        """One part over and over, shards permuted, utterances shuffled, each with its own chance."""
        from webdataset import shuffle  # brings torch along, which reading an index can do without

        parts = min(parts, len(self))  # where utterances are fewer, parts share them
        part %= parts
        for turn in count():
            permuted = np.random.default_rng([*seed, turn]).permutation(self.urls).tolist()
            mixed = shuffle(BUFFER, rng=random.Random(repr((seed, turn, part))))
            for position, utterance in enumerate(mixed(self.once(part, parts, permuted)), 1):
                yield utterance, np.random.default_rng([*seed, turn, part, position])

    def check_complete(self, seen: set[str]) -> None:
        """Refuse that an utterance of ``utt2lab`` was not ``seen``."""
        if missing := [key for key in self._labels if key not in seen]:
            raise InputError(f"{len(missing)} utterances are not in the shards: {few(missing)}")

    def _shard(self, url: str) -> Iterator[Held]:
        from webdataset import gopen

        try:
            with gopen(url) as stream:
                for key, extension, _, data in read_tar(stream, url):
                    if key not in self._labels:
                        raise InputError(f"{url}: {key} has no label")
                    label = self._labels[key]
                    if extension == "lab" and parse_label(data, f"{url}: {key}") != label:
                        raise InputError(f"{url}: {key} is not labelled {label}")
                    if extension in EXTENSIONS:
                        yield Held(key, url, 0, 0, 0, label, data)
        except OSError as error:
            raise InputError(f"{url}: {error}") from error
