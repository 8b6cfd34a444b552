"""Values computed by the official code of the field, kept beside the repository, not in it."""

import gzip
import json
from pathlib import Path

import numpy as np
import pytest

FOLDER = Path(__file__).parents[2] / "../shared/refvectors/metrics"
present = pytest.mark.skipif(not FOLDER.exists(), reason=f"no reference values at {FOLDER}")


def load(name: str):
    return json.loads((FOLDER / name).read_text()) if FOLDER.exists() else {}


EXPECTED, NASTY = load("expected.json"), load("nasty.json")


def lines(name: str) -> list[list[str]]:
    path = FOLDER / name
    opened = gzip.open if name.endswith(".gz") else open
    with opened(path, "rt") as file:
        return [line.replace(",", " ").split() for line in file]


def cm_scores(name: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Bona fide scores, spoof scores, attack of each spoof."""
    rows = lines(EXPECTED[name]["file"])
    scores, bonafide = (
        np.array([float(row[3]) for row in rows]),
        np.array([r[2] == "bonafide" for r in rows]),
    )
    return scores[bonafide], scores[~bonafide], np.array([row[1] for row in rows])[~bonafide]


def big_scores(name: str) -> tuple[np.ndarray, np.ndarray]:
    """Track-1 sized sets, from their recipe."""
    classes = []
    for kind in ("bonafide", "spoof"):
        recipe = EXPECTED[name][kind]
        steps = np.arange(1, recipe["n"] + 1) * (np.sqrt(5) - 1) / 2 + recipe["off"]
        u = np.clip(np.modf(steps)[0], 1e-9, 1 - 1e-9)
        x = recipe["mu"] + recipe["sc"] * np.log(u / (1 - u))
        classes.append(x if recipe["round"] is None else np.round(x, recipe["round"]))
    return tuple(classes)


def sasv_scores() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """ASV scores, detector scores and classes of the trials."""
    rows = lines(EXPECTED["sasv_ecapa_aasist_LA19dev"]["file"])[1:]
    classes = np.array(["spoof", "target", "nontarget"])[[int(row[2]) for row in rows]]
    return (
        np.array([float(row[0]) for row in rows]),
        np.array([float(row[1]) for row in rows]),
        classes,
    )
