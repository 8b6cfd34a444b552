"""Training that is killed, training on two processes, and the numbers it selects by."""

import csv
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from conftest import ROOT, train_command


def weights(path) -> dict[str, torch.Tensor]:
    return torch.load(path, weights_only=True)["model"]


def running(folder: Path, words: list[str]) -> list[int]:
    """Processes of a command typed in a folder. torchrun's have sessions of their own."""
    script, exp_dir, found = (
        words[-1 + words.index("--config")],
        words[1 + words.index("--exp_dir")],
        [],
    )
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            typed = (entry / "cmdline").read_bytes().decode().split("\0")
            if {script, exp_dir} <= set(typed) and (entry / "cwd").resolve() == folder.resolve():
                found.append(int(entry.name))
        except OSError:  # it has ended
            continue
    return found


def kill_after(words: list[str], folder, last, saves: int) -> None:
    """Start a training and kill all its processes once ``last.pt`` was written so many times."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PATH": path}
    with subprocess.Popen(
        [shutil.which(words[0], path=path), *words[1:]],
        cwd=folder,
        env=environment,
        start_new_session=True,
        stderr=subprocess.DEVNULL,
    ) as process:
        seen, count, deadline = None, 0, time.monotonic() + 300
        while count < saves and process.poll() is None and time.monotonic() < deadline:
            stamp = last.stat().st_mtime_ns if last.exists() else None
            count += stamp != seen
            seen = stamp
            time.sleep(0.002)
        for pid in running(folder, words):
            os.kill(pid, signal.SIGKILL)


@pytest.mark.turns("trainings")
@pytest.mark.parametrize(
    ("processes", "options"), [(1, "--training.save_step_interval 1"), (2, "")], ids=["one", "two"]
)
def test_killed_training_ends_with_the_same_bits(prepared, processes, options):
    folder, typed = prepared
    options += " --num_epochs 4 --training.ema_decay 0.9 --data.augment+=WhiteNoise"
    whole, killed = f"exp/whole{processes}", f"exp/killed{processes}"
    typed(train_command(whole, "shard", processes, options))
    saves = random.randint(2, 10) if processes == 1 else random.randint(1, 3)
    words = train_command(killed, "shard", processes, options)
    kill_after(words, folder, folder / killed / "models/last.pt", saves)
    assert not (folder / killed / "models/model_4.pt").exists(), "it was killed too late"
    said = typed(words)
    assert "continue from" in said
    assert (folder / killed / "metrics.csv").read_bytes() == (
        folder / whole / "metrics.csv"
    ).read_bytes()
    for name in ("model_4.pt", "best_model.pt"):
        expected, found = (
            weights(folder / whole / "models" / name),
            weights(folder / killed / "models" / name),
        )
        assert expected.keys() == found.keys()
        assert all(torch.equal(expected[key], found[key]) for key in expected), (
            f"after {saves} saves"
        )


def test_ranks_hold_one_model_at_every_save_and_stop_together(prepared):
    folder, typed = prepared
    words = train_command("exp/ranks", "raw", 2, "--num_epochs 9 --early_stop_patience 2")
    script = str(ROOT / "tests/e2e/train_and_compare_ranks.py")
    words[words.index("wedefense_lite/bin/train.py")] = script
    said = typed(words)
    assert said.count("ranks are equal") == 3, said  # the best epoch and two without improvement
    rows = list(csv.DictReader((folder / "exp/ranks/metrics.csv").read_text().splitlines()))
    assert [row["epoch"] for row in rows] == ["1", "2", "3"]


def test_dev_eer_of_training_is_that_of_stages_4_to_7(prepared):
    folder, typed = prepared
    typed(train_command("exp/two", "raw", 2, "--num_epochs 2 --num_avg 1"))
    rows = list(csv.DictReader((folder / "exp/two/metrics.csv").read_text().splitlines()))
    bin_dir, model = "python wedefense_lite/bin", "exp/two/models/model_2.pt"
    config = "--config exp/two/config.yaml"
    typed(
        f"{bin_dir}/extract.py {config} --model_path {model} --data_type raw --data_list data/dev/raw.list "
        "--embed_ark exp/two/dev/embedding.ark"
    )
    typed(
        f"{bin_dir}/infer.py {config} --model_path {model} --embedding_scp_path exp/two/dev/embedding.scp "
        "--out_path exp/two/dev"
    )
    typed(f"{bin_dir}/logits_to_llr.py --logits_scp_path exp/two/dev/logits.scp --pi_spoof 0.05")
    typed(
        f"{bin_dir}/evaluate.py --cm exp/two/dev/llr.txt --cm_key data/dev/cm_key_file.txt --json out.json"
    )
    eer = json.loads((folder / "out.json").read_text())["eer"]
    assert eer == pytest.approx(float(rows[-1]["dev_eer"]), abs=1e-6)


def test_training_again_changes_nothing_and_another_configuration_is_refused(prepared, trained):
    folder, typed = prepared
    before = (folder / trained / "models/model_3.pt").read_bytes()
    typed(train_command(trained, options="--num_epochs 3 --num_avg 2"))
    assert (folder / trained / "models/model_3.pt").read_bytes() == before
    words = train_command(trained, options="--num_epochs 3 --num_avg 2 --training.optimizer.lr 0.5")
    assert "training.optimizer.init_args.lr" in typed(words, status=2)


@pytest.mark.turns("trainings")
def test_another_training_of_two_processes_is_refused_or_overwrites(prepared):
    folder, typed = prepared
    words = train_command("exp/over", "raw", 2, "--num_epochs 3 --num_avg 3")
    typed(words)
    (folder / "exp/over/models/last.pt").unlink()
    other = train_command("exp/over", "raw", 2, "--num_epochs 2 --training.optimizer.lr 0.5")
    said = typed(other, status=1, fresh=True)  # torchrun's own
    assert (
        "train.py: error: exp/over/models holds model_1.pt, model_2.pt, model_3.pt and 1 more of another"
        in said
    )
    typed([*other, "--overwrite", "true"])
    assert not (folder / "exp/over/models/model_3.pt").exists()
    assert len((folder / "exp/over/metrics.csv").read_text().splitlines()) == 3


def test_fewer_utterances_than_a_batch_still_train(prepared):
    folder, typed = prepared
    for name in ("raw.list", "utt2lab"):
        lines = (folder / "data/train" / name).read_text().splitlines()[:4]
        (folder / f"few_{name}").write_text("\n".join(lines) + "\n")
    words = train_command("exp/few", options="--num_epochs 1")
    words[words.index("data/train/raw.list")] = "few_raw.list"
    words[words.index("data/train/utt2lab")] = "few_utt2lab"
    typed(words)
    rows = list(csv.DictReader((folder / "exp/few/metrics.csv").read_text().splitlines()))
    assert [row["step"] for row in rows] == ["1"]
