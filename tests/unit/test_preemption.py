"""A cluster takes its machines back: a training ends on the signal, loses no step, and goes on, on
as many processes as there are then.
"""

import os
import signal
from collections import Counter

import pytest
import tiny
import torch

from wedefense_lite import cli, preemption
from wedefense_lite.files import InputError
from wedefense_lite.scoring.loader import EvalLoader
from wedefense_lite.systems import checkpoint
from wedefense_lite.systems.delivery import read_batches, worker_share
from wedefense_lite.systems.samples import read_training_batch
from wedefense_lite.training import trainer as trainer_module
from wedefense_lite.training.loader import TrainLoader


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpus")
    return {
        "train": tiny.corpus(folder / "train", 12, 0),
        "dev": tiny.corpus(folder / "dev", 6, 1),
    }


def make_trainer(rows, folder, **training):
    """Trainer of two epochs of six steps."""
    settings = {"num_epochs": 2, "data": {"batch_size": 2}} | training
    exp = tiny.experiment(**settings)
    return tiny.trainer(exp, folder, rows["train"], rows["dev"])


def send_in_step(trainer, step: int, number: int) -> None:
    """Send this process a signal while a step of the training is computed, counted from 1."""
    steps = Counter()
    compute = trainer._train_step

    def computed(batch):
        steps["so far"] += 1
        if steps["so far"] == step:
            os.kill(os.getpid(), number)
        return compute(batch)

    trainer._train_step = computed


@pytest.mark.parametrize("number", preemption.SIGNALS, ids=lambda number: number.name)
@pytest.mark.parametrize("step", [1, 4, 6, 9])
def test_the_step_that_a_signal_arrives_in_is_kept_and_training_goes_on_to_the_same_bits(
    rows, tmp_path, number, step
):
    undisturbed = make_trainer(rows, tmp_path / "undisturbed")
    undisturbed.fit()
    stopped = make_trainer(rows, tmp_path / "exp")
    send_in_step(stopped, step, number)
    with pytest.raises(preemption.Preempted, match=f"stopped by {number.name} after step"):
        stopped.fit()
    state = checkpoint.load(tmp_path / "exp/models/last.pt")
    assert state["updates"] == step
    again = make_trainer(rows, tmp_path / "exp")
    assert (again.epoch - 1) * 6 + again.step == step
    again.fit()
    for name, value in undisturbed.task.state_dict().items():
        assert torch.equal(value, again.task.state_dict()[name]), name
    for name in ("metrics.csv", "models/model_2.pt"):
        expected = (tmp_path / "undisturbed" / name).read_bytes()
        assert (tmp_path / "exp" / name).read_bytes() == expected, name


def test_a_group_of_accumulated_batches_is_completed_first(rows, tmp_path):
    stopped = make_trainer(rows, tmp_path, accumulate_steps=3)
    send_in_step(stopped, 4, signal.SIGUSR1)
    with pytest.raises(preemption.Preempted, match="after step 6 of epoch 1"):
        stopped.fit()
    assert checkpoint.load(tmp_path / "models/last.pt")["updates"] == 2


def test_a_validation_is_left_at_once_and_the_epoch_is_not_trained_again(
    rows, tmp_path, monkeypatch
):
    def interrupted(*_):
        os.kill(os.getpid(), signal.SIGTERM)
        raise AssertionError("the signal has not ended the validation")

    with monkeypatch.context() as patched:
        patched.setattr(trainer_module, "validate", interrupted)
        with pytest.raises(preemption.Preempted, match="stopped by SIGTERM"):
            make_trainer(rows, tmp_path).fit()
    again = make_trainer(rows, tmp_path)
    assert (again.epoch, again.step) == (1, 6)
    again.fit()
    assert [row["step"] for row in again.history] == [6, 12]


def test_a_training_that_ends_on_a_signal_has_the_documented_status(capsys):
    with pytest.raises(SystemExit) as ended, cli.one_line_errors("train.py"):
        raise preemption.Preempted("stopped by SIGTERM")
    assert ended.value.code == preemption.EXIT_STATUS == 85
    assert capsys.readouterr().err == "train.py: error: stopped by SIGTERM\n"


def test_before_and_after_a_training_signals_are_what_they_were(rows, tmp_path):
    before = [signal.getsignal(number) for number in preemption.SIGNALS]
    trainer = make_trainer(rows, tmp_path)
    assert [signal.getsignal(number) for number in preemption.SIGNALS] == before
    trainer.fit()
    assert [signal.getsignal(number) for number in preemption.SIGNALS] == before


def test_workers_deliver_for_a_while_after_a_signal_to_all_processes(rows):
    """Slurm signals the workers as well; the batch that the training ends with is still needed."""

    def read(draws, config):
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGUSR1)
        return read_training_batch(draws, config)

    exp = tiny.experiment(data={"batch_size": 2})
    loader = TrainLoader(rows["train"], exp.data, seed=1)
    plan = list(loader.contents(1))
    batches = read_batches(lambda *worker: worker_share(plan, *worker), read, exp.data, 1)
    assert len(list(batches)) == 6


# ---- Another number of processes


def ids_of(rows, world: int, steps: int | None, drawn: int = 0, **data) -> list[str]:
    """Ids that some steps of all ranks draw in an epoch; all that it has left with None."""
    exp = tiny.experiment(data={"batch_size": 2} | data)
    ids = []
    for rank in range(world):
        loader = TrainLoader(rows, exp.data, seed=1, rank=rank, world=world)
        for contents in list(loader.contents(1, 0, drawn))[:steps]:
            ids += [utterance.key for utterance, _ in contents]
    return ids


@pytest.mark.parametrize(("before", "after"), [(2, 1), (1, 2), (2, 3), (3, 2)])
@pytest.mark.parametrize("steps", [1, 2])
def test_an_epoch_that_other_processes_began_draws_each_utterance_once(rows, before, after, steps):
    first = ids_of(rows["train"], before, steps)
    second = ids_of(rows["train"], after, None, drawn=len(first))
    counts = Counter(first + second)
    assert set(counts) == {row.key for row in rows["train"]}
    # The last step of an epoch is filled up with utterances from its beginning.
    filled_up = len(first) + len(second) - len(rows["train"])
    assert filled_up < 2 * after
    assert sum(count - 1 for count in counts.values()) == filled_up


@pytest.mark.parametrize("world", [1, 2, 3])
def test_a_batch_of_all_processes_is_as_large_on_any_number_of_them(rows, world):
    data = {"batch_size": 6, "batch_of": "all"}
    assert len(ids_of(rows["train"], world, 1, **data)) == 6
    # Two steps of six are the epoch.
    ids = ids_of(rows["train"], world, None, **data)
    assert sorted(ids) == sorted(row.key for row in rows["train"])


def test_a_batch_that_processes_cannot_share_evenly_is_refused(rows):
    with pytest.raises(InputError, match="is 6 for all processes, expected a multiple .* 4"):
        ids_of(rows["train"], 4, 1, batch_size=6, batch_of="all")


def test_any_number_of_processes_scores_what_was_trained_by_batches_of_all(rows):
    data = tiny.experiment(data={"batch_size": 4, "batch_of": "all", "eval_seconds": 0.1}).data
    keys = []
    for rank in range(3):
        for batch in EvalLoader(rows["dev"], data, rank, 3):
            keys += batch.keys
    assert sorted(keys) == sorted(row.key for row in rows["dev"])


def test_a_batch_of_all_processes_goes_on_where_another_number_of_them_ended(rows, tmp_path):
    data = {"batch_size": 4, "batch_of": "all"}
    stopped = make_trainer(rows, tmp_path, data=data)
    send_in_step(stopped, 2, signal.SIGUSR1)
    with pytest.raises(preemption.Preempted):
        stopped.fit()
    # One process has drawn in two steps what two draw in two.
    state = checkpoint.load(tmp_path / "models/last.pt")
    checkpoint.save(tmp_path / "models/last.pt", state | {"world": 2})
    again = make_trainer(rows, tmp_path, data=data)
    assert (again.drawn, again.steps_of_epoch, again.updates) == (8, 1, 2)


@pytest.mark.parametrize(("rate_batch", "factor"), [(0, 1), (8, 1), (2, 4), (32, 0.25)])
def test_the_learning_rate_is_scaled_by_the_utterances_of_an_update_where_asked(
    rows, tmp_path, rate_batch, factor
):
    # Two accumulated batches of four.
    settings = {"accumulate_steps": 2, "data": {"batch_size": 4}}
    plain = make_trainer(rows, tmp_path / "plain", **settings)
    scaled = make_trainer(rows, tmp_path / "scaled", rate_batch=rate_batch, **settings)
    rates = [trainer.optimizer.param_groups[0]["lr"] for trainer in (plain, scaled)]
    assert rates[1] == pytest.approx(factor * rates[0], rel=1e-12)


def test_the_learning_rate_is_scaled_anew_for_another_number_of_processes(rows, tmp_path, caplog):
    caplog.set_level("INFO")
    stopped = make_trainer(rows, tmp_path, rate_batch=2)
    send_in_step(stopped, 2, signal.SIGUSR1)
    with pytest.raises(preemption.Preempted):
        stopped.fit()
    # The rates that two processes, with twice the utterances, have saved.
    state = checkpoint.load(tmp_path / "models/last.pt")
    rate = state["optimizer"]["param_groups"][0]["lr"]
    base_rates = [2 * value for value in state["schedule"]["base_lrs"]]
    schedule_state = state["schedule"] | {"base_lrs": base_rates}
    changed = {"world": 2, "step": 1, "schedule": schedule_state}
    checkpoint.save(tmp_path / "models/last.pt", state | changed)
    again = make_trainer(rows, tmp_path, rate_batch=2)
    assert again.optimizer.param_groups[0]["lr"] == pytest.approx(rate)
    again.fit()
    assert "the learning rate is multiplied by 1, as it is meant for 2" in caplog.text


def test_a_training_goes_on_with_another_number_of_processes_and_says_so(rows, tmp_path, caplog):
    caplog.set_level("INFO")
    stopped = make_trainer(rows, tmp_path)
    send_in_step(stopped, 2, signal.SIGUSR1)
    with pytest.raises(preemption.Preempted):
        stopped.fit()
    # What one process has saved after two steps of 2 is what two save after one.
    state = checkpoint.load(tmp_path / "models/last.pt")
    checkpoint.save(tmp_path / "models/last.pt", state | {"world": 2, "step": 1})
    again = make_trainer(rows, tmp_path)
    assert "was trained by 2 processes, now by 1" in caplog.text
    assert "8 of 12 utterances of epoch 1 are left" in caplog.text
    assert (again.epoch, again.step, again.drawn, again.steps_of_epoch) == (1, 0, 4, 4)
    again.fit()
    assert "2 utterances an update: batches of 2, on 1 processes, 1 accumulated" in caplog.text
    # A third of six steps had been done; the schedule has twelve.
    assert [row["step"] for row in again.history] == [6, 12]
    assert checkpoint.load(tmp_path / "models/last.pt")["drawn"] == 0


def test_the_learning_rate_keeps_its_place_in_the_schedule(rows, tmp_path):
    schedule = tiny.Schedule(decay="linear", final_ratio=0.0)
    stopped = make_trainer(rows, tmp_path, schedule=schedule)
    send_in_step(stopped, 6, signal.SIGUSR1)
    with pytest.raises(preemption.Preempted):
        stopped.fit()
    state = checkpoint.load(tmp_path / "models/last.pt")
    expected = state["optimizer"]["param_groups"][0]["lr"]
    # Three steps of four utterances and six of two are the same half of the training.
    schedule_state = state["schedule"] | {"last_epoch": 3}
    changed = {"world": 2, "step": 3, "updates": 3, "schedule": schedule_state}
    checkpoint.save(tmp_path / "models/last.pt", state | changed)
    again = make_trainer(rows, tmp_path, schedule=schedule)
    assert again.updates == 6
    assert again.optimizer.param_groups[0]["lr"] == pytest.approx(expected)


def test_a_step_beyond_the_epoch_is_refused_for_other_processes_too(rows, tmp_path):
    make_trainer(rows, tmp_path, num_epochs=1).fit()
    state = checkpoint.load(tmp_path / "models/last.pt")
    checkpoint.save(tmp_path / "models/last.pt", state | {"world": 2, "epoch": 1, "step": 4})
    with pytest.raises(InputError, match="step 4 is in no epoch"):
        make_trainer(rows, tmp_path, num_epochs=1)
