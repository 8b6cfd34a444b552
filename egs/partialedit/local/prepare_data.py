"""PartialEdit, as published, to data directories of edited speech with segments."""

from wedefense_lite import cli

import csv
from pathlib import Path

from wedefense_lite.audio.data_dir import Counts, Trial
from wedefense_lite.audio.ids import make_id
from wedefense_lite.audio.segments import Segments, parse_seconds
from wedefense_lite.files import InputError, read_text
from wedefense_lite.localization.data import label_of, with_bonafide_rest, write_segmented_dirs

TABLE = "PartialEdit_E1E2.csv"
# Numbers of utterances of version 1.1, bona fide and spoofed.
COUNTS = {"partialedit_E1": Counts(0, 42471)}


def read_line(place: str, cells: list[str]) -> tuple[str, Segments]:
    """Name and segments of a line ``E1/speaker/file.wav,start,end,...,duration``.

    Raises:
        InputError: another number of cells, or times that are none or not in order.
    """
    name, *times = cells
    if len(times) < 3 or len(times) % 2 == 0:
        raise InputError(f"{place}: {len(cells)} cells, expected name,start,end,...,duration")
    try:
        *bounds, end = [parse_seconds(time) for time in times]
        parts = list(zip(bounds[::2], bounds[1::2]))
        return name, with_bonafide_rest(parts, end)
    except ValueError as error:
        raise InputError(f"{place}: {name} has {error}") from None


def prepare_data(
    corpus_dir: str, data_dir: str = "data", expect_counts: bool = True, relative: bool = False
) -> None:
    """Write data/partialedit_E1 and data/partialedit_E2, spoofed utterances alone.

    Args:
        corpus_dir: folder that holds PartialEdit_E1E2.csv, and E1 and E2, or one of these.
        data_dir: folder to write into.
        expect_counts: refuse a table that doesn't have the published number of utterances of E1.
        relative: write paths from the data directory to the audio, for trees that are moved.
    """
    corpus = Path(corpus_dir)
    sets: dict[str, list[Trial]] = {}
    segments: dict[str, Segments] = {}
    for number, cells in enumerate(csv.reader(read_text(corpus / TABLE).splitlines()), 1):
        if not cells:
            continue
        name, own = read_line(f"{corpus / TABLE}:{number}", cells)
        subset, _, rest = name.partition("/")
        if not (corpus / subset).is_dir():
            continue
        try:
            key = make_id(name)
        except ValueError as error:
            raise InputError(f"{corpus / TABLE}:{number}: {error}") from None
        speaker = rest.partition("/")[0]
        trial = Trial(key, str(corpus / name), label_of(own), speaker, subset, name=name)
        sets.setdefault(f"partialedit_{subset}", []).append(trial)
        segments[key] = own
    if not sets:
        raise InputError(f"{corpus}: no folder E1 or E2: unpack their archives there")
    counts = {name: COUNTS[name] for name in sets if name in COUNTS and expect_counts}
    write_segmented_dirs(data_dir, sets, segments, counts, relative=relative)


if __name__ == "__main__":
    cli.run(prepare_data)
