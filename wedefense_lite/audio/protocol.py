"""Protocols of published corpora, a trial a line, read as ``Trial``."""

from collections.abc import Mapping
from pathlib import Path

from wedefense_lite.audio.data_dir import Trial
from wedefense_lite.audio.ids import make_id, without_audio_extension
from wedefense_lite.files import NO_VALUE, InputError, read_rows
from wedefense_lite.labels import BONAFIDE, LABELS, label_of_word


def make_trial(
    line: str,
    row: Mapping[str, str],
    folder: Path,
    extension: str = ".flac",
    attack: str = "unknown",
) -> Trial:
    """A trial from the cells of its line.

    Args:
        line: file and line number, for errors.
        row: cells by column: ``key`` (the published name, with an extension or without, of which
            ``ids.make_id`` makes the id) and ``label``, perhaps ``speaker`` and ``attack``; all
            others become the trial's metadata.
        folder: folder of the audio file.
        extension: extension of the audio file where the name has none.
        attack: attack of a spoofed trial without such a column.

    Raises:
        InputError: an unknown label, or a name of which no id can be made.
    """
    cells = dict(row)
    name = cells.pop("key")
    try:
        key = make_id(name)
    except ValueError as error:
        raise InputError(f"{line}: {error}") from None
    try:
        label = label_of_word(cells.pop("label"))
    except ValueError as error:
        raise InputError(f"{line}: {key} has {error}") from None
    wav = folder / name
    if without_audio_extension(name) == name:
        wav = folder / f"{name}{extension}"
    # Speakers and attacks are one cell of a table, so that white space in their names has to go.
    speaker = "_".join(cells.pop("speaker", "").split()) or "unknown"
    attack = "_".join(cells.pop("attack", attack).split()) or "unknown"
    if label == LABELS[BONAFIDE]:
        attack = NO_VALUE
    return Trial(key, str(wav), label, speaker, attack, cells, name)


def read_protocol(
    path: Path, columns: str, folder: Path, prefix: str = "", **options: str
) -> list[Trial]:
    """Trials of a protocol, which may list fewer utterances than the audio folder holds.

    Args:
        path: lines without a header, cells separated by white space.
        columns: names of the columns, as ``make_trial`` takes them; ``-`` is left out.
        folder: folder of the audio files.
        prefix: begin of each name, ``set/`` where names are the same in two sets of a corpus.
        options: ``extension`` and ``attack`` of ``make_trial``.

    Raises:
        InputError: as ``read_rows`` and ``make_trial``.
    """
    names = columns.split()
    trials = []
    for number, cells in read_rows(path, columns=len(names)):
        row = {name: cell for name, cell in zip(names, cells) if name != "-"}
        row["key"] = prefix + row["key"]
        trials.append(make_trial(f"{path}:{number}", row, folder, **options))
    return trials
