"""Checkpoints: whole or not there, and nothing but the right weights is loaded."""

import errno
import math
import os
import zipfile

import pytest
import torch
from torch import nn

from wedefense_lite.files import InputError
from wedefense_lite.labels import LABELS
from wedefense_lite.systems import checkpoint
from wedefense_lite.weights import load_state


def write(path, module: nn.Module, **changes) -> None:
    state = {"model": module.state_dict(), "labels": list(LABELS), "class_prior": [0.9, 0.1]}
    state |= {"epoch": 3, "config_hash": "abc"} | changes
    checkpoint.save(path, {name: value for name, value in state.items() if value is not None})


def test_weights_come_back_with_what_stands_beside_them(tmp_path):
    saved, loaded = nn.Linear(3, 2), nn.Linear(3, 2)
    write(tmp_path / "m.pt", saved)
    beside = checkpoint.load_weights(tmp_path / "m.pt", loaded)
    assert torch.equal(saved.weight, loaded.weight) and torch.equal(saved.bias, loaded.bias)
    prior = {"labels": ["spoof", "bonafide"], "class_prior": [0.9, 0.1]}
    assert beside == prior | {"epoch": 3, "config_hash": "abc"}


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


@pytest.mark.parametrize(
    ("tensor", "kind"),
    [
        (torch.ones(2, 2).to_sparse(), "sparse"),
        (torch.ones(2, 2, device="meta"), "without content"),
        (torch.ones(2, 2, dtype=torch.complex64), "complex64"),
        (torch.ones(2, 2).to(torch.float8_e4m3fn), "float8_e4m3fn"),
        (torch.quantize_per_tensor(torch.ones(2, 2), 0.1, 0, torch.qint8), "qint8"),
    ],
)
def test_tensors_that_are_no_plain_numbers_are_refused(tmp_path, tensor, kind):
    torch.save({"model": {"weight": tensor}}, tmp_path / "m.pt")
    with pytest.raises(InputError, match=rf"m\.pt: .*model\.weight is {kind}, expected plain"):
        checkpoint.load(tmp_path / "m.pt")


def test_whole_numbers_are_no_weights():
    """PyTorch would take them, and every weight below 1 were 0."""
    layer = nn.Linear(2, 2)
    weights = {name: value.to(torch.int64) for name, value in layer.state_dict().items()}
    with pytest.raises(InputError, match=r"m\.pt: weight is of type torch\.int64, expected torch"):
        load_state(layer, weights, "m.pt")


def test_a_checkpoint_runs_no_code(tmp_path):
    class Evil:
        def __reduce__(self):
            return open, (str(tmp_path / "owned"), "w")

    torch.save({"model": Evil()}, tmp_path / "m.pt")
    with pytest.raises(InputError, match="not a readable checkpoint"):
        checkpoint.load(tmp_path / "m.pt")
    assert not (tmp_path / "owned").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([1, 2], "it holds a list, expected a dict"),
        (torch.zeros(3), "it holds a Tensor, expected a dict"),
        ("text", "it holds a str, expected a dict"),
    ],
)
def test_what_is_no_dict_is_refused(tmp_path, content, message):
    torch.save(content, tmp_path / "m.pt")
    with pytest.raises(InputError, match=rf"m\.pt: not a checkpoint: {message}"):
        checkpoint.load_weights(tmp_path / "m.pt", nn.Linear(3, 2))


@pytest.mark.parametrize("content", [b"text of a person\n", b"epoch 1\n", bytes(range(256)) * 9])
def test_any_bytes_are_refused_in_one_line(tmp_path, content):
    (tmp_path / "m.pt").write_bytes(content)
    with pytest.raises(InputError, match=r"m\.pt: not a readable checkpoint") as caught:
        checkpoint.load(tmp_path / "m.pt")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"class_prior": None}, "lacks class_prior"),
        ({"config_hash": None}, "lacks config_hash"),
        ({"model": None}, "lacks model"),
        ({"epoch": None}, "lacks epoch"),
        ({"model": [torch.zeros(2)]}, "model is .*expected weights"),
        ({"model": {"weight": 3}}, "model is a dict, expected weights"),
        ({"class_prior": [0.5]}, "class_prior is .*expected two numbers"),
        ({"class_prior": [2.0, -1.0]}, "class_prior is .*expected two numbers"),
        ({"class_prior": "half"}, "class_prior is 'half', expected two numbers"),
        ({"epoch": "three"}, "epoch is 'three', expected a number"),
        ({"config_hash": 3}, "config_hash is 3, expected a hash"),
        ({"labels": 2}, "label order 2"),
    ],
)
def test_a_field_of_another_kind_is_named(tmp_path, changes, message):
    write(tmp_path / "m.pt", nn.Linear(3, 2), **changes)
    with pytest.raises(InputError, match=rf"m\.pt: .*{message}"):
        checkpoint.load_weights(tmp_path / "m.pt", nn.Linear(3, 2))


def test_a_system_that_decides_takes_no_model_of_one_class(tmp_path):
    module = nn.Linear(3, 2)
    write(tmp_path / "m.pt", module, class_prior=[1.0, 0.0])
    checkpoint.load_weights(tmp_path / "m.pt", module)
    module.head = None
    checkpoint.load_weights(tmp_path / "m.pt", module)
    del module.head
    module.head = nn.Identity()
    with pytest.raises(InputError, match="trained on one class alone"):
        checkpoint.load_weights(tmp_path / "m.pt", module)


def test_a_flipped_bit_is_noticed(tmp_path):
    write(tmp_path / "m.pt", nn.Linear(300, 20))
    content = bytearray((tmp_path / "m.pt").read_bytes())
    content[len(content) // 2] ^= 4
    (tmp_path / "m.pt").write_bytes(content)
    with pytest.raises(InputError, match=r"m\.pt: .*damaged: the checksum of archive/data/. is"):
        checkpoint.load(tmp_path / "m.pt")


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_weights_that_are_not_finite_are_refused(tmp_path, value):
    module = nn.Linear(3, 2)
    nn.init.constant_(module.bias, value)
    state = {"model": module.state_dict(), "labels": list(LABELS), "class_prior": [0.9, 0.1]}
    state |= {"epoch": 3, "config_hash": "abc"}
    torch.save(state, tmp_path / "m.pt")
    with pytest.raises(InputError, match=r"m\.pt: the weights of bias are not finite"):
        checkpoint.load_weights(tmp_path / "m.pt", nn.Linear(3, 2))
    with pytest.raises(
        FloatingPointError, match=r"m\.pt is not written: model\.bias is not finite"
    ):
        checkpoint.save(tmp_path / "m.pt", state)


def test_weights_beyond_all_bounds_are_refused(tmp_path):
    module = nn.Linear(3, 2)
    nn.init.constant_(module.bias, -1e30)
    write(tmp_path / "m.pt", module)
    with pytest.raises(InputError, match=r"m\.pt: the weights of bias are up to 1e\+30"):
        checkpoint.load_weights(tmp_path / "m.pt", nn.Linear(3, 2))


def test_a_compressed_checkpoint_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "m.pt", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", b"0" * 1000)
    with pytest.raises(InputError, match=r"m\.pt: .*archive/data.pkl is compressed"):
        checkpoint.load(tmp_path / "m.pt")


@pytest.mark.parametrize("name", ["folder", "pipe"])
def test_what_is_no_file_is_refused_without_waiting(tmp_path, name):
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InputError, match=f"{name}: not a readable checkpoint: no regular file"):
        checkpoint.load(tmp_path / name)


@pytest.mark.parametrize("room", [0, 1000, 20_000])
def test_a_full_disk_is_told_and_the_earlier_checkpoint_stays(tmp_path, monkeypatch, room):
    write(tmp_path / "m.pt", nn.Linear(300, 20))
    before = (tmp_path / "m.pt").read_bytes()
    written = []

    def write_until_full(self, content):
        written.append(len(content))
        if sum(written) > room:
            self.error = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            raise self.error
        return self._file.write(content)

    monkeypatch.setattr(checkpoint.CheckedFile, "write", write_until_full)
    with pytest.raises(InputError, match=r"m\.pt: can't be written: No space left on device"):
        write(tmp_path / "m.pt", nn.Linear(300, 20))
    assert (tmp_path / "m.pt").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["m.pt"]


def test_a_checkpoint_that_was_read_is_written_in_the_same_bytes(tmp_path):
    # Text of a program and text of a file: equal, and not the same object.
    other_text = "".join(["exp_", "avg"])
    state = {"exp_avg": torch.ones(2), "more": [{other_text: torch.zeros(2)}], "config": other_text}
    checkpoint.save(tmp_path / "first.pt", state)
    checkpoint.save(tmp_path / "second.pt", checkpoint.load(tmp_path / "first.pt"))
    mixed = checkpoint.load(tmp_path / "second.pt") | {"config": "-exp_avg"[1:]}
    checkpoint.save(tmp_path / "third.pt", mixed)
    contents = {path.read_bytes() for path in tmp_path.iterdir()}
    assert len(contents) == 1
