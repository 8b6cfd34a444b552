"""Checkpoints: whole or not there, and nothing but the right weights is loaded."""

import pytest
import torch
from torch import nn

from wedefense_lite.files import InputError
from wedefense_lite.labels import LABELS
from wedefense_lite.systems import checkpoint


def write(path, module: nn.Module, **changes) -> None:
    state = {"model": module.state_dict(), "labels": list(LABELS), "class_prior": [0.9, 0.1]}
    checkpoint.save(path, state | {"epoch": 3} | changes)


def test_weights_come_back_with_what_stands_beside_them(tmp_path):
    saved, loaded = nn.Linear(3, 2), nn.Linear(3, 2)
    write(tmp_path / "m.pt", saved)
    beside = checkpoint.load_weights(tmp_path / "m.pt", loaded)
    assert torch.equal(saved.weight, loaded.weight) and torch.equal(saved.bias, loaded.bias)
    assert beside == {"labels": ["spoof", "bonafide"], "class_prior": [0.9, 0.1], "epoch": 3}


@pytest.mark.parametrize(
    ("saved", "named"),
    [
        (nn.Linear(3, 2, bias=False), "Missing key.*bias"),
        (nn.Sequential(nn.Linear(3, 2)), "0.weight"),
        (nn.Linear(4, 2), "size mismatch"),
    ],
)
def test_weights_of_another_model_are_refused(tmp_path, saved, named):
    write(tmp_path / "m.pt", saved)
    with pytest.raises(InputError, match=rf"m\.pt: weights of another model.*{named}") as caught:
        checkpoint.load_weights(tmp_path / "m.pt", nn.Linear(3, 2))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("labels", [["bonafide", "spoof"], ["spoof"], []])
def test_another_label_order_is_refused(tmp_path, labels):
    write(tmp_path / "m.pt", nn.Linear(3, 2), labels=labels)
    with pytest.raises(InputError, match="label order .* expected .*spoof.*bonafide"):
        checkpoint.load_weights(tmp_path / "m.pt", nn.Linear(3, 2))


@pytest.mark.parametrize(
    "content", [b"", b"not a checkpoint", b"PK\x03\x04 cut", b"\x80\x02}q\x00."]
)
def test_what_is_no_checkpoint_is_refused(tmp_path, content):
    (tmp_path / "m.pt").write_bytes(content)
    with pytest.raises(
        InputError, match=r"m\.pt: not a readable checkpoint|m\.pt: label order"
    ) as caught:
        checkpoint.load_weights(tmp_path / "m.pt", nn.Linear(3, 2))
    assert "\n" not in str(caught.value)


def test_a_truncated_and_a_missing_checkpoint_are_refused(tmp_path):
    write(tmp_path / "m.pt", nn.Linear(300, 20))
    whole = (tmp_path / "m.pt").read_bytes()
    (tmp_path / "m.pt").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match="not a readable checkpoint"):
        checkpoint.load(tmp_path / "m.pt")
    with pytest.raises(InputError, match=r"absent\.pt: not a readable checkpoint: No such file"):
        checkpoint.load(tmp_path / "absent.pt")


def test_an_error_while_writing_leaves_the_earlier_checkpoint(tmp_path):
    write(tmp_path / "m.pt", nn.Linear(3, 2))
    before = (tmp_path / "m.pt").read_bytes()
    with pytest.raises(Exception, match="pickle"):
        checkpoint.save(tmp_path / "m.pt", {"model": lambda: None})
    assert (tmp_path / "m.pt").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["m.pt"]


def test_a_checkpoint_runs_no_code(tmp_path):
    class Evil:
        def __reduce__(self):
            return open, (str(tmp_path / "owned"), "w")

    torch.save({"model": Evil()}, tmp_path / "m.pt")
    with pytest.raises(InputError, match="not a readable checkpoint"):
        checkpoint.load(tmp_path / "m.pt")
    assert not (tmp_path / "owned").exists()
