"""The loss of every system falls on real speech."""

import itertools
from dataclasses import replace

import pytest
import torch
from conftest import ROOT, typist

from wedefense_lite.audio.index import read_index
from wedefense_lite.audio.segments import write_rttm
from wedefense_lite.audio.tracks import with_segments
from wedefense_lite.augment.base import Prepared, prepare
from wedefense_lite.files import read_labels, read_table
from wedefense_lite.labels import label_id
from wedefense_lite.systems.batch import Batch
from wedefense_lite.systems.experiment import load_experiment
from wedefense_lite.training.loader import TrainLoader

# Encoders of 100 to 300 M parameters are trained in miniature, by tests/unit/test_ssl_systems.py.
CONFIGS = [
    path
    for path in sorted((ROOT / "conf").glob("*.yaml"))
    if "class_path: SSL" not in path.read_text()
]
STEPS = 3


@pytest.fixture(scope="module")
def folder(mini_corpus, tmp_path_factory):
    """A root-like folder with data directories, lists, and noises of three kinds."""
    folder = tmp_path_factory.mktemp("losses")
    typist(folder)(
        "bash egs/mini/run.sh --scale 0.05 --data_type raw --stop_stage 2 "
        f"--corpus_dir {mini_corpus} --data_dir data"
    )
    rows = [line.split() for line in (folder / "data/train/wav.scp").read_text().splitlines()]
    kinds = itertools.cycle(("noise", "music", "speech"))
    lines = [f"{kind}-{key} {wav}\n" for kind, (key, wav) in zip(kinds, rows)]
    (folder / "noise.scp").write_text("".join(lines))
    return folder


def of_two_talkers(batch: Batch) -> Batch:
    """Mixtures of the first half of a batch with the second."""
    stems_BKT, talker_labels_BK = (
        torch.stack(batch.wav_BT.chunk(2), 1),
        torch.stack(batch.labels_B.chunk(2), 1),
    )
    half = len(stems_BKT)
    mixtures = batch.keys[:half], stems_BKT.sum(1), batch.lengths_B[:half], talker_labels_BK.amin(1)
    return Batch(*mixtures, None, talker_labels_BK, stems_BKT)


@pytest.mark.turns
@pytest.mark.parametrize("config", CONFIGS, ids=lambda path: path.stem)
def test_the_loss_of_every_system_falls(folder, config, monkeypatch):
    """By its own optimizer, as in warm-up, on one batch of real speech; dropout is held."""
    monkeypatch.chdir(folder)
    experiment = load_experiment(config)
    data = replace(
        experiment.data, crop_seconds=0.5, batch_size=4, num_workers=0, balance_classes=True
    )
    options = {augment.option for augment in data.augment if isinstance(augment, Prepared)} - {""}
    prepare(data.augment, **dict.fromkeys(options, "noise.scp"))
    index = read_index("data/train/raw.list", "raw", labels := read_labels("data/train/utt2lab"))
    if experiment.system.frame_samples:
        seconds = read_table("data/train/utt2dur")
        write_rttm(
            "segments.rttm",
            {key: [(0.0, float(seconds[key]), label_id(labels[key]))] for key in labels},
        )
        index = with_segments(index, "segments.rttm", data.sample_rate)
    batch = next(TrainLoader(index, data, seed=1).epoch(1)).to("cpu")
    if experiment.system.classes:
        batch = batch._replace(sources_B=batch.labels_B)
    if experiment.system.num_talkers:
        batch = of_two_talkers(batch)
    task, losses = experiment.system.train(), []
    optimizer = experiment.training.optimizer(task.parameters())
    for group in optimizer.param_groups:
        group["lr"] *= 0.1
    for _ in range(STEPS):
        torch.manual_seed(1)
        loss = task(batch)[0]
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert losses[-1] < losses[0], losses
