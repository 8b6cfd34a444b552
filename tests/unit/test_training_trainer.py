"""The trainer: what one step does, what is kept, what is best, when it ends, and how it
continues.
"""

import copy
import csv
import math
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import tiny
import torch
from torch import nn

from wedefense_lite import runtime
from wedefense_lite.audio.segments import Segments
from wedefense_lite.augment.base import WhiteNoise
from wedefense_lite.bin.average_model import average_model
from wedefense_lite.files import InputError
from wedefense_lite.frontends import SpecAugment
from wedefense_lite.heads import CrossEntropy
from wedefense_lite.metrics.detection import SortedScores
from wedefense_lite.scoring.loader import EvalLoader
from wedefense_lite.systems import checkpoint
from wedefense_lite.systems.batch import Batch
from wedefense_lite.training import trainer as module
from wedefense_lite.training.loader import TrainLoader
from wedefense_lite.training.validation import validate


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpora")
    return {name: tiny.corpus(folder / name, 8, seed) for seed, name in enumerate(["train", "dev"])}


def epochs(exp, folder, rows, validations=None, **loops):
    """Train; with ``validations`` dev results are made up: ``(eer, loss)`` an epoch."""
    trained = tiny.trainer(exp, folder, rows["train"], rows["dev"])
    trained.fit(**loops)
    return trained


def metrics(folder) -> list[dict[str, str]]:
    with open(folder / "metrics.csv", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def made_up(monkeypatch):
    """Let validation return given ``(eer, loss)`` pairs in turn, and training do nothing."""

    def use(*results):
        left = iter(results)

        def fake_validate(task, loader, place):
            eer, loss = next(left)
            return {"dev_loss": loss, "dev_eer": eer}

        monkeypatch.setattr(module, "validate", fake_validate)

    return use


# One step


def weights_after(rows, folder, batch_size, **training):
    training |= {"num_epochs": 1, "clip_norm": 0.0}
    exp = tiny.experiment(tiny.MeanFrame, data={"batch_size": batch_size}, **training)
    # Not Adam, to which the size of a gradient is all the same.
    exp.training.optimizer = partial(torch.optim.SGD, lr=0.01)
    tiny.trainer(exp, folder, rows["train"]).fit()
    return {name: value.clone() for name, value in exp.system.state_dict().items()}


@pytest.mark.parametrize(("batch_size", "every"), [(4, 2), (2, 4), (2, 9)])
def test_accumulated_gradients_are_those_of_the_large_batch(rows, tmp_path, batch_size, every):
    large = weights_after(rows, tmp_path / "large", 8)
    parts = weights_after(rows, tmp_path / "parts", batch_size, accumulate_steps=every)
    for name, value in large.items():
        torch.testing.assert_close(parts[name], value, rtol=1e-5, atol=1e-6)


def test_accumulation_steps_once_a_group(rows, tmp_path):
    exp = tiny.experiment(data={"batch_size": 2}, accumulate_steps=3, num_epochs=3)
    epochs(exp, tmp_path, rows)
    assert [row["step"] for row in metrics(tmp_path)] == ["2", "4", "6"], "4 batches are 3 and 1"


def gradient_norm(trained) -> float:
    seen = {}
    step = trained.optimizer.step

    def spy(*arguments, **options):
        parameters = trained.task.parameters()
        seen["norm"] = math.sqrt(sum(p.grad.square().sum().item() for p in parameters))
        return step(*arguments, **options)

    trained.optimizer.step = spy
    trained.fit()
    return seen["norm"]


def test_the_gradient_is_clipped_where_it_is_asked_for(rows, tmp_path):
    free, clipped = (
        gradient_norm(
            tiny.trainer(
                tiny.experiment(num_epochs=1, clip_norm=norm, data={"batch_size": 8}),
                tmp_path / str(norm),
                rows["train"],
            )
        )
        for norm in (0.0, 1e-3)
    )
    assert free > 0.1
    assert clipped == pytest.approx(1e-3, rel=1e-2)


def test_sharpness_aware_steps_take_the_gradient_up_the_hill(rows, tmp_path):
    """One step, worked out: a pass, the weights moved by the radius, and the gradient there."""
    radius, rate = 0.5, 0.1
    exp = tiny.experiment(
        num_epochs=1, clip_norm=0.0, sam_radius=radius, data={"batch_size": 8}, precision="fp32"
    )
    exp.training.optimizer = partial(torch.optim.SGD, lr=rate)
    trained = tiny.trainer(exp, tmp_path, rows["train"])
    expected = copy.deepcopy(exp.system).train()
    batch = next(trained.train_loader.epoch(1)).to("cpu")
    parameters = list(expected.parameters())
    first = torch.autograd.grad(expected(batch)[0], parameters)
    buffers = {name: value.clone() for name, value in expected.named_buffers()}
    norm = torch.stack([gradient.norm() for gradient in first]).norm()
    with torch.no_grad():
        for parameter, gradient in zip(parameters, first):
            parameter += radius * gradient / norm
    second = torch.autograd.grad(expected(batch)[0], parameters)
    with torch.no_grad():
        for parameter, up, gradient in zip(parameters, first, second):
            parameter -= radius * up / norm + rate * gradient
    trained.fit()
    for name, value in exp.system.named_parameters():
        torch.testing.assert_close(value, expected.get_parameter(name), rtol=1e-4, atol=1e-6)
    for name, value in exp.system.named_buffers():
        assert torch.equal(value, buffers[name]), f"{name} is of the first pass"


def test_sharpness_aware_steps_are_of_one_batch(tmp_path):
    with pytest.raises(InputError, match="sam_radius is 0.1 and accumulate_steps 2"):
        tiny.parsed(tmp_path, sam_radius=0.1, accumulate_steps=2)


def test_the_head_has_an_optimizer_of_its_own_with_the_same_course_of_the_rate(rows, tmp_path):
    schedule = tiny.Schedule(decay="step", step_epochs=1, step_ratio=0.5)
    exp = tiny.experiment(num_epochs=2, schedule=schedule)
    exp.training.head_optimizer = partial(torch.optim.SGD, lr=0.2)
    trained = tiny.trainer(exp, tmp_path, rows["train"])
    of_head = trained.optimizers["head_optimizer"].param_groups
    assert [id(value) for value in of_head[0]["params"]] == [
        id(value) for value in exp.system.head.parameters()
    ]
    num_others = sum(len(group["params"]) for group in trained.optimizer.param_groups)
    num_all = len(list(exp.system.parameters()))
    assert num_others + len(of_head[0]["params"]) == num_all
    before = exp.system.head.linear.weight.clone()
    rates = []
    trained.fit(on_epoch=lambda row: rates.append(of_head[0]["lr"]))
    assert rates == pytest.approx([0.1, 0.05])
    assert not torch.equal(exp.system.head.linear.weight, before)


def test_a_head_without_parameters_has_no_optimizer(rows, tmp_path):
    exp = tiny.experiment()
    exp.training.head_optimizer = partial(torch.optim.SGD, lr=0.2)
    exp.system.head.requires_grad_(False)
    with pytest.raises(InputError, match="head_optimizer: the system has no head with parameters"):
        tiny.trainer(exp, tmp_path, rows["train"])


def test_the_moving_average_is_what_is_validated_and_saved(rows, tmp_path):
    """By hand: e = 0.7 e + 0.3 w at each step; counters are copied."""
    exp = tiny.experiment(data={"batch_size": 8}, ema_decay=0.7, num_epochs=2)
    trained = tiny.trainer(exp, tmp_path, rows["train"], rows["dev"])
    expected = {name: value.clone() for name, value in exp.system.state_dict().items()}

    def follow(_row):
        for name, value in exp.system.state_dict().items():
            expected[name] = (
                0.7 * expected[name] + 0.3 * value if value.is_floating_point() else value
            )

    trained.fit(follow)
    saved = checkpoint.load(tmp_path / "models/model_2.pt")["model"]
    for name, value in expected.items():
        torch.testing.assert_close(saved[name], value.clone(), rtol=1e-5, atol=1e-6)
        assert saved[name].dtype == value.dtype
    dev = EvalLoader(rows["dev"], exp.data)
    row = metrics(tmp_path)[-1]
    assert float(row["dev_loss"]) == validate(trained.ema, dev, tiny.ALONE)["dev_loss"]
    assert float(row["dev_loss"]) != validate(trained.task, dev, tiny.ALONE)["dev_loss"]


@pytest.mark.parametrize("save_step_interval", [0, 1])
def test_a_loss_that_is_not_finite_names_its_utterances(rows, tmp_path, save_step_interval):
    exp = tiny.experiment(save_step_interval=save_step_interval)
    trained = tiny.trainer(exp, tmp_path, rows["train"])
    forward, seen = exp.system.forward, []

    def poisoned(batch: Batch):
        loss, *decided = forward(batch)
        seen.append(batch.keys)
        return (loss * math.nan if len(seen) == 3 else loss), *decided

    exp.system.forward = poisoned
    with pytest.raises(FloatingPointError) as caught:
        trained.fit()
    assert f"epoch 2, step 1: {' '.join(seen[2])}" in str(caught.value)
    last = checkpoint.load(tmp_path / "models/last.pt")["model"]
    assert all(value.isfinite().all() for value in last.values()), "last.pt stays usable"


@pytest.mark.parametrize("precision", ["fp32", "tf32", "bf16"])
def test_training_learns_to_score_bona_fide_speech_higher(rows, tmp_path, precision):
    exp = tiny.experiment(num_epochs=20, precision=precision, data={"batch_size": 2})
    epochs(exp, tmp_path, rows | {"dev": rows["train"]})
    rows_of_epochs = metrics(tmp_path)
    assert float(rows_of_epochs[-1]["dev_eer"]) < 0.1
    # An epoch has eight crops, so one alone says little.
    accuracies = [float(row["train_accuracy"]) for row in rows_of_epochs[10:]]
    assert np.mean(accuracies) > 0.65


def test_training_masks_frames_and_validation_does_not(rows, tmp_path):
    modes = []

    class Spy(SpecAugment):
        def forward(self, frames_BFD):
            modes.append(self.training)
            return super().forward(frames_BFD)

    epochs(tiny.experiment(spec_augment=Spy(), num_epochs=1), tmp_path, rows)
    assert modes == [True] * 2 + [False] * 8


# Validation


def test_validation_scores_the_whole_dev_set_whole_and_once(rows):
    exp = tiny.experiment(data={"augment": [lambda wav, rng: wav * 0]})
    scored = {}

    def embed(batch: Batch):
        assert not exp.system.training
        scored.update(zip(batch.keys, batch.lengths_B.tolist()))
        return type(exp.system).embed(exp.system, batch)

    exp.system.embed = embed
    found = validate(exp.system, EvalLoader(rows["dev"], exp.data), tiny.ALONE)
    assert scored == {row.key: row.samples for row in rows["dev"]}
    scores = {0: [], 1: []}
    losses = []
    for row in rows["dev"]:
        (batch,) = EvalLoader([row], exp.data)
        with torch.no_grad():
            loss, logits, _ = exp.system(batch.to("cpu"))
        losses.append(loss.item())
        scores[batch.labels_B.item()].append((logits[0, 1] - logits[0, 0]).item())
    assert found["dev_loss"] == pytest.approx(sum(losses) / len(losses))
    assert found["dev_eer"] == pytest.approx(SortedScores(scores[1], scores[0]).eer().value)


def test_validation_is_the_same_with_any_batch_size(rows):
    """Class weights are no weights of utterances: the mean of a batch would have them, that of one
    has not.
    """
    exp = tiny.experiment(head=partial(CrossEntropy, class_weights=(0.1, 0.9)))
    one, four = (
        validate(exp.system, EvalLoader(rows["dev"], exp.data, batch_size=size), tiny.ALONE)
        for size in (1, 4)
    )
    assert one == pytest.approx(four, rel=1e-5)


def test_validation_refuses_to_miss_an_utterance(rows, monkeypatch):
    exp = tiny.experiment()
    loader = EvalLoader(rows["dev"], exp.data)
    read = EvalLoader.__iter__
    monkeypatch.setattr(
        EvalLoader, "__iter__", lambda self: read(EvalLoader(rows["dev"][1:], exp.data))
    )
    with pytest.raises(InputError, match="scored 7 utterances of 8"):
        validate(exp.system, loader, tiny.ALONE)


def test_a_dev_score_that_is_not_finite_names_its_utterance(rows):
    exp = tiny.experiment()
    nn.init.constant_(exp.system.head.linear.bias, math.nan)
    with pytest.raises(InputError, match="the score of dev.. is nan"):
        validate(exp.system, EvalLoader(rows["dev"], exp.data), tiny.ALONE)


# The prior that the loss saw


@pytest.mark.parametrize(
    ("weights", "balanced", "expected"),
    [
        (None, False, [5 / 8, 3 / 8]),
        (None, True, [0.5, 0.5]),
        ((3.0, 5.0), False, [0.5, 0.5]),
        ((1.0, 3.0), True, [0.25, 0.75]),
    ],
)
def test_every_checkpoint_says_what_prior_the_loss_saw(rows, tmp_path, weights, balanced, expected):
    def head(dim):
        return CrossEntropy(dim, class_weights=weights)

    epochs(
        tiny.experiment(head=head, data={"balance_classes": balanced}, num_epochs=1), tmp_path, rows
    )
    for name in ("model_1.pt", "best_model.pt", "last.pt"):
        state = checkpoint.load(tmp_path / "models" / name)
        assert state["class_prior"] == pytest.approx(expected), name
        assert state["labels"] == ["spoof", "bonafide"]


def test_balanced_classes_are_drawn_equally_often(rows):
    exp = tiny.experiment(data={"balance_classes": True})
    drawn = torch.cat(
        [batch.labels_B for batch in TrainLoader(rows["train"], exp.data, seed=1).epoch(1)]
    )
    assert drawn.tolist().count(0) == drawn.tolist().count(1)


# When it ends, and what is best


@pytest.mark.parametrize("patience", [0, -1])
def test_without_patience_training_never_ends_early(rows, tmp_path, made_up, patience):
    made_up(*[(0.1 + epoch / 10, 1.0) for epoch in range(4)])
    epochs(tiny.experiment(num_epochs=4, early_stop_patience=patience), tmp_path, rows)
    assert len(metrics(tmp_path)) == 4


@pytest.mark.parametrize(("patience", "ended"), [(1, 2), (2, 5), (3, 6)])
def test_patience_counts_bad_validations_in_a_row(rows, tmp_path, made_up, patience, ended):
    made_up(*[(eer, 1.0) for eer in (0.3, 0.4, 0.2, 0.2, 0.25, 0.9, 0.1, 0.1)])
    epochs(tiny.experiment(num_epochs=8, early_stop_patience=patience), tmp_path, rows)
    assert len(metrics(tmp_path)) == ended


def test_rank_0_decides_when_training_ends(rows, tmp_path, monkeypatch):
    trained = tiny.trainer(tiny.experiment(), tmp_path, rows["train"])
    for decision in (True, False):
        monkeypatch.setattr(
            module, "broadcast_from_main", lambda process, value, said=decision: said
        )
        assert trained.finished is decision


def test_early_stopping_needs_a_dev_set(rows, tmp_path):
    with pytest.raises(InputError, match="early_stop_patience needs a dev set"):
        tiny.trainer(tiny.experiment(early_stop_patience=1), tmp_path, rows["train"])


def test_the_best_model_has_the_lowest_eer_and_of_those_the_lowest_loss(rows, tmp_path, made_up):
    made_up((0.2, 0.5), (0.1, 0.9), (0.1, 0.7), (0.1, 0.8), (0.3, 0.1))
    epochs(tiny.experiment(num_epochs=5, num_avg=5), tmp_path, rows)
    best = checkpoint.load(tmp_path / "models/best_model.pt")
    assert best["epoch"] == 3
    third = checkpoint.load(tmp_path / "models/model_3.pt")["model"]
    assert all(torch.equal(value, third[name]) for name, value in best["model"].items())


def test_a_first_dev_loss_that_is_no_number_is_not_best_for_ever(rows, tmp_path, monkeypatch):
    """Separation has a loss alone, and NaN compares as neither better nor worse."""
    losses = iter((math.nan, 0.5, math.nan))
    monkeypatch.setattr(module, "validate", lambda *_: {"dev_loss": next(losses)})
    trained = epochs(tiny.experiment(num_epochs=3), tmp_path, rows)
    assert checkpoint.load(tmp_path / "models/best_model.pt")["epoch"] == 2
    assert trained.best == [0.0, 0.5]


def test_validation_comes_at_its_interval_and_after_the_last_epoch(rows, tmp_path, made_up):
    made_up((0.2, 1.0), (0.1, 1.0), (0.3, 1.0))
    epochs(tiny.experiment(num_epochs=5, validate_interval=2), tmp_path, rows)
    assert [row["dev_eer"] for row in metrics(tmp_path)] == ["", "0.2", "", "0.1", "0.3"]


def test_without_a_dev_set_there_is_no_best_model(rows, tmp_path):
    tiny.trainer(tiny.experiment(), tmp_path, rows["train"]).fit()
    assert tiny.files(tmp_path / "models") == ["last.pt", "model_1.pt", "model_2.pt"]
    assert [row["dev_loss"] for row in metrics(tmp_path)] == ["", ""]


@pytest.mark.parametrize(
    ("interval", "num_avg", "kept"),
    [
        (1, 2, [1, 2, 3, 4, 5]),
        (3, 2, [3, 4, 5]),
        (2, 1, [2, 4, 5]),
        (0, 2, [4, 5]),
        (0, 9, [1, 2, 3, 4, 5]),
        (0, 0, []),
        (0, -1, []),
        (None, 2, [4, 5]),
    ],
)
def test_epochs_that_are_kept(rows, tmp_path, interval, num_avg, kept):
    options = {} if interval is None else {"save_epoch_interval": interval}
    epochs(tiny.experiment(num_epochs=5, num_avg=num_avg, **options), tmp_path, rows)
    names = [f"model_{epoch}.pt" for epoch in kept]
    assert tiny.files(tmp_path / "models") == sorted(["best_model.pt", "last.pt", *names])


def test_epochs_that_were_best_in_their_time_are_kept_for_their_average(rows, tmp_path, made_up):
    made_up((0.4, 1), (0.5, 1), (0.3, 1), (0.3, 2), (0.6, 1), (0.5, 1))
    epochs(tiny.experiment(num_epochs=6, num_avg=1, average="best"), tmp_path, rows)
    names = [f"model_{epoch}.pt" for epoch in (1, 3, 4, 6)]
    assert tiny.files(tmp_path / "models") == ["best_model.pt", "last.pt", *names]


def test_the_average_of_the_best_epochs_needs_a_dev_set(rows, tmp_path):
    with pytest.raises(InputError, match="average: best needs a dev set"):
        tiny.trainer(tiny.experiment(average="best"), tmp_path, rows["train"])


def test_a_training_that_ends_early_leaves_what_is_averaged(rows, tmp_path, made_up):
    made_up((0.1, 1.0), (0.2, 1.0), (0.3, 1.0), (0.4, 1.0))
    epochs(tiny.experiment(num_epochs=9, early_stop_patience=3, num_avg=3), tmp_path, rows)
    names = ["best_model.pt", "last.pt", "model_2.pt", "model_3.pt", "model_4.pt"]
    assert tiny.files(tmp_path / "models") == names
    average_model(str(tmp_path / "avg.pt"), str(tmp_path / "models"), 3)


def test_metrics_have_a_row_an_epoch_and_no_clock(rows, tmp_path):
    seen = []
    epochs(tiny.experiment(), tmp_path, rows, on_epoch=seen.append)
    header = "epoch,step,lr,train_loss,train_accuracy,dev_loss,dev_eer"
    assert (tmp_path / "metrics.csv").read_text().splitlines()[0] == header
    assert [[row["epoch"], row["step"], row["lr"]] for row in metrics(tmp_path)] == [
        ["1", "2", "0.01"],
        ["2", "4", "0.01"],
    ]
    assert [{key: str(value) for key, value in row.items()} for row in seen] == metrics(tmp_path)


# Continuing


class Killed(Exception):
    """What a power cut is to a test."""


def killed_after(trained, steps: int):
    step, done = trained._train_step, []

    def counted(batch):
        if len(done) == steps:
            raise Killed
        done.append(batch)
        return step(batch)

    trained._train_step = counted
    return trained


RESUMED = {
    "plain": {},
    "average and accumulation": {"ema_decay": 0.9, "accumulate_steps": 2},
    "patience": {"early_stop_patience": 2},
    "validation now and then": {"validate_interval": 2},
    "sharpness-aware": {"sam_radius": 0.05},
    "optimizer of the head": {"head_optimizer": partial(torch.optim.SGD, lr=0.1, momentum=0.9)},
}


def whole_and_killed(rows, tmp_path, steps, **options):
    """Outputs of training at a stretch, and of training killed after some steps and begun again."""

    def make(name):
        exp = tiny.experiment(
            spec_augment=SpecAugment(p=1.0),
            data={"batch_size": 2},
            num_epochs=3,
            schedule=tiny.Schedule(1, "cosine"),
            save_step_interval=1,
            **options,
        )
        return tiny.trainer(exp, tmp_path / name, rows["train"], rows["dev"])

    make("whole").fit()
    with pytest.raises(Killed):
        killed_after(make("killed"), steps).fit()
    make("killed").fit()
    return tmp_path / "whole", tmp_path / "killed"


@pytest.mark.parametrize(
    ("steps", "kind"),
    [
        (0, "plain"),
        (1, "average and accumulation"),
        (4, "plain"),
        (6, "patience"),
        (11, "validation now and then"),
        (5, "sharpness-aware"),
        (7, "optimizer of the head"),
    ],
)
def test_training_killed_and_begun_again_gives_the_same_bits(rows, tmp_path, steps, kind):
    options = RESUMED[kind]
    whole, killed = whole_and_killed(rows, tmp_path, steps, **options)
    assert (killed / "metrics.csv").read_bytes() == (whole / "metrics.csv").read_bytes()
    assert tiny.files(killed / "models") == tiny.files(whole / "models")
    for name in tiny.files(whole / "models"):
        first, second = (checkpoint.load(folder / "models" / name) for folder in (whole, killed))
        assert_same(first, second, name)


def assert_same(first, second, where):
    if isinstance(first, dict):
        assert first.keys() == second.keys(), where
        for key in first:
            assert_same(first[key], second[key], f"{where}: {key}")
    elif isinstance(first, torch.Tensor):
        assert torch.equal(first, second), where
    else:
        assert first == second, where


def test_a_resumed_run_remembers_what_was_best_and_for_how_long(rows, tmp_path, made_up):
    made_up((0.1, 1.0), (0.2, 1.0), (0.3, 1.0), (0.15, 1.0))
    options = {"num_epochs": 9, "early_stop_patience": 3}
    trained = tiny.trainer(tiny.experiment(**options), tmp_path, rows["train"], rows["dev"])
    with pytest.raises(Killed):
        killed_after(trained, 4).fit()
    epochs(tiny.experiment(**options), tmp_path, rows)
    assert len(metrics(tmp_path)) == 4
    assert checkpoint.load(tmp_path / "models/best_model.pt")["epoch"] == 1


def test_a_plateau_lowers_the_rate_from_the_next_step_on_and_is_resumed(rows, tmp_path, made_up):
    options = {
        "num_epochs": 6,
        "schedule": tiny.Schedule(decay="plateau", patience=2, step_ratio=0.5),
        "save_step_interval": 1,
    }
    results = [(0.1, loss) for loss in (1.0, 1.0, 1.1, 1.2, 1.3, 0.9)]
    made_up(*results)
    trained = tiny.trainer(
        tiny.experiment(**options), tmp_path / "whole", rows["train"], rows["dev"]
    )
    next_rates = []
    trained.fit(on_epoch=lambda row: next_rates.append(trained.optimizer.param_groups[0]["lr"]))
    rates = [float(row["lr"]) for row in metrics(tmp_path / "whole")]
    assert rates == pytest.approx([0.01, 0.01, 0.01, 0.005, 0.005, 0.0025])
    assert next_rates == pytest.approx([*rates[1:], 0.0025])
    made_up(*results)
    folder = tmp_path / "killed"
    trained = tiny.trainer(tiny.experiment(**options), folder, rows["train"], rows["dev"])
    steps = 3 * trained.train_loader.steps_per_epoch + 1
    with pytest.raises(Killed):
        killed_after(trained, steps).fit()
    epochs(tiny.experiment(**options), folder, rows)
    assert (folder / "metrics.csv").read_bytes() == (tmp_path / "whole/metrics.csv").read_bytes()
    for name in ("last.pt", "model_6.pt"):
        first = checkpoint.load(tmp_path / "whole/models" / name)
        assert_same(first, checkpoint.load(folder / "models" / name), name)


def test_a_plateau_needs_a_dev_set(rows, tmp_path):
    exp = tiny.experiment(schedule=tiny.Schedule(decay="plateau"))
    with pytest.raises(InputError, match="--val_data"):
        tiny.trainer(exp, tmp_path, rows["train"])


def test_finished_training_is_not_continued_but_patience_may_grow(rows, tmp_path, made_up):
    made_up((0.1, 1.0), (0.2, 1.0), (0.3, 1.0))
    epochs(tiny.experiment(num_epochs=3, early_stop_patience=1), tmp_path, rows)
    epochs(tiny.experiment(num_epochs=3, early_stop_patience=1), tmp_path, rows)
    assert len(metrics(tmp_path)) == 2
    epochs(tiny.experiment(num_epochs=3, early_stop_patience=0), tmp_path, rows)
    assert len(metrics(tmp_path)) == 3


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"lr": 0.5}, "training.lr"),
        ({"seed": 2}, "training.seed"),
        ({"data": {"batch_size": 2}}, "data.batch_size"),
    ],
)
def test_another_configuration_is_not_continued(rows, tmp_path, changes, named):
    epochs(tiny.experiment(num_epochs=1), tmp_path, rows)
    before = (tmp_path / "models/last.pt").read_bytes()
    with pytest.raises(InputError, match=rf"another {named}: take another --exp_dir"):
        epochs(tiny.experiment(num_epochs=1, **changes), tmp_path, rows)
    assert (tmp_path / "models/last.pt").read_bytes() == before


def test_another_list_is_not_continued(rows, tmp_path):
    epochs(tiny.experiment(num_epochs=1), tmp_path, rows)
    with pytest.raises(InputError, match="another --train_data"):
        epochs(tiny.experiment(num_epochs=1), tmp_path, rows | {"train": rows["train"][:-1]})


def test_another_list_of_noises_is_not_continued(rows, tmp_path):
    noises = WhiteNoise()
    noises.source = "one list"
    epochs(tiny.experiment(num_epochs=1, data={"augment": [noises]}), tmp_path, rows)
    noises.source = "another"
    with pytest.raises(InputError, match="another list"):
        epochs(tiny.experiment(num_epochs=1, data={"augment": [noises]}), tmp_path, rows)


def segmented(rows, label: int):
    """The rows, each of two halves of which the first has the label."""
    changed = []
    for row in rows:
        end = row.samples / tiny.RATE
        halves = Segments(
            np.array([0.0, end / 2]), np.array([end / 2, end]), np.array([label, 1 - label])
        )
        changed.append(replace(row, segments=halves))
    return changed


def mixed(rows, first: str):
    """The rows as mixtures of two talkers of two classes, with that of the first."""
    changed = []
    for row in rows:
        labels = {1: first, 2: "bonafide" if first == "spoof" else "spoof"}
        stems = [
            replace(row, key=f"{row.key}-{number}", label=label) for number, label in labels.items()
        ]
        changed.append(replace(row, stems=tuple(stems)))
    return changed


@pytest.mark.parametrize(
    ("change", "values", "option"),
    [(segmented, (0, 1), "--train_segments"), (mixed, ("spoof", "bonafide"), "--train_stems")],
)
def test_other_segments_or_stems_are_not_continued(rows, tmp_path, change, values, option):
    first, second = (
        {"train": change(rows["train"], value), "dev": rows["dev"]} for value in values
    )
    epochs(tiny.experiment(num_epochs=1), tmp_path, first)
    epochs(tiny.experiment(num_epochs=1), tmp_path, first)
    for other in (second, rows):
        with pytest.raises(
            InputError, match=rf"last\.pt was trained on another {option}: take another --exp_dir"
        ):
            epochs(tiny.experiment(num_epochs=1), tmp_path, other)


def test_a_last_of_before_there_were_hashes_of_segments_is_continued(rows, tmp_path):
    epochs(tiny.experiment(num_epochs=1), tmp_path, rows)
    state = checkpoint.load(tmp_path / "models/last.pt")
    state["list_hash"] = state.pop("data_hashes")["list"]
    checkpoint.save(tmp_path / "models/last.pt", state)
    epochs(tiny.experiment(num_epochs=1), tmp_path, rows)
    with pytest.raises(InputError, match="another list"):
        epochs(tiny.experiment(num_epochs=1), tmp_path, rows | {"train": rows["train"][:-1]})


def test_every_checkpoint_says_what_it_was_trained_on(rows, tmp_path):
    exp = tiny.experiment(num_epochs=1)
    trained = epochs(exp, tmp_path, rows)
    assert {"list", "segments", "stems", "labels"} <= set(trained.data_hashes)
    for name in ("model_1.pt", "best_model.pt", "last.pt"):
        state = checkpoint.load(tmp_path / "models" / name)
        assert (state["data_hashes"], state["config_hash"]) == (
            trained.data_hashes,
            exp.config_hash,
        ), name


def test_last_holds_all_that_continuing_needs(rows, tmp_path):
    epochs(tiny.experiment(num_epochs=1, ema_decay=0.9), tmp_path, rows)
    state = checkpoint.load(tmp_path / "models/last.pt")
    assert {"model", "optimizer", "schedule", "scaler", "ema", "epoch", "step", "best"} <= set(
        state
    )
    assert {"bad_validations", "labels", "class_prior", "config", "torch"} <= set(state)
    assert len(state["optimizer"]["state"]) == len(list(tiny.experiment().system.parameters()))


# ---- Kernels and precisions


@pytest.mark.parametrize(
    "flags, auto, is_warned",
    [("fpu avx2", "tf32", True), ("fpu avx512_bf16", "bf16", False), ("amx_bf16", "bf16", False)],
)
def test_bf16_is_taken_where_a_processor_has_instructions_for_it(
    tmp_path, monkeypatch, caplog, flags, auto, is_warned
):
    (tmp_path / "cpuinfo").write_text(f"processor : 0\nflags : {flags}\n")
    monkeypatch.setattr(runtime, "CPU_INFO", tmp_path / "cpuinfo")
    device = torch.device("cpu")
    assert runtime.choose_precision(device, "auto") == auto
    assert runtime.choose_precision(device, "bf16") == "bf16"
    assert ("has no instructions for it" in caplog.text) == is_warned
    monkeypatch.setattr(runtime, "CPU_INFO", tmp_path / "none")
    assert runtime.choose_precision(device, "auto") == "tf32"


def test_training_takes_the_precision_that_is_meant(rows, tmp_path, monkeypatch):
    monkeypatch.setattr(runtime, "multiplies_bf16", lambda device: True)
    trained = tiny.trainer(tiny.experiment(precision="auto"), tmp_path, rows["train"])
    assert trained.precision == "bf16"
    _, logits, _ = trained._forward(next(trained.train_loader.epoch(1)).to("cpu"))
    assert logits.dtype == torch.bfloat16


def test_kernels_are_deterministic_unless_asked_otherwise(monkeypatch):
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    device = torch.device("cuda")
    try:
        for deterministic in (True, False):
            runtime.choose_kernels(device, deterministic)
            assert torch.are_deterministic_algorithms_enabled() == deterministic
            assert torch.backends.cuda.flash_sdp_enabled() == (not deterministic)
            assert torch.backends.cudnn.benchmark == (not deterministic)
            runtime.choose_kernels(torch.device("cpu"), not deterministic)
            assert torch.are_deterministic_algorithms_enabled() == deterministic
    finally:
        torch.backends.cudnn.benchmark = False


def test_a_compiled_training_is_the_same_training(rows, tmp_path, monkeypatch):
    """With the backend that computes as uncompiled code does: what is compiled is the whole step,
    and weights keep their names."""
    plain = torch.compile
    compiled = []

    def compile_eagerly(function, *arguments, **options):
        compiled.append(function)
        return plain(function, *arguments, backend="eager", **options)

    monkeypatch.setattr(torch, "compile", compile_eagerly)
    expected = epochs(tiny.experiment(num_epochs=1), tmp_path / "plain", rows)
    assert not compiled
    trained = epochs(tiny.experiment(num_epochs=1, compile=True), tmp_path / "compiled", rows)
    assert len(compiled) == 1
    assert trained.history == expected.history
    states = [one.task.state_dict() for one in (trained, expected)]
    assert states[0].keys() == states[1].keys()
    for name, value in states[0].items():
        torch.testing.assert_close(value, states[1][name], msg=name)
