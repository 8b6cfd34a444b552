"""Kaldi archives of embeddings and logits, written whole or not at all."""

import os
from collections.abc import Iterable
from pathlib import Path

import kaldiio
import numpy as np

from wedefense_lite.files import InputError, atomic_path, write_table


def write_archive(ark: str | Path, arrays: Iterable[tuple[str, np.ndarray]]) -> list[str]:
    """Write ``X.ark`` in the order given and ``X.scp`` sorted by key.

    Args:
        ark: path of the archive; the ``.scp`` beside it holds this path as it is given here.
        arrays: keys and float32 vectors or matrices.

    Returns:
        The keys in the order written.

    Raises:
        InputError: a key that comes twice, or a value that is not finite, by name.
    """
    ark, scp, table = Path(ark), Path(ark).with_suffix(".scp"), {}
    with atomic_path(ark) as temporary:
        with open(temporary, "wb") as file:
            for key, array in arrays:
                if key in table:
                    raise InputError(f"{ark}: {key} comes twice")
                if not np.isfinite(array).all():
                    raise InputError(f"{ark}: {key} has a value that is not finite")
                table[key] = f"{ark}:{file.tell() + len(key.encode()) + 1}"
                kaldiio.save_ark(file, {key: array})
        # An old .scp must never point into a new archive.
        scp.unlink(missing_ok=True)
    write_table(scp, table)
    return list(table)


def read_archive(scp: str | Path) -> dict[str, np.ndarray]:
    """A lazy mapping from key to array.

    Raises:
        InputError: no such file, or an archive it points into is missing.
    """
    if not os.path.exists(scp):
        raise InputError(f"{scp}: No such file or directory")
    try:
        arrays = kaldiio.load_scp(str(scp))
    except ValueError as error:
        raise InputError(f"{scp}: not lines of `key archive:offset`: {error}") from error
    if len(arrays) == 0:
        raise InputError(f"{scp}: empty")
    return arrays
