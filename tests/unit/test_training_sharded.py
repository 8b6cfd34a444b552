"""A system that two processes hold in parts is trained as one that both hold whole, and its files
are the same.
"""

import pytest
import tiny
from ranks import run_two

from wedefense_lite.systems import checkpoint


@pytest.fixture(scope="module")
def ranks(tmp_path_factory):
    """What each of two ranks ended with, and the folder they worked in."""
    folder = tmp_path_factory.mktemp("sharded")
    return run_two("sharded_ranks.py", folder, "resnets"), folder


def check_losses(results: dict, steps: int, tolerance: float) -> None:
    whole = results["ddp"]["losses"]
    assert len(whole) == steps
    assert results["fsdp"]["losses"] == pytest.approx(whole, abs=tolerance)


def check_halves(first: dict, second: dict) -> None:
    """Check that each rank holds half of the weights."""
    halves = [first["fsdp"]["numbers"], second["fsdp"]["numbers"]]
    assert sum(halves) == first["ddp"]["numbers"]
    assert max(halves) < 0.6 * sum(halves)


def check_models(folder) -> None:
    """Check that the files are those of whole systems, but for rounding."""
    assert tiny.files(folder / "fsdp/models") == tiny.files(folder / "ddp/models")
    for model in ("model_2.pt", "last.pt"):
        whole = checkpoint.load(folder / "ddp/models" / model)
        parts = checkpoint.load(folder / "fsdp/models" / model)
        assert list(parts) == list(whole)
        assert list(parts["model"]) == list(whole["model"])
        for key, value in whole["model"].items():
            assert parts["model"][key].shape == value.shape
            assert parts["model"][key].allclose(value, atol=1e-4), key
    optimizers = [whole["optimizer"], parts["optimizer"]]
    assert optimizers[0]["param_groups"] == optimizers[1]["param_groups"]
    assert list(optimizers[0]["state"]) == list(optimizers[1]["state"])
    for number, values in optimizers[0]["state"].items():
        for key, value in values.items():
            assert optimizers[1]["state"][number][key].allclose(value, atol=1e-4), (number, key)


def test_losses_of_twenty_steps_are_those_of_whole_systems(ranks):
    """With accumulated gradients, and clipping by the norm of all parts."""
    (first, second), _ = ranks
    for found in (first, second):
        check_losses(found["resnet"], steps=20, tolerance=1e-5)
    check_halves(first["resnet"], second["resnet"])


def test_the_validated_average_is_that_of_all_parts(ranks):
    (first, second), _ = ranks
    whole = first["resnet"]["ddp"]["history"]
    parts = first["resnet"]["fsdp"]["history"]
    assert parts == second["resnet"]["fsdp"]["history"]
    for whole_row, row in zip(whole, parts, strict=True):
        assert row == pytest.approx(whole_row, abs=1e-5)


def test_models_are_the_ordinary_ones(ranks):
    _, folder = ranks
    check_models(folder / "resnet")


@pytest.mark.turns("trainings")
def test_an_encoder_is_gathered_a_layer_at_a_time(tmp_path):
    """It recomputes its activations; in bf16 its layers are gathered in 16 bits."""
    first, second = run_two("sharded_ranks.py", tmp_path, "encoders")
    for found in (first, second):
        check_losses(found["fp32"], steps=6, tolerance=1e-5)
        check_losses(found["bf16"], steps=2, tolerance=1e-2)
    check_halves(first["fp32"], second["fp32"])
    check_models(tmp_path / "fp32")
    check_models(tmp_path / "bf16")


def test_a_signal_inside_an_epoch_loses_no_step_and_changes_no_bit(ranks):
    results, folder = ranks
    assert results[0]["saved"] == [1, 2, True]
    for found in results:
        assert found["again"] == found["few"]["fsdp"]["losses"][2:]
    again = checkpoint.load(folder / "again/models/model_1.pt")["model"]
    for key, value in checkpoint.load(folder / "few/fsdp/models/model_1.pt")["model"].items():
        assert again[key].equal(value), key


def test_what_was_trained_in_parts_goes_on_whole(ranks):
    for found in ranks[0]:
        assert found["joined"] == pytest.approx(found["few"]["ddp"]["losses"][2:], abs=1e-5)


def test_what_is_not_trained_in_parts_is_refused_in_a_line(ranks):
    for found in ranks[0]:
        compiled, half, sharp, scaled = found["refused"]
        assert compiled == "--parallel fsdp: training.compile is true, expected false, or ddp"
        assert half.startswith("--parallel fsdp: training.precision is fp16, expected bf16")
        assert sharp == "--parallel fsdp: training.sam_radius is 0.1, expected 0, or ddp"
        assert "scalar parameters" in scaled and scaled.endswith("--parallel ddp")
