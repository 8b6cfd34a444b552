"""Values that other implementations give: tests/reference/README.md says where each comes from."""

import functools
import gzip
import json
import os
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "tests/reference/metrics"
# Weights and score files of other people, which the project does not contain.
OTHERS = Path(os.environ.get("WEDEFENSE_REFERENCE") or ROOT / "../shared/refvectors")


def needs(*names: str) -> pytest.MarkDecorator:
    """Skip a test unless all of these files of other people are there.

    Args:
        names: paths below the folder that ``$WEDEFENSE_REFERENCE`` names.
    """
    missing = [name for name in names if not (OTHERS / name).exists()]
    return pytest.mark.skipif(
        bool(missing), reason=f"$WEDEFENSE_REFERENCE has no {', '.join(missing)}"
    )


@functools.cache
def load(name: str):
    """Content of a JSON file of the metrics."""
    return json.loads((FOLDER / name).read_text())


EXPECTED, NASTY = load("expected.json"), load("nasty.json")
ASV = "asv_LA.asv.eval"
SASV = "sasv_ecapa_aasist_LA19dev"
# Of these sets the scores are a published file.
PUBLISHED = ("cm_small_2000", "cm_AIR_ocsoftmax", "cm_nesl_baseline_LA19dev")


def needs_scores(*names: str) -> pytest.MarkDecorator:
    """Skip a test unless the score files of these sets are there."""
    return needs(*(f"metrics/{EXPECTED[name]['file']}" for name in names))


def lines(name: str) -> list[list[str]]:
    """Cells of the lines of a score file; it may be one of other people."""
    path = FOLDER / name
    if not path.exists():
        path = OTHERS / "metrics" / name
    open_text = gzip.open if name.endswith(".gz") else open
    with open_text(path, "rt") as file:
        return [line.replace(",", " ").split() for line in file]


def cm_scores(name: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Bona fide scores, spoof scores, attack of each spoof."""
    rows = lines(EXPECTED[name]["file"])
    attacks = np.array([row[1] for row in rows])
    bonafide = np.array([row[2] == "bonafide" for row in rows])
    scores = np.array([float(row[3]) for row in rows])
    return scores[bonafide], scores[~bonafide], attacks[~bonafide]


def big_scores(name: str) -> tuple[np.ndarray, np.ndarray]:
    """Bona fide and spoof scores of a set of Track-1 size, from its recipe."""
    classes = []
    for label in ("bonafide", "spoof"):
        recipe = EXPECTED[name][label]
        steps = np.arange(1, recipe["n"] + 1) * (np.sqrt(5) - 1) / 2 + recipe["off"]
        uniform = np.clip(np.modf(steps)[0], 1e-9, 1 - 1e-9)
        scores = recipe["mu"] + recipe["sc"] * np.log(uniform / (1 - uniform))
        if recipe["round"] is not None:
            scores = np.round(scores, recipe["round"])
        classes.append(scores)
    return tuple(classes)


def sasv_scores() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """ASV scores, detector scores and classes of the trials."""
    rows = lines(EXPECTED[SASV]["file"])[1:]
    asv = np.array([float(row[0]) for row in rows])
    cm = np.array([float(row[1]) for row in rows])
    names = np.array(["spoof", "target", "nontarget"])
    return asv, cm, names[[int(row[2]) for row in rows]]
