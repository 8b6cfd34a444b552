"""Weights of encoders that are something else: nothing runs, and one line says what it is."""

import json
import os
import struct
from pathlib import Path

import pytest
import torch
from conftest import ROOT
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save
from torch import nn

from wedefense_lite.files import InputError
from wedefense_lite.frontends.encoders import WEIGHT_FILES, find_file, read_weights
from wedefense_lite.weights import load_state

MARKER = "ran_here"
NAME = "encoder.layer_norm.weight"


class Payload:
    """Object whose pickle runs a command."""

    def __reduce__(self):
        return os.system, (f"touch {MARKER}",)


def header(length: int, content: object) -> bytes:
    return struct.pack("<Q", length) + json.dumps(content).encode()


def tensor_of(start: int, end: int, shape: list, dtype: str = "F32") -> dict:
    return {NAME: {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}}


GOOD = save({NAME: torch.ones(3)})
HEADERS = {
    "a header that is too large": header(1 << 60, {}),
    "a header of nothing": header(0, {}),
    "a header behind the end": header(1000, tensor_of(0, 12, [3])),
    "a tensor behind the end": header(90, tensor_of(0, 1 << 40, [1 << 38])),
    "a tensor of another size": header(90, tensor_of(0, 4, [3])),
    "an unknown type": header(90, tensor_of(0, 12, [3], "F7")),
    "a header that is a list": header(2, []),
    "half of it": GOOD[: len(GOOD) // 2],
    "nothing": b"",
    "text": b"words",
}


@pytest.mark.parametrize("kind", HEADERS)
def test_a_header_of_safetensors_that_lies_is_one_line(tmp_path, kind):
    path = tmp_path / "model.safetensors"
    path.write_bytes(HEADERS[kind])
    with pytest.raises(InputError, match="damaged weights") as error:
        read_weights(path)
    assert "\n" not in str(error.value)


def test_a_pickle_is_not_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({NAME: Payload()}, "pytorch_model.bin")
    with pytest.raises(InputError, match="damaged weights") as error:
        read_weights(Path("pytorch_model.bin"))
    assert "\n" not in str(error.value)
    assert not Path(MARKER).exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([1], "holds a list"),
        (torch.ones(2), "holds a Tensor"),
        ({NAME: [1.0]}, "is a list, expected a tensor"),
        ({NAME: {"x": 1}}, "is a dict, expected a tensor"),
    ],
)
def test_a_checkpoint_of_something_else_is_told(tmp_path, content, message):
    path = tmp_path / "pytorch_model.bin"
    torch.save(content, path)
    with pytest.raises(InputError, match=message):
        read_weights(path)


@pytest.mark.parametrize(
    ("tensor", "message"),
    [
        (torch.ones(3).to_sparse(), "sparse, expected plain numbers"),
        (torch.ones(3, device="meta"), "without content, expected plain numbers"),
        (torch.ones(3, dtype=torch.complex64), "complex64, expected plain numbers"),
        (torch.ones(3).to(torch.float8_e4m3fn), "float8_e4m3fn, expected plain numbers"),
        (torch.ones(3, dtype=torch.int64), "is of type torch.int64, expected torch.float32"),
        (torch.tensor([1.0, float("nan"), 1.0]), "not finite"),
        (torch.tensor([1.0, 1e30, 1.0]), r"up to 1e\+30: they are damaged"),
    ],
)
def test_values_that_are_no_weights_are_refused(tmp_path, tensor, message):
    path = tmp_path / "pytorch_model.bin"
    torch.save({NAME: tensor, "encoder.layer_norm.bias": torch.ones(3)}, path)
    encoder = nn.ModuleDict({"encoder": nn.ModuleDict({"layer_norm": nn.LayerNorm(3)})})
    with pytest.raises(InputError, match=message) as error:
        load_state(encoder, read_weights(path), path)
    assert "pytorch_model.bin: " in str(error.value)


def test_a_flipped_bit_of_an_encoder_is_noticed(tmp_path):
    path = tmp_path / "pytorch_model.bin"
    value = torch.full((500,), 0.625)
    torch.save({NAME: value}, path)
    content = bytearray(path.read_bytes())
    content[content.index(value.numpy().tobytes()) + 99] ^= 1
    path.write_bytes(content)
    with pytest.raises(InputError, match="the checksum of .* is another"):
        read_weights(path)


@pytest.mark.parametrize("content", [b"text\n", b"", b"PK\x03\x04", b"\x80\x05", b"e", b"<html>"])
def test_bytes_that_are_no_checkpoint_are_told(tmp_path, content):
    path = tmp_path / "pytorch_model.bin"
    path.write_bytes(content)
    with pytest.raises(InputError, match="damaged weights"):
        read_weights(path)


@pytest.mark.parametrize("name", ["a/../../secret", "x/..", "a\0b", "/etc", "../x"])
def test_a_name_of_a_model_is_no_path(tmp_path, monkeypatch, name):
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret/config.json").write_text("{}")
    (tmp_path / "models/a").mkdir(parents=True)
    monkeypatch.setenv("WEDEFENSE_MODELS", str(tmp_path / "models"))
    with pytest.raises(InputError, match="expected"):
        find_file(name, ("config.json", *WEIGHT_FILES))


@given(data=st.data())
def test_fuzz_safetensors(tmp_path_factory, data):
    content = bytearray(GOOD)
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.getbasetemp() / "fuzzed.safetensors"
    path.write_bytes(content)
    try:
        read_weights(path)
    except InputError as error:
        assert "\n" not in str(error)


# Calls that can run a pickle, and the word without which they do.
PICKLES = {"torch.load(": "weights_only=True", "np.load(": "allow_pickle=False"}
READERS = ("pickle.load", "pickle.loads", "joblib.load", "shelve.open", "marshal.load", "dill.load")


def test_no_reader_runs_pickles():
    """Every call, so that no new one forgets it."""
    for folder in ("wedefense_lite", "tools", "egs"):
        for path in (ROOT / folder).rglob("*.py"):
            text = path.read_text()
            for call, word in PICKLES.items():
                for rest in text.split(call)[1:]:
                    assert word in rest[:200], f"{path}: {call} without {word}"
            for reader in READERS:
                assert f"{reader}(" not in text, f"{path}: {reader}"
