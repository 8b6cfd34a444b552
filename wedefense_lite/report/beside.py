"""Pictures that stage 7 leaves in an experiment, for the page of stage 8."""

from pathlib import Path
from typing import NamedTuple

from wedefense_lite.files import read_text

MOST_PICTURES = 6  # of a set, as many as bin/draw_localization.py draws unless told otherwise


class PicturesOfSet(NamedTuple):
    """Pictures of the utterances of a set.

    Attributes:
        name: of the set.
        pictures: SVG text by the name of its file without ``.svg``.
        count: pictures in the folder, of which the page may have fewer.
    """

    name: str
    pictures: dict[str, str]
    count: int


def localization_pictures(exp_dir: str | Path) -> list[PicturesOfSet]:
    """Pictures of ``bin/draw_localization.py``, by set."""
    sets = []
    for folder in _folders(Path(exp_dir, "pictures")):
        paths = sorted(folder.glob("*.svg"))
        pictures = {path.stem: read_text(path) for path in paths[:MOST_PICTURES]}
        if pictures:
            sets.append(PicturesOfSet(folder.name, pictures, len(paths)))
    return sets


def mixture_confusions(exp_dir: str | Path) -> dict[str, str]:
    """SVG text of the confusion matrices of ``bin/evaluate_mixtures.py``, by set."""
    confusions = {}
    for folder in _folders(Path(exp_dir, "mixtures")):
        path = folder / "confusion.svg"
        if path.is_file():
            confusions[folder.name] = read_text(path)
    return confusions


def _folders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("*") if path.is_dir())
