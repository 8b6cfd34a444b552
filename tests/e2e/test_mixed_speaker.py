"""Mixed speakers, all stages: mixtures, a separator, streams, and the four systems on them."""

import json

import numpy as np
import pytest
import torch
from conftest import UNTRAINED, typist

SMALL = (
    "--num_epochs 1 --batch_size 4 --data.crop_seconds 0.5 --system.frontend.num_mels 24 "
    "--system.model.channels 4 --system.model.embed_dim 8"
)
SIZES = {"features": 16, "bottleneck": 8, "hidden": 8, "layers": 2, "stacks": 1}
SEPARATOR = " ".join(f"--system.separator.{name} {size}" for name, size in SIZES.items())


@pytest.fixture(scope="module")
def folder(mini_corpus, tmp_path_factory):
    """A root-like folder, for a twentieth of the mini corpus."""
    folder = tmp_path_factory.mktemp("mixed")
    (folder / "corpus").symlink_to(mini_corpus)
    return folder


def run(folder, system: str, processes: int, *more: str) -> str:
    command = (
        "bash egs/mixed_speaker/run.sh --mini true --scale 0.05 --mini_corpus corpus "
        f"--corpora data --mixed_dir mixed --num_mixtures 20_12_12 --system {system} --nproc {processes} --num_avg 1 --bootstrap 20"
    )
    options = SMALL if system != "joint" else f"{SMALL} {SEPARATOR}"
    config = "resnet18_small"
    if system in ("joint", "direct"):
        config = f"talkers_{system}_small"
    words = [word.replace("_12", " 12") if word == "20_12_12" else word for word in command.split()]
    separator = f"--num_epochs 1 --num_avg 1 --batch_size 4 --data.crop_seconds 0.5 {SEPARATOR}"
    words += [
        "--config",
        f"conf/{config}.yaml",
        "--train_options",
        options,
        "--separator_options",
        separator,
    ]
    return typist(folder)([*words, *UNTRAINED, *more])


def results(folder, system: str, name: str) -> dict:
    (path,) = folder.glob(f"mixed/exp/{system}_*/mixtures/{name}/results.json")
    return json.loads(path.read_text())


@pytest.mark.turns("recipes")
@pytest.mark.parametrize(
    ("system", "processes", "tied"),
    [("separated", 2, "sisdr"), ("oracle", 1, "identity"), ("direct", 2, "none")],
)
def test_a_system_runs_from_mixtures_to_results(folder, system, processes, tied):
    run(folder, system, processes)
    found = results(folder, system, "eval")
    assert (
        found["n_mixtures"] == 12
        and found["assignment"] == tied
        and np.sum(found["confusion"]) == 12
    )
    assert {"macro_f1", "chance_macro_f1", "any_spoof", "by"} <= found.keys()
    assert ("source_eer" in found) == (tied != "none") and ("sisdr_improvement" in found) == (
        system == "separated"
    )
    (exp,) = folder.glob(f"mixed/exp/{system}_*")
    assert (exp / "mixtures/eval/confusion.svg").is_file() and (
        exp / "mixtures/eval/mixture_llr.txt"
    ).is_file()
    assert (exp / "report.html").is_file() == (system in ("separated", "oracle"))


@pytest.mark.turns("recipes")
def test_the_separator_is_trained_on_with_the_detector(folder):
    run(folder, "joint", 1, "--stop_stage", "3")
    alone, joint = (
        torch.load(next(folder.glob(f"mixed/exp/{name}/models/{model}.pt")), weights_only=True)[
            "model"
        ]
        for name, model in (("convtasnet_small", "avg_model"), ("joint_*", "model_1"))
    )
    moved = [name for name, value in alone.items() if not torch.equal(value, joint[name])]
    assert len(moved) == len(alone) and all(
        torch.allclose(alone[name], joint[name], atol=0.1) for name in alone
    )
