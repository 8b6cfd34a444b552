"""Stage 4, first half: the mean of the last epochs."""

import shutil
from dataclasses import replace

import pytest
import tiny
import torch

from wedefense_lite.bin.average_model import average_model
from wedefense_lite.files import InputError, write_lines
from wedefense_lite.labels import LABELS
from wedefense_lite.systems import checkpoint
from wedefense_lite.training.loader import TrainLoader


def model(epoch: int, **changes) -> dict:
    weights = {
        "weight": torch.full((2,), float(epoch**2)),
        "half": torch.full((1,), float(epoch), dtype=torch.bfloat16),
        "bn.num_batches_tracked": torch.tensor(10 * epoch),
    }
    state = {"model": weights, "labels": list(LABELS), "class_prior": [0.9, 0.1], "epoch": epoch}
    return state | {"config_hash": "abc"} | changes


@pytest.fixture
def models(tmp_path):
    """Epochs 1 to 12, of which 2 is the best, with everything that lies beside them."""
    for epoch in range(1, 13):
        checkpoint.save(tmp_path / f"model_{epoch}.pt", model(epoch))
    checkpoint.save(tmp_path / "best_model.pt", model(2))
    for other in ("last.pt", "avg_model.pt", "model_final.pt", "model_3.pt.bak"):
        (tmp_path / other).write_bytes(b"not to be read")
    return tmp_path


def averaged(folder, num: int, **options) -> dict:
    average_model(str(folder / "out.pt"), str(folder), num, **options)
    return checkpoint.load(folder / "out.pt")


def test_the_last_epochs_by_number_not_by_name(models):
    state = averaged(models, 3)
    assert state["model"]["weight"].tolist() == [pytest.approx((100 + 121 + 144) / 3)] * 2
    assert (state["epoch"], state["class_prior"], state["labels"]) == (12, [0.9, 0.1], list(LABELS))


def test_without_a_number_the_configuration_says_how_many(models):
    tiny.write_config(models.parent, num_avg=2)
    average_model(str(models / "out.pt"), str(models), config=str(models.parent / "tiny.yaml"))
    assert (
        checkpoint.load(models / "out.pt")["model"]["weight"].tolist()
        == [pytest.approx((121 + 144) / 2)] * 2
    )


def test_the_epochs_that_were_best_in_their_time(models):
    """As AASIST's code averages: equal ones too, none without validation, and nothing of NaN."""
    exp_dir = models / "exp"
    shutil.copytree(models, exp_dir / "models")
    eers = ["nan", "0.4", "", "0.5", "0.3", "0.3", "0.35"]
    rows = [f"{epoch},{eer}" for epoch, eer in enumerate(eers, 1)]
    write_lines(exp_dir / "metrics.csv", ["epoch,dev_eer", *rows])
    config = tiny.write_config(exp_dir, num_avg=1, average="best")
    average_model(str(models / "out.pt"), str(exp_dir / "models"), config=str(config))
    weights = checkpoint.load(models / "out.pt")["model"]["weight"]
    # Epochs 2, 5 and 6, whose weights are the squares of these.
    assert weights.tolist() == [pytest.approx((4 + 25 + 36) / 3)] * 2
    write_lines(exp_dir / "metrics.csv", ["epoch,dev_eer", "1,"])
    with pytest.raises(InputError, match=r"metrics\.csv: no dev EER in it"):
        average_model(str(models / "out.pt"), str(exp_dir / "models"), config=str(config))


def test_types_stay_and_counters_are_the_last_models(models):
    weights = averaged(models, 2)["model"]
    assert weights["bn.num_batches_tracked"].dtype == torch.int64
    assert weights["bn.num_batches_tracked"].item() == 120
    assert weights["half"].dtype == torch.bfloat16


@pytest.mark.parametrize(
    ("options", "epochs"),
    [
        ({"max_epoch": 5}, (4, 5)),
        ({"min_epoch": 11}, (11, 12)),
        ({"min_epoch": 2, "max_epoch": 3}, (2, 3)),
    ],
)
def test_epochs_can_be_limited(models, options, epochs):
    mean = sum(epoch**2 for epoch in epochs) / 2
    assert averaged(models, 2, **options)["model"]["weight"][0] == mean


def test_no_epoch_up_to_0_is_none_at_all(models):
    with pytest.raises(InputError, match="1 epochs to average, but found none"):
        averaged(models, 1, max_epoch=0)


@pytest.mark.parametrize("num", [0, -1])
def test_none_to_average_takes_the_single_best(models, num):
    state = averaged(models, num)
    assert (state["epoch"], state["model"]["weight"][0]) == (2, 4)


def test_fewer_than_asked_for_is_refused(models):
    with pytest.raises(InputError, match="3 epochs to average, but found 4 5"):
        averaged(models, 3, min_epoch=4, max_epoch=5)
    assert not (models / "out.pt").exists()


def test_models_of_two_configurations_are_not_mixed(models):
    checkpoint.save(models / "model_11.pt", model(11, config_hash="other"))
    with pytest.raises(InputError, match=r"model_11\.pt: trained with another configuration"):
        averaged(models, 2)


FIRST, SECOND = ({"list": digit, "segments": digit, "stems": digit} for digit in "12")


@pytest.mark.parametrize(
    ("hashes", "said"),
    [
        ({11: FIRST, 12: SECOND}, r"model_11\.pt: trained on other data than .*model_12\.pt"),
        ({12: SECOND}, r"model_11\.pt: its data_hashes or that of .*model_12\.pt is not known"),
        ({11: SECOND}, r"model_11\.pt: its data_hashes or that of .*model_12\.pt is not known"),
    ],
)
def test_models_of_two_lists_are_not_mixed(models, hashes, said):
    for epoch, data_hashes in hashes.items():
        checkpoint.save(models / f"model_{epoch}.pt", model(epoch, data_hashes=data_hashes))
    with pytest.raises(InputError, match=said):
        averaged(models, 2)
    assert not (models / "out.pt").exists()


def test_an_average_says_what_its_models_were_trained_on(models):
    assert "data_hashes" not in averaged(models, 2), "models of before carry none"
    for epoch in (11, 12):
        checkpoint.save(models / f"model_{epoch}.pt", model(epoch, data_hashes=FIRST))
    assert averaged(models, 2)["data_hashes"] == FIRST


@pytest.fixture
def training(models, tmp_path_factory):
    """The models as those of an experiment that was trained for ten epochs after another one of
    twelve.
    """
    folder = tmp_path_factory.mktemp("exp")
    shutil.copytree(models, folder / "models")
    rows = [f"{epoch},{epoch * 7},0.1" for epoch in range(1, 11)]
    write_lines(folder / "metrics.csv", ["epoch,step,lr", *rows])
    return folder


def test_epochs_that_the_metrics_lack_are_not_averaged(training, caplog):
    state = averaged(training / "models", 2)
    assert state["model"]["weight"][0] == (81 + 100) / 2
    for epoch in (11, 12):
        assert f"model_{epoch}.pt is not used: metrics.csv ends with epoch 10" in caplog.text
    with pytest.raises(
        InputError, match="2 epochs to average, but found 10: train.py keeps as many"
    ):
        averaged(training / "models", 2, min_epoch=10)


def test_a_best_model_of_an_epoch_that_the_metrics_lack_is_refused(training):
    assert averaged(training / "models", 0)["epoch"] == 2
    checkpoint.save(training / "models/best_model.pt", model(12))
    with pytest.raises(
        InputError, match=r"best_model\.pt: of epoch 12, but metrics\.csv ends with epoch 10"
    ):
        averaged(training / "models", 0)


def test_without_metrics_the_log_says_what_is_not_checked(models, training, caplog):
    caplog.set_level("INFO")
    averaged(training / "models", 2)
    assert "no metrics.csv" not in caplog.text
    (training / "metrics.csv").unlink()
    assert averaged(training / "models", 2)["epoch"] == 12
    assert "no metrics.csv" in caplog.text


def test_metrics_that_are_none_are_refused(training):
    (training / "metrics.csv").write_text("epoch,step\nlast,3\n")
    with pytest.raises(InputError, match=r"metrics\.csv:2: epoch 'last', expected a number"):
        averaged(training / "models", 2)


def test_batch_norm_statistics_are_the_plain_average_over_batches(tmp_path):
    rows = tiny.corpus(tmp_path / "train", 8)
    raw_list, _ = tiny.write_lists(tmp_path, rows)
    exp = tiny.parsed(
        tmp_path, data={"augment": [{"class_path": "WhiteNoise", "init_args": {"p": 1.0}}]}
    )
    (tmp_path / "config.yaml").write_text(exp.text)
    tiny.trainer(exp, tmp_path, rows).fit()
    average_model(
        str(tmp_path / "avg.pt"), str(tmp_path / "models"), 2, bn_data=raw_list, data_type="raw"
    )
    found = checkpoint.load(tmp_path / "avg.pt")["model"]
    average_model(str(tmp_path / "plain.pt"), str(tmp_path / "models"), 2)
    plain = checkpoint.load(tmp_path / "plain.pt")["model"]
    statistics = {name for name in plain if "running" in name or "tracked" in name}
    assert all(torch.equal(plain[name], found[name]) for name in plain.keys() - statistics)
    exp.system.load_state_dict(plain)
    seen = []
    exp.system.model.conv1.register_forward_hook(lambda _module, _inputs, maps: seen.append(maps))
    exp.data.augment = []
    with torch.no_grad():
        for batch in TrainLoader(rows, exp.data, exp.training.seed).epoch(1):
            exp.system.eval().embed(batch.to("cpu"))
    for name, expected in {
        "running_mean": torch.stack([maps.mean((0, 2, 3)) for maps in seen]).mean(0),
        "running_var": torch.stack([maps.var((0, 2, 3)) for maps in seen]).mean(0),
    }.items():
        torch.testing.assert_close(found[f"model.bn1.{name}"], expected, rtol=1e-4, atol=1e-5)
    assert found["model.bn1.num_batches_tracked"].item() == 2
    assert found["model.bn1.num_batches_tracked"].dtype == torch.int64


def test_batch_norm_statistics_of_a_training_on_slices_are_of_its_slices(tmp_path):
    rows = tiny.corpus(tmp_path / "train", 4)
    raw_list, _ = tiny.write_lists(tmp_path, rows)
    experiment = tiny.parsed(tmp_path, data={"crop": "slices", "batch_size": 4})
    (tmp_path / "config.yaml").write_text(experiment.text)
    trainer = tiny.trainer(experiment, tmp_path, rows)
    assert len(trainer.train_loader.index) > len(rows)
    trainer.fit()
    average_model(
        str(tmp_path / "a.pt"), str(tmp_path / "models"), 2, bn_data=raw_list, data_type="raw"
    )
    average = checkpoint.load(tmp_path / "a.pt")["model"]
    assert average["model.bn1.num_batches_tracked"] == trainer.train_loader.steps_per_epoch


@pytest.mark.parametrize("other", ["fewer", "another order", "another length"])
def test_batch_norm_of_another_list_is_refused(tmp_path, other):
    rows = tiny.corpus(tmp_path / "train", 4)
    experiment = tiny.parsed(tmp_path)
    (tmp_path / "config.yaml").write_text(experiment.text)
    tiny.trainer(experiment, tmp_path, rows).fit()
    others = {
        "fewer": rows[:-1],
        "another order": rows[::-1],
        "another length": [replace(rows[0], samples=rows[0].samples - 1), *rows[1:]],
    }
    raw_list, _ = tiny.write_lists(tmp_path, others[other])
    with pytest.raises(InputError, match=r"--bn_data .*: not the utterances that the models were"):
        average_model(
            str(tmp_path / "a.pt"), str(tmp_path / "models"), 2, bn_data=raw_list, data_type="raw"
        )
    assert not (tmp_path / "a.pt").exists()


def test_batch_norm_needs_the_models_own_configuration(tmp_path):
    rows = tiny.corpus(tmp_path / "train", 4)
    raw_list, _ = tiny.write_lists(tmp_path, rows)
    tiny.trainer(tiny.parsed(tmp_path), tmp_path, rows).fit()
    other = tiny.parsed(tmp_path, seed=7)
    (tmp_path / "config.yaml").write_text(other.text)
    with pytest.raises(InputError, match="not the configuration"):
        average_model(
            str(tmp_path / "a.pt"), str(tmp_path / "models"), 2, bn_data=raw_list, data_type="raw"
        )
