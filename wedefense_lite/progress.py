"""Progress of long work: a bar on a terminal, plain lines in a log."""

import logging
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from tqdm import tqdm

SECONDS_BETWEEN_LINES = 10
# Of a bar whose items differ in work: their number says nothing.
SHARE_FORMAT = "{desc}: {percentage:3.0f}%|{bar}| {elapsed}<{remaining}"


def progress(
    items: Iterable,
    total: int,
    title: str,
    unit: str = "utt",
    cost: Callable[[Any], float] | None = None,
    total_cost: float = 0.0,
) -> Iterator:
    """Yield ``items`` with a bar on a terminal, and a plain line every ten seconds elsewhere.

    Only rank 0 shows anything.

    Args:
        items: what is worked on, one after the other.
        total: number of items.
        title: name of the work.
        unit: name of an item.
        cost: work for an item, where items differ; the time that is left goes by it.
        total_cost: sum of the costs of all items.
    """
    if os.environ.get("RANK", "0") != "0":
        yield from items
    elif sys.stderr.isatty():
        if cost is None:
            yield from tqdm(items, total=total, desc=title, unit=unit)
            return
        with tqdm(total=total_cost, desc=title, bar_format=SHARE_FORMAT) as bar:
            for item in items:
                yield item
                bar.update(cost(item))
    else:
        start = time.monotonic()
        last_line = start
        done = 0.0
        for count, item in enumerate(items, 1):
            yield item
            done += 1.0 if cost is None else cost(item)
            now = time.monotonic()
            if now - last_line >= SECONDS_BETWEEN_LINES or count == total:
                last_line = now
                seconds = now - start + 1e-9  # the clock may not have moved
                rate = count / seconds
                left = ((total if cost is None else total_cost) - done) / done * seconds
                text = "%s: %d/%d, %.1f %s/s, %.0f s left"
                logging.info(text, title, count, total, rate, unit, left)
