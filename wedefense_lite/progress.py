"""Progress of long work: a bar on a terminal, plain lines in a log."""

import logging
import os
import sys
import time
from collections.abc import Iterable, Iterator

from tqdm import tqdm


def progress(items: Iterable, total: int, what: str, unit: str = "utt") -> Iterator:
    """Yield ``items`` with a bar on a terminal, and a plain line every ten seconds elsewhere.

    Only rank 0 shows anything.
    """
    if os.environ.get("RANK", "0") != "0":
        yield from items
    elif sys.stderr.isatty():
        yield from tqdm(items, total=total, desc=what, unit=unit)
    else:
        start = last = time.monotonic()
        for count, item in enumerate(items, 1):
            yield item
            now = time.monotonic()
            if now - last >= 10 or count == total:
                last, rate = now, count / (now - start + 1e-9)
                left = (total - count) / rate
                logging.info(
                    "%s: %d/%d, %.1f %s/s, %.0f s left", what, count, total, rate, unit, left
                )
