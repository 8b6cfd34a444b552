"""Streams: shards that come from a server, by way of a cache, or out of a command.

A stream can't be indexed, so order is random only within a buffer. Each share (one worker of one
rank) reads shards of its own, or, where shards are fewer than shares, all shards and its part of
each.
"""

import random
from collections.abc import Iterator
from itertools import count

import numpy as np

from wedefense_lite.audio.reading import check_regular_file
from wedefense_lite.audio.remote import Ahead, ShardCache, ShardFacts, is_remote
from wedefense_lite.audio.shards import read_tar
from wedefense_lite.audio.utterance import Utterance
from wedefense_lite.files import InputError, abbreviate

BUFFER = 1000  # utterances among which the next one is drawn
Seed = tuple[int, ...]  # start of a random stream
Draw = tuple[Utterance, Seed]  # an utterance to train on, and the seed of its crop and augmentation


class Stream:
    """A streamed list, whose utterances ``utt2lab`` states: exactly these must come out of it.

    Iteration gives ``rows``. These hold ids and labels; the audio comes with the utterances of
    ``scoring_batches`` and ``training_batches``.

    Args:
        urls: URLs or commands of the shards.
        labels: ``utt2lab`` of the list; None where the label of an utterance is unknown.
        manifest: what the shards of a server have to be, by their URLs.

    Attributes:
        rows: rows of ``utt2lab``, in its order.
    """

    def __init__(
        self,
        urls: list[str],
        labels: dict[str, str | None],
        manifest: dict[str, ShardFacts] | None = None,
    ):
        self.urls = urls
        self.manifest = manifest or {}
        self.rows = [Utterance(key, "", label=label) for key, label in labels.items()]
        self._labels = labels

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[Utterance]:
        return iter(self.rows)

    def scoring_batches(
        self, size: int, rank: int, world: int, worker: int, workers: int
    ) -> Iterator[list[Utterance]]:
        """Batches of one worker's share, read once; all shares together are exactly the list.

        Args:
            size: utterances in a batch, at most.
            rank: number of the process.
            world: number of processes.
            worker: number of the worker of this process.
            workers: number of workers of each process.

        Raises:
            InputError: a shard is damaged, or its utterances or labels are not those of
                ``utt2lab``. A missing utterance is noticed only by a share that reads all shards.
        """
        share = rank * workers + worker
        return _batched(self._read_share(self.urls, share, world * workers), size)

    def training_batches(
        self, size: int, seed: Seed, rank: int, world: int, worker: int, workers: int
    ) -> Iterator[list[Draw]]:
        """Batches of one worker's share, over and over, without an end.

        Each turn permutes the shards and shuffles the utterances.

        Args:
            size: utterances in a batch.
            seed: seed of the order; that of an utterance follows from it.
            rank: number of the process.
            world: number of processes.
            worker: number of the worker of this process.
            workers: number of workers of each process.

        Raises:
            InputError: as ``scoring_batches``.
        """
        draws = self._draw_forever(rank * workers + worker, world * workers, seed)
        return _batched(draws, size)

    def _draw_forever(self, share: int, shares: int, seed: Seed) -> Iterator[Draw]:
        from webdataset import shuffle  # brings torch along, which reading an index can do without

        # Where utterances are fewer than shares, several shares draw the same ones.
        shares = min(shares, len(self))
        share %= shares
        for turn in count():
            permuted = np.random.default_rng([*seed, turn]).permutation(self.urls).tolist()
            mix = shuffle(BUFFER, rng=random.Random(repr((seed, turn, share))))
            rows = mix(self._read_share(permuted, share, shares))
            for position, row in enumerate(rows, 1):
                yield row, (*seed, turn, share, position)

    def _read_share(self, urls: list[str], share: int, shares: int) -> Iterator[Utterance]:
        has_own_shards = len(urls) >= shares
        if has_own_shards:
            urls = urls[share::shares]
        missing = dict(self._labels)
        for url, rows in _read_shards(urls, self.manifest):
            for row in rows:
                is_expected = row.key in missing
                label = missing.pop(row.key, None)
                if not is_expected or (label and row.label not in (None, label)):
                    expected = label or "nothing, or not twice"
                    raise InputError(f"{url}: {row.key} is {row.label}, utt2lab says {expected}")
                # The number of utterances that are still missing numbers those of all shards.
                if has_own_shards or len(missing) % shares == share:
                    yield row
        reads_all = shares == 1 or not has_own_shards
        if missing and reads_all:
            names = abbreviate(list(missing))
            raise InputError(f"{len(missing)} utterances are not in the shards: {names}")


def list_stream(urls: list[str], manifest: dict[str, ShardFacts]) -> list[tuple[str, str | None]]:
    """Id and label, None where there is none, of each utterance of a stream, which is read once."""
    listed = []
    for _, rows in _read_shards(urls, manifest):
        for row in rows:
            listed.append((row.key, row.label))
    return listed


def _read_shards(
    urls: list[str], manifest: dict[str, ShardFacts]
) -> Iterator[tuple[str, Iterator[Utterance]]]:
    """Each URL with its utterances; the next shard of a server is fetched meanwhile."""
    cache = ShardCache() if any(map(is_remote, urls)) else None
    ahead = None
    try:
        for place, url in enumerate(urls):
            if not is_remote(url):
                yield url, _read_url(url)
                continue
            file = ahead.take() if ahead else None
            ahead = None
            facts = manifest.get(url)
            with file or cache.hold(url, facts) as stream:
                next_url = next(filter(is_remote, urls[place + 1 :]), None)
                if next_url is not None:
                    ahead = Ahead(cache, next_url, manifest.get(next_url))
                yield url, _counted(read_tar(stream, url), url, facts)
    finally:
        if ahead is not None:
            ahead.drop()


def _counted(rows: Iterator[Utterance], url: str, facts: ShardFacts | None) -> Iterator[Utterance]:
    """Utterances of a shard, which are as many as its manifest says."""
    count = 0
    for row in rows:
        count += 1
        yield row
    if facts is not None and count != facts.utterances:
        raise InputError(f"{url}: {count} utterances, its manifest has {facts.utterances}")


def _read_url(url: str) -> Iterator[Utterance]:
    """Utterances of a file (``file:``), or of what a command puts out (``pipe:``)."""
    from webdataset import gopen

    try:
        if url.startswith("file:"):
            check_regular_file(url.removeprefix("file:").removeprefix("//"))
        with gopen(url) as stream:
            yield from read_tar(stream, url)
    # gopen raises a ValueError for a scheme that it doesn't know.
    except (OSError, ValueError) as error:
        raise InputError(f"{url}: {error}") from error


def _batched(items: Iterator, size: int) -> Iterator[list]:
    """Lists of ``size`` items; the last one may hold fewer."""
    batch = []
    for item in items:
        batch.append(item)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch
