"""Faults of a training: it ends with the reason, or goes on as if nothing had been."""

import logging
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from functools import partial

import pytest
import tiny
import torch
import torch.distributed as dist
from torch import nn

from wedefense_lite import heartbeat, runtime
from wedefense_lite.augment.noise import AdditiveNoise
from wedefense_lite.bin import train as train_module
from wedefense_lite.bin.average_model import average_model
from wedefense_lite.files import InputError
from wedefense_lite.systems import checkpoint, delivery
from wedefense_lite.systems.config import DataConfig
from wedefense_lite.systems.experiment import load_experiment
from wedefense_lite.training import trainer
from wedefense_lite.training.exp_dir import data_hashes
from wedefense_lite.training.loader import TrainLoader
from wedefense_lite.training.validation import check_classes
from wedefense_lite.weights import tensors_of


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpora")
    return {name: tiny.corpus(folder / name, 8, seed) for seed, name in enumerate(["train", "dev"])}


def fit(rows, folder, **options) -> None:
    options = {"num_epochs": 1} | options
    tiny.trainer(tiny.experiment(**options), folder, rows["train"], rows["dev"]).fit()


# An epoch is complete


class Delivered(TrainLoader):
    """Loader whose workers lose the last batch."""

    def epoch(self, epoch, start_step=0, drawn=0):
        return iter(list(super().epoch(epoch, start_step, drawn))[:-1])


def test_an_epoch_without_some_of_its_batches_ends_the_run(rows, tmp_path):
    exp = tiny.experiment(data={"batch_size": 2})
    loader = Delivered(rows["train"], exp.data, exp.training.seed)
    trained = tiny.Trainer(exp, tiny.ALONE, tmp_path, loader, None)
    with pytest.raises(InputError, match="epoch 1: the data workers delivered 3 of 4 batches"):
        trained.fit()
    assert tiny.files(tmp_path / "models") == []


def test_the_log_says_what_shortens_the_waiting_for_data(rows, tmp_path, monkeypatch, caplog):
    caplog.set_level("INFO")
    monkeypatch.setattr(trainer, "usable_cores", lambda: 4)
    for waited, expected in ((0.4, False), (0.6, True)):
        caplog.clear()
        trained = tiny.trainer(tiny.experiment(), tmp_path, rows["train"])
        trained._log_speed(steps=4, seconds=10, waited=waited)
        assert ("--num_workers 1 or more reads ahead" in caplog.text) == expected
    assert "2 reading processes on 4 cores" in trainer._advice_for_readers(2, 4)
    assert "less augmentation" in trainer._advice_for_readers(3, 4)


def read_by_workers(read_batch, **options) -> list:
    plan = partial(delivery.worker_share, [["first"], ["second"], ["third"]])
    options = {"num_workers": 1} | options
    return list(delivery.read_batches(plan, read_batch, DataConfig(), **options))


def batch_of(keys, config) -> delivery.Batch:
    return delivery.Batch(keys, torch.zeros(1, 8), torch.tensor([8]), torch.tensor([0]))


def batch_or_death(keys, config):
    if keys == ["second"]:
        os.kill(os.getpid(), signal.SIGKILL)
    return batch_of(keys, config)


def batch_or_sleep(keys, config):
    if keys == ["second"]:
        time.sleep(60)
    return batch_of(keys, config)


def test_a_worker_that_is_killed_ends_the_run_in_one_line():
    with pytest.raises(InputError, match="the data workers can't deliver: DataLoader worker") as e:
        read_by_workers(batch_or_death)
    assert "--num_workers 0" in str(e.value)
    assert "\n" not in str(e.value)


def test_a_worker_that_delivers_nothing_is_not_waited_for_without_end(monkeypatch):
    monkeypatch.setenv(runtime.TIMEOUT_VARIABLE, "0.02")
    with pytest.raises(InputError, match="can't deliver: DataLoader timed out after 1.2 seconds"):
        read_by_workers(batch_or_sleep)


def test_a_batch_without_room_in_shared_memory_is_named(monkeypatch):
    def full(tensor):
        raise RuntimeError("unable to allocate shared memory: No space left on device (28)\nmore")

    monkeypatch.setattr(torch.Tensor, "share_memory_", full)
    with pytest.raises(InputError, match=r"first: its batch finds no shared memory.*--shm-size"):
        read_by_workers(batch_of)


def test_the_room_of_shared_memory_is_looked_at_before_workers_start(monkeypatch):
    monkeypatch.setattr(delivery, "free_shared_memory", lambda: 64_000_000)
    samples = 32 * 3 * 16000
    delivery.check_shared_memory(samples, num_workers=4)
    with pytest.raises(InputError, match=r"12 workers need 73.7 MB.*64 MB are free: --num_workers"):
        read_by_workers(batch_of, num_workers=12, samples=samples)


def test_auto_takes_as_many_workers_as_shared_memory_has_room_for(monkeypatch, caplog):
    """Eight of a machine with a GPU, in a container with Docker's 64 MB."""
    monkeypatch.setattr(delivery, "reading_processes", lambda setting: 8)
    samples = 32 * 3 * 16000
    for free, expected in [(64_000_000, 8), (20_000_000, 3), (1_000_000, 0), (None, 8)]:
        monkeypatch.setattr(delivery, "free_shared_memory", lambda free=free: free)
        assert delivery.readers_that_fit("auto", samples) == expected
        assert delivery.readers_that_fit("auto", 0) == 8
    assert "0 workers read ahead in place of 8" in caplog.text


def test_without_workers_nothing_is_in_shared_memory(rows, monkeypatch):
    def full(tensor):
        raise RuntimeError("unable to allocate shared memory: No space left on device (28)")

    monkeypatch.setattr(torch.Tensor, "share_memory_", full)
    exp = tiny.experiment(data={"num_workers": 0})
    assert len(list(TrainLoader(rows["train"], exp.data, seed=1).epoch(1))) > 0
    exp = tiny.experiment(data={"num_workers": 1})
    with pytest.raises(InputError, match="workers need .* of shared memory for what they read"):
        TrainLoader(rows["train"], exp.data, seed=1)


def test_training_says_how_much_a_batch_holds(rows, monkeypatch):
    monkeypatch.setattr(delivery, "free_shared_memory", lambda: 102_399)
    exp = tiny.experiment(data={"num_workers": 2})
    with pytest.raises(InputError, match="2 workers need 0.102 MB of shared memory"):
        list(TrainLoader(rows["train"], exp.data, seed=1).epoch(1))


# Processes


def test_a_process_that_is_silent_is_noticed_by_the_one_before_it():
    store = dist.HashStore()
    first, second, third = (heartbeat.Heartbeat(store, rank, 3) for rank in range(3))
    for _ in range(5):
        first.beat()
        third.beat()
    assert (first.watched, first.silent_beats) == (1, 4)
    assert (third.watched, third.silent_beats) == (0, 0)
    second.beat()
    first.beat()
    assert first.silent_beats == 0


def test_a_process_that_has_ended_is_not_waited_for():
    store = dist.HashStore()
    first, second, third = (heartbeat.Heartbeat(store, rank, 3) for rank in range(3))
    second.end()
    for _ in range(4):
        first.beat()
    assert (first.watched, first.silent_beats) == (2, 3)
    third.end()
    first.beat()
    assert (first.watched, first.silent_beats) == (0, 0)


@pytest.mark.parametrize("minutes", ["0", "-1", "nan", "soon", "1e3"])
def test_a_longest_wait_is_a_number_of_minutes(monkeypatch, minutes):
    monkeypatch.setenv(runtime.TIMEOUT_VARIABLE, minutes)
    with pytest.raises(InputError, match="WEDEFENSE_TIMEOUT is .*expected a number of minutes"):
        runtime.longest_wait(runtime.TRAINING_TIMEOUT)


def test_ranks_wait_for_each_other_for_minutes_not_days(monkeypatch):
    assert runtime.longest_wait(runtime.TRAINING_TIMEOUT).total_seconds() == 30 * 60
    monkeypatch.setenv(runtime.TIMEOUT_VARIABLE, "1.5")
    assert runtime.longest_wait(runtime.TRAINING_TIMEOUT).total_seconds() == 90


@pytest.mark.parametrize("size", [1, 2, 3])
def test_both_ranks_see_both_classes_of_balanced_batches(rows, size):
    exp = tiny.experiment(data={"balance_classes": True, "batch_size": size})
    for rank in (0, 1):
        loader = TrainLoader(rows["train"], exp.data, seed=1, rank=rank, world=2)
        labels = torch.cat([batch.labels_B for batch in loader.epoch(1)])
        assert set(labels.tolist()) == {0, 1}


# One class


@pytest.mark.parametrize("label", ["spoof", "bonafide"])
def test_a_training_set_of_one_class_is_refused(rows, tmp_path, label):
    few = [replace(row, label=label) for row in rows["train"]]
    other = {"spoof": "bonafide", "bonafide": "spoof"}[label]
    with pytest.raises(InputError, match=f"the training set has no {other}"):
        fit(rows | {"train": few}, tmp_path)


@pytest.mark.parametrize("label", ["spoof", "bonafide"])
def test_a_dev_set_of_one_class_is_refused(rows, label):
    check_classes(rows["dev"])
    other = {"spoof": "bonafide", "bonafide": "spoof"}[label]
    with pytest.raises(InputError, match=f"the dev set has no {other}"):
        check_classes([replace(row, label=label) for row in rows["dev"]])


def test_a_dev_set_of_one_class_is_refused_before_the_first_step(rows, tmp_path):
    train_list, train_labels = tiny.write_lists(tmp_path / "train", rows["train"])
    bonafide = [row for row in rows["dev"] if row.label == "bonafide"]
    val_list, val_labels = tiny.write_lists(tmp_path / "dev", bonafide)
    with pytest.raises(InputError, match="the dev set has no spoof"):
        train_module.train(
            tiny.parsed(tmp_path),
            tmp_path / "exp",
            train_list,
            train_labels,
            val_list,
            val_labels,
            data_type="raw",
        )
    assert not (tmp_path / "exp/models").exists()


# Numbers


@pytest.mark.parametrize(
    ("section", "name", "value"),
    [
        ("data", "crop_seconds", math.inf),
        ("data", "crop_seconds", 1e9),
        ("data", "crop_seconds", math.nan),
        ("data", "batch_size", 10**12),
        ("data", "num_workers", 10**6),
        ("data", "sample_rate", 10**12),
        ("data", "pre_emphasis", math.inf),
        ("training", "clip_norm", math.nan),
        ("training", "clip_norm", -1.0),
        ("training", "ema_decay", 1.0),
        ("training", "ema_decay", -1.0),
        ("training", "ema_decay", math.nan),
        ("training", "save_step_interval", -1),
        ("training", "seed", -1),
        ("training", "schedule", {"warmup_epochs": -3}),
        ("training", "schedule", {"warmup_epochs": math.nan}),
        ("training", "schedule", {"final_ratio": math.inf}),
    ],
)
def test_a_number_out_of_range_is_refused(tmp_path, section, name, value):
    changes = {"data": {name: value}} if section == "data" else {name: value}
    path = tiny.write_config(tmp_path, **changes)
    with pytest.raises(InputError, match=rf"tiny\.yaml: .*{section}\.{name}.*restriction") as e:
        load_experiment(path)
    assert "\n" not in str(e.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lr": math.nan}, "Invalid learning rate: nan"),
        ({"lr": -1.0}, "Invalid learning rate: -1.0"),
        ({"lr": math.inf}, "lr is inf"),
        ({"lr": 1e10}, r"lr is 1e\+10, expected a rate up to 1000"),
        ({"lr": 1e38}, r"lr is 1e\+38"),
        ({"eps": math.inf}, "eps is inf"),
        ({"weight_decay": math.nan}, "Invalid weight_decay value: nan"),
    ],
)
def test_a_number_that_no_optimizer_takes_is_refused(rows, tmp_path, options, message):
    exp = tiny.experiment()
    exp.training.optimizer = partial(torch.optim.AdamW, **options)
    with pytest.raises(InputError, match=f"training.optimizer: {message}"):
        tiny.trainer(exp, tmp_path, rows["train"])


def test_a_batch_larger_than_the_memory_is_refused(rows):
    exp = tiny.experiment(data={"batch_size": 1 << 20, "crop_seconds": 3600.0})
    with pytest.raises(InputError, match=r"a batch of 1048576 crops of 3600 s takes .* GB"):
        TrainLoader(rows["train"], exp.data, seed=1)


@pytest.mark.parametrize("save_step_interval", [0, 1])
def test_a_training_that_diverges_leaves_finite_checkpoints(rows, tmp_path, save_step_interval):
    exp = tiny.experiment(num_epochs=3, save_step_interval=save_step_interval)
    trained = tiny.trainer(exp, tmp_path, rows["train"])
    update = trained._update

    def diverge() -> None:
        update()
        if trained.epoch == 2:
            with torch.no_grad():
                exp.system.head.linear.bias.fill_(math.inf)

    trained._update = diverge
    with pytest.raises(FloatingPointError, match="finite"):
        trained.fit()
    for path in (tmp_path / "models").glob("*.pt"):
        for name, tensor in tensors_of(checkpoint.load(path)):
            assert tensor.isfinite().all(), f"{path}: {name}"
    assert checkpoint.load(tmp_path / "models/last.pt")["epoch"] == 2


def test_the_largest_rate_ends_in_one_line(rows, tmp_path):
    exp = tiny.experiment(num_epochs=5, lr=1000.0, clip_norm=0.0)
    exp.training.optimizer = partial(torch.optim.SGD, lr=1000.0)
    trained = tiny.trainer(exp, tmp_path, rows["train"])
    for parameter in exp.system.parameters():
        nn.init.constant_(parameter, 1e18)
    with pytest.raises(FloatingPointError):
        trained.fit()


def test_without_a_finite_validation_nothing_is_best(rows, tmp_path, monkeypatch):
    from wedefense_lite.training import trainer as module

    monkeypatch.setattr(module, "validate", lambda *_: {"dev_loss": math.nan})
    fit(rows, tmp_path)
    assert "best_model.pt" not in tiny.files(tmp_path / "models")


# A damaged last.pt


def changed(**changes):
    """Function that changes fields of a checkpoint; None removes one."""

    def change(state: dict) -> dict:
        state = state | changes
        return {name: value for name, value in state.items() if value is not None}

    return change


def of_a_smaller_optimizer(state: dict) -> dict:
    groups = state["optimizer"]["param_groups"]
    return state | {"optimizer": {"state": {}, "param_groups": [*groups, *groups]}}


def with_moments_of_another_shape(state: dict) -> dict:
    for moments in state["optimizer"]["state"].values():
        moments["exp_avg"] = torch.zeros(2, 2, 2)
    return state


def with_another_decay(state: dict) -> dict:
    state["optimizer"]["param_groups"][0]["weight_decay"] = 0.5
    return state


def with_a_rate_of_text(state: dict) -> dict:
    state["optimizer"]["param_groups"][0]["lr"] = "fast"
    return state


def with_another_schedule(state: dict) -> dict:
    state["schedule"]["last_epoch"] = 77
    return state


DAMAGES = {
    "a model of inference": (changed(config=None, optimizer=None), "lacks config"),
    "no optimizer": (changed(optimizer=None), "lacks optimizer"),
    "no sums": (changed(sums=None), "lacks sums"),
    "sums of another shape": (changed(sums=torch.zeros(2)), "sums is a Tensor that can't be"),
    "an epoch of text": (changed(epoch="two"), "epoch is a str that can't be"),
    "an epoch of 0": (changed(epoch=0), "epoch is a int that can't be"),
    "a step of no epoch": (changed(step=99), "step 99 is in no epoch"),
    "a configuration that is no YAML": (changed(config="{a: ["), "config is a str that can't be"),
    "a configuration without sections": (changed(config="a"), "config is a str that can't be"),
    "a history of text": (changed(history=["a"]), "history is a list that can't be"),
    "hashes that are none": (changed(data_hashes=["a"]), "data_hashes are no hashes"),
    "kept epochs of text": (changed(kept=["a"]), "kept are no epochs"),
    "another number of groups": (of_a_smaller_optimizer, "its optimizer is not that of"),
    "moments of another shape": (with_moments_of_another_shape, r"exp_avg of its optimizer is"),
    "another weight decay": (with_another_decay, "its optimizer has weight_decay 0.5"),
    "a rate of text": (with_a_rate_of_text, "its optimizer has the rate 'fast'"),
    "another schedule": (with_another_schedule, "its schedule is at another step"),
    "a model that is a list": (changed(model=[1]), "model is a list that can't be"),
}


@pytest.fixture(scope="module")
def begun(rows, tmp_path_factory):
    """Folder of a training of one epoch."""
    folder = tmp_path_factory.mktemp("begun")
    fit(rows, folder)
    return folder


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_last_is_refused(rows, begun, tmp_path, damage):
    shutil.copytree(begun, tmp_path / "exp")
    change, message = DAMAGES[damage]
    last = tmp_path / "exp/models/last.pt"
    torch.save(change(checkpoint.load(last)), last)
    with pytest.raises(InputError, match=rf"last\.pt: .*{message}") as e:
        fit(rows, tmp_path / "exp")
    assert "\n" not in str(e.value)


def test_a_last_of_before_there_were_lists_of_models_is_continued(rows, begun, tmp_path):
    shutil.copytree(begun, tmp_path / "exp")
    last = tmp_path / "exp/models/last.pt"
    checkpoint.save(last, changed(kept=None, best_epoch=None)(checkpoint.load(last)))
    fit(rows, tmp_path / "exp")


@pytest.mark.parametrize("epoch", [1, 2])
def test_a_training_that_is_continued_leaves_the_same_bytes(rows, tmp_path, epoch):
    def stop(row: dict) -> None:
        if row["epoch"] == epoch:
            raise KeyboardInterrupt

    fit(rows, tmp_path / "whole", num_epochs=3)
    trained = tiny.trainer(tiny.experiment(num_epochs=3), tmp_path / "exp", *rows.values())
    with pytest.raises(KeyboardInterrupt):
        trained.fit(stop)
    fit(rows, tmp_path / "exp", num_epochs=3)
    for path in sorted((tmp_path / "whole/models").iterdir()):
        assert (tmp_path / "exp/models" / path.name).read_bytes() == path.read_bytes(), path.name


def test_a_training_killed_after_the_last_step_of_an_epoch_continues(rows, tmp_path, monkeypatch):
    exp = tiny.experiment(num_epochs=1, save_step_interval=1)
    trained = tiny.trainer(exp, tmp_path, rows["train"], rows["dev"])

    def interrupted(row: dict) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(trained, "_end_epoch", interrupted)
    with pytest.raises(KeyboardInterrupt):
        trained.fit()
    last = checkpoint.load(tmp_path / "models/last.pt")
    assert (last["epoch"], last["step"]) == (1, 2)
    fit(rows, tmp_path, save_step_interval=1)
    assert checkpoint.load(tmp_path / "models/last.pt")["epoch"] == 2


# Files that go


def test_a_folder_that_is_removed_meanwhile_ends_the_run(rows, tmp_path):
    trained = tiny.trainer(tiny.experiment(num_epochs=3), tmp_path / "exp", rows["train"])

    def remove(row: dict) -> None:
        if row["epoch"] == 2:
            shutil.rmtree(tmp_path / "exp")

    with pytest.raises(InputError, match="exp was removed or replaced while it was trained in"):
        trained.fit(remove)


@pytest.mark.parametrize("name", ["model_2.pt", "best_model.pt"])
def test_a_model_whose_weights_are_there_is_made_again(rows, tmp_path, name):
    fit(rows, tmp_path, num_epochs=2)
    path = tmp_path / "models" / name
    before = path.read_bytes()
    path.unlink()
    fit(rows, tmp_path, num_epochs=2)
    assert path.read_bytes() == before


def test_a_model_whose_weights_are_gone_is_named(rows, tmp_path):
    fit(rows, tmp_path, num_epochs=2)
    (tmp_path / "models/model_1.pt").unlink()
    with pytest.raises(InputError, match=r"models/model_1\.pt is missing, which this training"):
        fit(rows, tmp_path, num_epochs=2)


def test_a_model_that_a_killed_run_left_is_removed(rows, tmp_path):
    fit(rows, tmp_path, num_epochs=3)
    before = tiny.files(tmp_path / "models")
    shutil.copy(tmp_path / "models/model_2.pt", tmp_path / "models/model_1.pt")
    fit(rows, tmp_path, num_epochs=3)
    assert tiny.files(tmp_path / "models") == before


def test_descriptions_of_a_finished_training_are_made_again(rows, tmp_path):
    train_list, train_labels = tiny.write_lists(tmp_path, rows["train"])
    exp_dir = tmp_path / "exp"

    def command() -> None:
        exp = tiny.parsed(tmp_path, num_epochs=1)
        train_module.train(exp, exp_dir, train_list, train_labels, data_type="raw")

    command()
    config = (exp_dir / "config.yaml").read_bytes()
    for name in ("config.yaml", "env.json", "metrics.csv"):
        (exp_dir / name).unlink()
    command()
    assert (exp_dir / "config.yaml").read_bytes() == config
    assert {"env.json", "metrics.csv"} <= set(tiny.files(exp_dir))


# What was trained on


def hashes_with(rows, **sources) -> dict:
    augments = []
    for option, source in sources.items():
        augment = AdditiveNoise()
        augment.option = option
        augment.source = source
        augments.append(augment)
    return data_hashes(rows, augments)


def relabelled(rows):
    label = "bonafide" if rows[0].label == "spoof" else "spoof"
    return [replace(rows[0], label=label), *rows[1:]]


def lengthened(rows):
    return [replace(rows[0], samples=rows[0].samples + 1), *rows[1:]]


@pytest.mark.parametrize(
    ("change", "sources", "option"),
    [
        (relabelled, {}, "--train_label"),
        (lengthened, {}, "--train_data"),
        (list, {"noise_data": "b"}, "--noise_data"),
        (list, {"reverb_data": "b"}, "--reverb_data"),
    ],
)
def test_what_has_changed_since_is_named(rows, change, sources, option):
    from wedefense_lite.training.exp_dir import other_data

    same = {"noise_data": "a", "reverb_data": "a"}
    before = hashes_with(rows["train"], **same)
    after = hashes_with(change(rows["train"]), **(same | sources))
    assert other_data(before, before) == ""
    assert other_data(before, after) == option
    old = {name: before[name] for name in ("list", "segments", "stems")}
    assert option in other_data(old, after)


# One run a folder


def locked_elsewhere(folder):
    """Let another process hold a folder; its own end is what releases it."""
    script = (
        "import sys, time; from wedefense_lite.files import folder_lock\n"
        "with folder_lock(sys.argv[1], 'training'):\n    print(flush=True); time.sleep(60)"
    )
    process = subprocess.Popen([sys.executable, "-c", script, str(folder)], stdout=subprocess.PIPE)
    process.stdout.readline()
    return process


def test_a_second_run_in_a_folder_is_refused(rows, tmp_path):
    fit(rows, tmp_path / "exp")
    (tmp_path / "exp/config.yaml").write_text(tiny.parsed(tmp_path).text)
    train_list, train_labels = tiny.write_lists(tmp_path, rows["train"])
    holder = locked_elsewhere(tmp_path / "exp")
    try:
        with pytest.raises(InputError, match="exp: in use by training, process"):
            train_module.train(
                tiny.parsed(tmp_path), tmp_path / "exp", train_list, train_labels, data_type="raw"
            )
        with pytest.raises(InputError, match="exp: in use by training, process"):
            average_model(str(tmp_path / "avg.pt"), str(tmp_path / "exp/models"), 1)
    finally:
        holder.kill()
        holder.wait()
    average_model(str(tmp_path / "avg.pt"), str(tmp_path / "exp/models"), 1)


def test_a_log_on_a_full_disk_ends_the_training(tmp_path):
    log = train_module.LogFile("/dev/full")
    record = logging.makeLogRecord({"msg": "text"})
    with pytest.raises(InputError, match="/dev/full: can't be written: .*No space left"):
        log.handle(record)
