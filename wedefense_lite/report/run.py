"""What one experiment left behind: its set-up, its training history and its scored sets."""

import csv
import itertools
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import yaml

from wedefense_lite.files import InputError, read_json, read_table, read_text
from wedefense_lite.metrics.costs import CostModel, cost_model
from wedefense_lite.metrics.detection import SortedScores
from wedefense_lite.scoring.scores import read_trials
from wedefense_lite.scoring.sidecar import Sidecar, read_sidecar

COLOURS = ("#E69F00", "#0072B2", "#CC79A7", "#56B4E9")  # of sets; after Okabe and Ito
CALIBRATED = "_calibrated"  # scores of a set a second time, after calibration
HISTORY_COLUMNS = ("epoch", "lr", "train_loss", "dev_loss", "dev_eer")

History = dict[str, np.ndarray]  # column of metrics.csv to its values, NaN where a cell is empty


@dataclass(frozen=True)
class ScoredSet:
    """The trials of one set beside the numbers that the evaluation found for it.

    The arrays have one entry a trial: ``llr`` in nats, ``seconds``, ``bonafide`` a mask, and the
    trial's ``key``, ``attack`` and ``speaker``.
    """

    name: str
    colour: str
    key: np.ndarray
    llr: np.ndarray
    bonafide: np.ndarray
    attack: np.ndarray
    speaker: np.ndarray
    seconds: np.ndarray
    scores: SortedScores
    cost: CostModel
    results: dict
    sidecar: Sidecar
    calibration: dict


@dataclass(frozen=True)
class Run:
    """An experiment; ``history`` is None where it was not trained in its folder."""

    name: str
    config_text: str
    env: dict
    history: History | None
    sets: list[ScoredSet]

    @property
    def ranked(self) -> list[ScoredSet]:
        """The sets without those that repeat another with calibrated scores: its order of trials."""
        return [one for one in self.sets if not one.name.endswith(CALIBRATED)] or self.sets

    @property
    def components(self) -> list[str]:
        """Class names of the system's parts, in the order of the configuration."""
        return _class_names((yaml.safe_load(self.config_text) or {}).get("system"))


def _class_names(node) -> list[str]:
    if not isinstance(node, dict):
        return []
    own = [node["class_path"].rpartition(".")[2]] if "class_path" in node else []
    return own + [name for child in node.values() for name in _class_names(child)]


def read_run(exp_dir: str | Path, data_dir: str | Path, sets: list[str]) -> Run:
    """Read everything that a report shows.

    Raises:
        InputError: a file is missing (``metrics.csv`` may be), malformed, or disagrees with another.
    """
    exp_dir, history = Path(exp_dir), Path(exp_dir) / "metrics.csv"
    return Run(
        name=exp_dir.resolve().name,
        config_text=read_text(exp_dir / "config.yaml"),
        env=read_json(exp_dir / "env.json"),
        history=read_history(history) if history.exists() else None,
        sets=[
            read_set(exp_dir, Path(data_dir) / name.removesuffix(CALIBRATED), name, colour)
            for name, colour in zip(sets, itertools.cycle(COLOURS))
        ],
    )


def read_history(path: str | Path) -> History:
    """Columns of ``metrics.csv`` as floats, NaN where a cell is empty."""
    rows = list(csv.DictReader(read_text(path).splitlines()))
    try:
        return {name: np.array([float(row[name] or "nan") for row in rows]) for name in HISTORY_COLUMNS}
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path}: column missing or not a number: {error}") from error


def read_set(exp_dir: Path, data_dir: Path, name: str, colour: str) -> ScoredSet:
    """Scores, labels and conditions of one set, and the numbers that stage 7 found for them."""
    path, results_path = exp_dir / "posteriors" / name / "llr.txt", exp_dir / f"results_{name}.json"
    key, labels, llr = read_trials(path, data_dir / "cm_key_file.txt")
    scores = SortedScores(llr[labels == "bonafide"], llr[labels == "spoof"])
    results = read_json(results_path)
    if not math.isclose(results.get("cllr", math.inf), scores.cllr(), rel_tol=1e-9):
        raise InputError(f"{results_path}: its Cllr is not that of {path}: run stage 7 again")
    return ScoredSet(
        name=name,
        colour=colour,
        key=np.array(key),
        llr=llr,
        bonafide=labels == "bonafide",
        attack=_column(data_dir / "utt2attack", key),
        speaker=_column(data_dir / "utt2spk", key),
        seconds=_column(data_dir / "utt2dur", key).astype(float),
        scores=scores,
        cost=cost_model(results["cost"]["name"]),
        results=results,
        sidecar=read_sidecar(path),
        calibration=read_json(path.with_name("calibration.json")),
    )


def _column(path: Path, names: list[str]) -> np.ndarray:
    """The values of a two-column table in the order of ``names``."""
    table = read_table(path)
    missing = [name for name in names if name not in table]
    if missing:
        raise InputError(f"{path}: no line for {missing[0]} ({len(missing)} such)")
    return np.array([table[name] for name in names])
