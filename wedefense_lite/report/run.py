"""What one experiment left behind: its set-up, its training history and its scored sets."""

import itertools
import math
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from wedefense_lite.files import InputError, read_json, read_text
from wedefense_lite.metrics.costs import CostModel, cost_model
from wedefense_lite.metrics.detection import SortedScores
from wedefense_lite.scoring.scores import read_condition, read_trials

COLOURS = ("#E69F00", "#0072B2", "#CC79A7", "#56B4E9")  # of sets; after Okabe and Ito
CALIBRATED = "_calibrated"  # scores of a set a second time, after calibration
SETS = ("dev", "eval", "eval_calibrated")


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


@dataclass(frozen=True)
class Run:
    """An experiment; ``history`` holds the columns of ``metrics.csv``, NaN where a cell is empty, or is
    None where the model was not trained in its folder."""

    name: str
    config_text: str
    env: dict
    history: np.ndarray | None
    sets: list[ScoredSet]

    @property
    def ranked(self) -> list[ScoredSet]:
        """The sets without those that repeat another with calibrated scores: its order of trials."""
        return [one for one in self.sets if not one.name.endswith(CALIBRATED)] or self.sets

    @property
    def components(self) -> list[str]:
        """Class names of the system's parts, in the order of the configuration."""
        return re.findall(r"class_path: (?:\w+\.)*(\w+)", self.config_text)


def read_run(exp_dir: str | Path, data_dir: str | Path, sets: list[str] | None = None) -> Run:
    """Read everything that a report shows.

    Args:
        sets: by default those of :data:`SETS` that were evaluated.

    Raises:
        InputError: a file is missing (``metrics.csv`` may be), malformed, or disagrees with another.
    """
    exp_dir, history = Path(exp_dir), Path(exp_dir) / "metrics.csv"
    names = sets or [name for name in SETS if (exp_dir / f"results_{name}.json").exists()]
    if not names:
        raise InputError(f"{exp_dir}: no results_dev.json or results_eval.json: run stage 7 first")
    return Run(
        name=exp_dir.resolve().name,
        config_text=read_text(exp_dir / "config.yaml"),
        env=read_json(exp_dir / "env.json"),
        history=np.genfromtxt(history, delimiter=",", names=True, ndmin=1)
        if history.exists()
        else None,
        sets=[
            read_set(exp_dir, Path(data_dir) / name.removesuffix(CALIBRATED), name, colour)
            for name, colour in zip(names, itertools.cycle(COLOURS))
        ],
    )


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
        attack=read_condition(data_dir / "utt2attack", "attack", key),
        speaker=read_condition(data_dir / "utt2spk", "speaker", key),
        seconds=read_condition(data_dir / "utt2dur", "seconds", key).astype(float),
        scores=scores,
        cost=cost_model(results["cost"]["name"]),
        results=results,
    )
