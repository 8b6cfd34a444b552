"""Protocols of published corpora, a trial a line, to trials of ours."""

from collections.abc import Mapping
from pathlib import Path

from wedefense_lite.audio.data_dir import Trial
from wedefense_lite.files import NO_VALUE, InputError, read_rows
from wedefense_lite.labels import BONAFIDE, LABELS

# What corpora call the classes; any other word is refused.
SYNONYMS = {"genuine": "bonafide", "bona-fide": "bonafide", "fake": "spoof"}


def make_trial(
    where: str,
    row: Mapping[str, str],
    folder: Path,
    extension: str = ".flac",
    attack: str = "unknown",
) -> Trial:
    """A trial from the cells of its line.

    Args:
        where: file and line, for errors.
        row: cells by column: ``key`` (with the extension or without) and ``label``, perhaps ``speaker``
            and ``attack``; all others become the trial's metadata.
        folder: of the audio file.
        extension: of the audio file. Ids don't have it, since an id holds no dot.
        attack: of a spoofed trial where no column says.

    Raises:
        InputError: a label that is none.
    """
    cells = dict(row)
    key, name = cells.pop("key").removesuffix(extension), cells.pop("label")
    label = SYNONYMS.get(name, name)
    if label not in LABELS:
        raise InputError(
            f"{where}: {key} has label {name!r}, expected {', '.join((*LABELS, *SYNONYMS))}"
        )
    speaker = "_".join(cells.pop("speaker", "unknown").split())
    attack = cells.pop("attack", attack)
    attack = NO_VALUE if label == LABELS[BONAFIDE] else attack
    return Trial(key, f"{folder / key}{extension}", label, speaker, attack, cells)


def read_protocol(path: Path, columns: str, folder: Path, **how: str) -> list[Trial]:
    """Trials of a protocol: the audio folders of some corpora hold more than their protocols list.

    Args:
        path: lines without a header, cells separated by white space.
        columns: names of the columns, as :func:`make_trial` takes them; ``-`` is left out.
        folder: of the audio files.
        how: passed on to :func:`make_trial`.

    Raises:
        InputError: as :func:`read_rows` and :func:`make_trial`.
    """
    names = columns.split()
    kept = [place for place, name in enumerate(names) if name != "-"]
    return [
        make_trial(
            f"{path}:{number}", {names[place]: cells[place] for place in kept}, folder, **how
        )
        for number, cells in read_rows(path, columns=len(names))
    ]
