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
    return run_two("sharded_ranks.py", folder), folder


@pytest.mark.parametrize(
    ("name", "steps", "tolerance"),
    [("resnet", 20, 1e-5), ("encoder", 6, 1e-5), ("bf16", 2, 1e-2)],
)
def test_losses_are_those_of_whole_systems(ranks, name, steps, tolerance):
    """With accumulated gradients, clipping by the norm of all parts, recomputed activations."""
    for found in ranks[0]:
        whole = found[f"{name}_ddp"]["losses"]
        parts = found[f"{name}_fsdp"]["losses"]
        assert len(whole) == steps
        assert parts == pytest.approx(whole, abs=tolerance)
        assert whole[0] != whole[-1]


@pytest.mark.parametrize("name", ["resnet", "encoder"])
def test_each_rank_holds_half_of_the_weights(ranks, name):
    first, second = ranks[0]
    whole = first[f"{name}_ddp"]["numbers"]
    halves = [found[f"{name}_fsdp"]["numbers"] for found in (first, second)]
    assert sum(halves) == whole
    assert max(halves) < 0.6 * whole


def test_the_validated_average_is_that_of_all_parts(ranks):
    (first, second), _ = ranks
    assert first["resnet_fsdp"]["history"] == second["resnet_fsdp"]["history"]
    for whole, parts in zip(first["resnet_ddp"]["history"], first["resnet_fsdp"]["history"]):
        assert parts == pytest.approx(whole, abs=1e-5)


@pytest.mark.parametrize("name", ["resnet", "encoder"])
def test_models_are_the_ordinary_ones(ranks, name):
    _, folder = ranks
    for model in ("model_2.pt", "last.pt"):
        whole = checkpoint.load(folder / f"{name}_ddp/models" / model)
        parts = checkpoint.load(folder / f"{name}_fsdp/models" / model)
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
    assert tiny.files(folder / f"{name}_fsdp/models") == tiny.files(folder / f"{name}_ddp/models")


def test_a_signal_inside_an_epoch_loses_no_step_and_changes_no_bit(ranks):
    results, folder = ranks
    assert results[0]["saved"] == [1, 2, True]
    for found in results:
        assert found["again"] == found["few_fsdp"]["losses"][2:]
    again = checkpoint.load(folder / "again/models/model_1.pt")["model"]
    for key, value in checkpoint.load(folder / "few_fsdp/models/model_1.pt")["model"].items():
        assert again[key].equal(value), key


def test_what_was_trained_in_parts_goes_on_whole(ranks):
    for found in ranks[0]:
        assert found["joined"] == pytest.approx(found["few_ddp"]["losses"][2:], abs=1e-5)


def test_what_is_not_trained_in_parts_is_refused_in_a_line(ranks):
    for found in ranks[0]:
        compiled, half, sharp, scaled = found["refused"]
        assert compiled == "--parallel fsdp: training.compile is true, expected false, or ddp"
        assert half.startswith("--parallel fsdp: training.precision is fp16, expected bf16")
        assert sharp == "--parallel fsdp: training.sam_radius is 0.1, expected 0, or ddp"
        assert "scalar parameters" in scaled and scaled.endswith("--parallel ddp")
