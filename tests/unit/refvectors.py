"""Values that other implementations give: tests/reference/README.md says where each comes from."""

import functools
import gzip
import importlib.util
import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "tests/reference/metrics"
RULES = ROOT / "tests/reference/fidelity/fill.py"
# Sets of another seed, made in the same way, may stand in another folder.
FIDELITY = Path(os.environ.get("WEDEFENSE_FIDELITY") or RULES.parent)
SPEC = importlib.util.spec_from_file_location("fill", RULES)
fill = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(fill)
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


class Reference:
    """What the authors' code of a system gave on seeded weights and inputs.

    Attributes:
        weights: state dict under the official names; empty for a front end.
        inputs: tensors by name.
        labels: classes in the order of the official code, if the set has labels.
        expected: arrays by name.
    """

    def __init__(self, name: str):
        path = FIDELITY / f"{name}.json"
        self.listing = json.loads(path.read_text())
        self.weights = {}
        if "state" in self.listing:
            self.weights = _tensors(fill.fill(path))
        self.inputs = _tensors(fill.fill(path, "inputs"))
        self.labels = torch.tensor(self.listing.get("labels", []))
        with np.load(path.with_suffix(".npz")) as arrays:
            self.expected = dict(arrays)

    def compare(self, name: str, values: torch.Tensor, tolerance: float = 1e-5) -> None:
        """Fail unless values are the expected ones, within a share of the largest."""
        expected = self.expected[name]
        values = values.detach().double().numpy()
        assert values.shape == expected.shape, f"{name}: {values.shape}, not {expected.shape}"
        difference = np.abs(values - expected).max() / np.abs(expected).max()
        assert difference <= tolerance, f"{name}: a relative difference of {difference:.1e}"

    def compare_gradients(
        self, module: torch.nn.Module, names: dict[str, str], tolerance: float = 1e-5
    ) -> None:
        """Fail unless gradients have the expected norms, within a share of each.

        What is below a millionth of the largest is rounding, here and there.

        Args:
            module: module with gradients, in float64.
            names: names of its parameters, and the official ones.
            tolerance: that share.
        """
        rows = [entry["name"] for entry in self.listing["state"]]
        norms = dict(zip(rows, self.expected["gradient_norms"]))
        rounding = np.nanmax(self.expected["gradient_norms"]) / 1e6
        for name, parameter in module.named_parameters():
            if name not in names:
                assert not parameter.requires_grad, f"{name}: not among the official weights"
                continue
            expected = norms[names[name]]
            if parameter.grad is None:
                assert np.isnan(expected) or expected == 0, f"{name}: no gradient, not {expected}"
                continue
            norm = parameter.grad.double().norm().item()
            if max(norm, expected) <= rounding:
                continue
            difference = abs(norm - expected) / expected
            assert difference <= tolerance, f"{name}: a relative difference of {difference:.1e}"


def _tensors(arrays: dict[str, np.ndarray]) -> dict[str, torch.Tensor]:
    return {name: torch.from_numpy(values) for name, values in arrays.items()}
