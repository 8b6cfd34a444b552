"""Kaldi archives of embeddings and logits, written whole or not at all."""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

import kaldiio
import numpy as np

from wedefense_lite.files import InputError, atomic_path, read_table, write_table


def write_archive(ark: str | Path, arrays: Iterable[tuple[str, np.ndarray]]) -> list[str]:
    """Write ``X.ark`` in the order of ``arrays`` and ``X.scp`` sorted by key.

    Args:
        ark: path of the archive; the ``.scp`` beside it holds this path as it is typed here.
        arrays: keys and float32 vectors or matrices.

    Returns:
        The keys in the order written.

    Raises:
        InputError: a key that comes twice, or a value that is not finite, by name.
    """
    ark = Path(ark)
    scp = ark.with_suffix(".scp")
    table = {}
    with atomic_path(ark) as temporary:
        with open(temporary, "wb") as file:
            for key, array in arrays:
                if key in table:
                    raise InputError(f"{ark}: {key} comes twice")
                if not np.isfinite(array).all():
                    raise InputError(f"{ark}: {key} has a value that is not finite")
                # An entry starts with its key and a space; Kaldi's offset is that of the array.
                offset = file.tell() + len(key.encode()) + 1
                table[key] = f"{ark}:{offset}"
                kaldiio.save_ark(file, {key: array})
        # An old .scp must never point into a new archive.
        scp.unlink(missing_ok=True)
    write_table(scp, table)
    return list(table)


def read_archive(scp: str | Path) -> Mapping[str, np.ndarray]:
    """A lazy mapping from key to array, in the order of the file.

    Raises:
        InputError: no such file, lines that are not ``key archive:offset``, a key that comes twice,
            or an archive that is missing.
    """
    for key, address in read_table(scp).items():
        ark, _, offset = address.rpartition(":")
        if not offset.isdigit():
            raise InputError(f"{scp}: {key} is at {address!r}, expected archive:offset")
        if not os.path.exists(ark):
            raise InputError(f"{scp}: {key} is in {ark}, which does not exist")
    return kaldiio.load_scp(str(scp))
