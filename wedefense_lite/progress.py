"""Progress of long work: a bar on a terminal, plain lines in a log."""

import logging
import os
import sys
import time
from collections.abc import Iterable, Iterator

from tqdm import tqdm

SECONDS_BETWEEN_LINES = 10


def progress(items: Iterable, total: int, title: str, unit: str = "utt") -> Iterator:
    """Yield ``items`` with a bar on a terminal, and a plain line every ten seconds elsewhere.

    Only rank 0 shows anything.

    Args:
        items: what is worked on, one after the other.
        total: number of items.
        title: name of the work.
        unit: name of an item.
    """
    if os.environ.get("RANK", "0") != "0":
        yield from items
    elif sys.stderr.isatty():
        yield from tqdm(items, total=total, desc=title, unit=unit)
    else:
        start = time.monotonic()
        last_line = start
        for count, item in enumerate(items, 1):
            yield item
            now = time.monotonic()
            if now - last_line >= SECONDS_BETWEEN_LINES or count == total:
                last_line = now
                rate = count / (now - start + 1e-9)  # the clock may not have moved
                left = (total - count) / rate
                text = "%s: %d/%d, %.1f %s/s, %.0f s left"
                logging.info(text, title, count, total, rate, unit, left)
