"""The main recipe, whole, on a part of its corpus with two processes; every system's loss falls."""

import itertools
import json
import re
import shutil
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

DOWNLOADS = ROOT / "egs/mini/downloads"
# Encoders of 100 to 300 M parameters are trained in miniature, by tests/unit/test_ssl_systems.py.
CONFIGS = [
    path
    for path in sorted((ROOT / "conf").glob("*.yaml"))
    if "class_path: SSL" not in path.read_text()
]
STEPS = 4
pytestmark = pytest.mark.skipif(
    shutil.which("apt-get") is None and not DOWNLOADS.exists(),
    reason="needs apt-get, or earlier downloads",
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A root-like folder in which the recipe ran on a twentieth of the corpus."""
    folder = tmp_path_factory.mktemp("mini")
    typist(folder)(
        [
            *"bash egs/mini/run.sh --scale 0.05 --nproc 2 --data_type raw --bootstrap 20 --num_avg 2".split(),
            *"--corpus_dir corpus --data_dir data --exp_dir exp".split(),
            *["--train_options", "--num_epochs 2 --batch_size 4 --validate_interval 1"],
        ]
    )
    rows = [line.split() for line in (folder / "data/train/wav.scp").read_text().splitlines()]
    kinds = itertools.cycle(("noise", "music", "speech"))
    (folder / "noise.scp").write_text(
        "".join(f"{kind}-{key} {wav}\n" for kind, (key, wav) in zip(kinds, rows))
    )
    return folder


def test_every_file_has_a_licence_and_every_speaker_one_set(folder):
    manifest = (folder / "corpus/manifest.tsv").read_text().splitlines()
    licences = [line.split("\t")[manifest[0].split("\t").index("licence")] for line in manifest[1:]]
    assert len(licences) > 40 and all(licences)
    speakers = [
        set((folder / f"data/{name}/spk2utt").read_text().split("\n")[:-1])
        for name in ("train", "dev", "eval")
    ]
    names = [{line.split()[0] for line in lines} for lines in speakers]
    assert not (names[0] & names[1] | names[0] & names[2] | names[1] & names[2])


def test_all_stages_end_in_results_and_a_report(folder):
    for name in ("dev", "eval", "eval_calibrated"):
        results = json.loads((folder / f"exp/results_{name}.json").read_text())
        assert (
            0 <= results["eer"] <= 1
            and {"min_dcf", "act_dcf", "cllr", "by", "ci"} <= results.keys()
        )
    report = (folder / "exp/report.html").read_text()
    assert not re.search(r"(src|href)=.https?:", report) and "data:image/svg" in report


@pytest.mark.parametrize("task", ["localization", "detection"])
def test_partialspoof_runs_whole_with_one_process_and_with_two(folder, task):
    typed, exp = typist(folder), folder / "exp_ps" / task
    command = (
        f"bash egs/partialspoof/run.sh --mini true --scale 0.05 --task {task} --mini_corpus corpus --data_dir data_ps "
        f"--corpus_dir corpus_ps --data_type raw --bootstrap 20 --num_avg 1 --config conf/CONFIG.yaml --exp_dir {exp}"
    ).replace("CONFIG", "localization_small" if task == "localization" else "resnet18_small")
    options = ["--train_options", "--num_epochs 1 --batch_size 4"]
    typed([*command.split(), *options, "--nproc", "2"])
    results = [f"results_{name}.json" for name in ("dev", "eval")]
    if task == "localization":
        results += [f"results_localization_{name}.json" for name in ("dev", "eval")]
        assert list(exp.glob("segments/eval/*.json")) and list(exp.glob("pictures/eval/*.svg"))
        assert (exp / "segments/eval/segments.rttm").is_file() and "false alarms" in (
            exp / "results_localization_eval.txt"
        ).read_text()
    assert all((exp / name).is_file() for name in [*results, "report.html"])
    shutil.rmtree(exp)
    typed([*command.split(), *options, "--nproc", "1", "--stage", "3", "--stop_stage", "4"])
    assert list(exp.glob("*/eval/*.scp"))


def of_two_talkers(batch: Batch) -> Batch:
    """Mixtures of the first half of a batch with the second."""
    stems_BKT, talker_labels_BK = (
        torch.stack(batch.wav_BT.chunk(2), 1),
        torch.stack(batch.labels_B.chunk(2), 1),
    )
    half = len(stems_BKT)
    mixtures = batch.keys[:half], stems_BKT.sum(1), batch.lengths_B[:half], talker_labels_BK.amin(1)
    return Batch(*mixtures, None, talker_labels_BK, stems_BKT)


@pytest.mark.parametrize("config", CONFIGS, ids=lambda path: path.stem)
def test_the_loss_of_every_system_falls(folder, config, monkeypatch):
    """By its own optimizer, as in warm-up, on one batch of real speech; dropout is held."""
    monkeypatch.chdir(folder)
    experiment = load_experiment(config)
    data = replace(
        experiment.data, crop_seconds=1.0, batch_size=4, num_workers=0, balance_classes=True
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
