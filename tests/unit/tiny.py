"""A system small enough to train in a test: short tones against noise, a ResNet of four
channels.
"""

import copy
from dataclasses import asdict
from functools import partial
from pathlib import Path

import numpy as np
import soundfile as sf
import torch
import yaml
from torch import nn

from wedefense_lite.audio.index import write_raw_list
from wedefense_lite.audio.utterance import Utterance
from wedefense_lite.files import write_json, write_table
from wedefense_lite.frontends import Fbank
from wedefense_lite.heads import CrossEntropy
from wedefense_lite.labels import LABELS
from wedefense_lite.models import Backbone, ResNet
from wedefense_lite.provenance import file_hash
from wedefense_lite.runtime import Process
from wedefense_lite.scoring import bundle as bundles
from wedefense_lite.scoring.facts import BundleFacts
from wedefense_lite.scoring.loader import EvalLoader
from wedefense_lite.systems.config import DataConfig, TrainingConfig
from wedefense_lite.systems.experiment import Experiment, load_experiment
from wedefense_lite.systems.schedule import Schedule
from wedefense_lite.systems.tasks import Detection
from wedefense_lite.training.loader import TrainLoader
from wedefense_lite.training.trainer import Trainer

torch.set_num_threads(1)
RATE, SAMPLES = 16000, 4800
ALONE = Process(torch.device("cpu"), rank=0, world=1)
CONFIG = {
    "system": {
        "class_path": "Detection",
        "init_args": {
            "frontend": {"class_path": "Fbank", "init_args": {"num_mels": 8}},
            "model": {
                "class_path": "ResNet",
                "init_args": {"channels": 4, "blocks": [1, 1], "embed_dim": 6},
            },
            "head": {"class_path": "CrossEntropy"},
        },
    },
    "data": {"crop_seconds": 0.2, "batch_size": 4},
    "training": {
        "num_epochs": 2,
        "optimizer": {"class_path": "AdamW", "init_args": {"lr": 0.01, "weight_decay": 0.0}},
        "schedule": {"decay": "constant"},
    },
}
# An encoder of any family, in miniature.
ENCODER = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 24,
}
ENCODER |= {"conv_dim": [8] * 7, "num_conv_pos_embeddings": 8, "num_conv_pos_embedding_groups": 2}
# The same of Whisper.
WHISPER = {
    "d_model": 16,
    "encoder_layers": 2,
    "encoder_attention_heads": 2,
    "encoder_ffn_dim": 24,
    "num_mel_bins": 12,
}


class MeanFrame(Backbone):
    """The mean of the frames, scaled: no batch norm, so a batch is the mean of its halves."""

    def __init__(self, dim: int):
        super().__init__()
        self.embed_dim = dim
        self.scale = nn.Parameter(torch.ones(dim))

    def forward(self, frames_BFD, frame_lengths_B):
        return self.scale * frames_BFD.abs().sum(1) / frame_lengths_B[:, None]


def write_config(
    folder: Path, system: dict | None = None, data: dict | None = None, **training
) -> Path:
    """The YAML of the tiny system with some settings changed."""
    config = copy.deepcopy(CONFIG)
    config["system"]["init_args"] |= system or {}
    config["data"] |= data or {}
    config["training"] |= training
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "tiny.yaml"
    path.write_text(yaml.safe_dump(config))
    return path


def miniature(config: Path) -> Experiment:
    """What a YAML describes, its self-supervised encoder, if it has one, of two layers of 64
    features.
    """
    parts = yaml.safe_load(config.read_text())["system"]["init_args"]
    frontend = parts.get("frontend", {})
    changes = {}
    if frontend.get("class_path") == "SSL":
        changes["frontend.init_args.architecture"] = ENCODER | {"hidden_size": 64}
        layers = frontend["init_args"]["layers"]
        if layers == "all":
            changes["model.init_args.num_layers"] = ENCODER["num_hidden_layers"] + 1
        elif layers != "last":
            changes["frontend.init_args.layers"] = ENCODER["num_hidden_layers"]
            changes["model.init_args.num_layers"] = ENCODER["num_hidden_layers"]
    if parts.get("model", {}).get("class_path") == "DualColumnMamba":
        # Frame by frame, each of ten blocks takes seconds on a CPU.
        changes["model.init_args.blocks"] = 1
        changes["model.init_args.embed_dim"] = 32
    return load_experiment(config, changes)


def parsed(folder: Path, **changes) -> Experiment:
    """The tiny system as a configuration builds it."""
    return load_experiment(write_config(folder, **changes))


def experiment(model=None, head=CrossEntropy, data=None, lr=0.01, spec_augment=None, **training):
    """The same, built by hand: what a configuration takes half a second for."""
    data = {"crop_seconds": 0.2, "batch_size": 4} | (data or {})
    training = {"num_epochs": 2, "schedule": Schedule(decay="constant"), "num_avg": 2} | training
    settings = TrainingConfig(
        **training, optimizer=partial(torch.optim.AdamW, lr=lr, weight_decay=0.0)
    )
    torch.manual_seed(settings.seed)
    model = model or (lambda dim: ResNet(dim, channels=4, blocks=(1, 1), embed_dim=6))
    system = Detection(Fbank(8), model, head, spec_augment)
    shown = {key: value for key, value in training.items() if isinstance(value, int | float | str)}
    shown_data = {key: value for key, value in data.items() if key != "augment"}
    text = yaml.safe_dump({"data": shown_data, "training": shown | {"lr": lr}})
    return Experiment(system, DataConfig(**data), settings, text)


def corpus(folder: Path, count: int = 8, seed: int = 0) -> list[Utterance]:
    """Noise (bona fide) and tones in noise (spoof), of two lengths, bona fide first and every
    third.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rng, rows = np.random.default_rng(seed), []
    for number in range(count):
        key, samples = f"{folder.name}{number:02d}", SAMPLES + 800 * (number % 2)
        wav = rng.standard_normal(samples) * 0.1
        label = LABELS[number % 3 == 0]
        if label == "spoof":
            wav = wav * 0.1 + 0.2 * np.sin(
                2 * np.pi * rng.uniform(300, 3000) / RATE * np.arange(samples)
            )
        sf.write(folder / f"{key}.wav", wav, RATE)
        rows.append(Utterance(key, str(folder / f"{key}.wav"), 0, 0, samples, label))
    return rows


def write_lists(folder: Path, rows: list[Utterance]) -> tuple[str, str]:
    """``raw.list`` and ``utt2lab`` of a corpus."""
    labels = {row.key: row.label for row in rows}
    write_raw_list(folder / "raw.list", rows)
    write_table(folder / "utt2lab", labels)
    return str(folder / "raw.list"), str(folder / "utt2lab")


def trainer(
    exp: Experiment,
    exp_dir: Path,
    train: list,
    dev: list | None = None,
    process=ALONE,
    parallel="ddp",
) -> Trainer:
    loader = TrainLoader(train, exp.data, exp.training.seed, process.rank, process.world)
    dev_loader = None if dev is None else EvalLoader(dev, exp.data, process.rank, process.world)
    return Trainer(exp, process, exp_dir, loader, dev_loader, parallel=parallel)


def talking(seconds: float, seed: int = 0) -> np.ndarray:
    """A voice of syllables, four in a second, with soft noise behind them."""
    rng = np.random.default_rng(seed)
    time = np.arange(round(seconds * RATE)) / RATE
    voice = sum(np.sin(2 * np.pi * 130 * n * time + n) / n for n in range(1, 25))
    syllables = np.maximum(0, np.sin(2 * np.pi * 4 * time)) ** 2
    return 0.1 * voice * syllables + 1e-4 * rng.standard_normal(len(time))


def bundle(folder: Path, data: dict | None = None, system: dict | None = None, **facts) -> Path:
    """Bundle of the tiny system, untrained; ``facts`` are fields of its bundle.json."""
    config = folder / bundles.CONFIG
    write_config(folder, system=system, data=data).rename(config)
    torch.manual_seed(0)
    weights = folder / bundles.WEIGHTS
    weights.write_bytes(bundles.packed(load_experiment(config).system.state_dict()))
    hashes = {path.name: file_hash(path) for path in (config, weights)}
    write_json(folder / bundles.FACTS, asdict(BundleFacts(hashes=hashes, **facts)))
    return folder


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())
