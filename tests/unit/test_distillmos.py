"""DistillMOS: its published states, padding, what is trained, and what is said without its package."""

import importlib.util
import json

import numpy as np
import pytest
import torch
from conftest import ROOT

from wedefense_lite.files import InputError
from wedefense_lite.frontends import DistillMOS
from wedefense_lite.frontends import distillmos as module

torch.set_num_threads(1)
RATE = 16000
needs_package = pytest.mark.skipif(
    importlib.util.find_spec("distillmos") is None,
    reason=f"the package distillmos is missing: {module.INSTALL}",
)


def noise(seconds: float, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(1, round(seconds * RATE), generator=generator) * 0.1


def frames_of(frontend: DistillMOS, wav_1T: torch.Tensor) -> torch.Tensor:
    return frontend(wav_1T, torch.tensor([wav_1T.shape[1]]))[0]


def voice() -> torch.Tensor:
    """The buzz of 7.68 s that tests/reference/distillmos.json has the states of."""
    time = np.arange(122880) / RATE
    phase = 2 * np.pi * (140 * time + 4 * np.sin(2 * np.pi * 2 * time))
    wav = np.zeros(len(time))
    for harmonic in range(1, 30):
        wav += np.sin(harmonic * phase) / harmonic
    wav *= 0.1 * (0.5 + 0.5 * np.sin(2 * np.pi * 3 * time))
    wav += 1e-3 * np.random.default_rng(7).standard_normal(len(time))
    return torch.tensor(np.float32(wav))[None]


@needs_package
def test_states_are_those_of_the_package():
    """Values of distillmos 0.9.1, of every 128th frame and every 50th or 128th feature."""
    reference = json.loads((ROOT / "tests/reference/distillmos.json").read_text())
    frontend = DistillMOS(layers="all")
    frontend.load_pretrained()
    with torch.no_grad():
        states_FLD = frames_of(frontend.eval(), voice())[0].unflatten(1, (8, 200))
    expected = torch.tensor(reference["states"])
    torch.testing.assert_close(
        states_FLD[::128, :, ::50].transpose(0, 1), expected, rtol=0, atol=1e-4
    )


@needs_package
def test_the_output_of_the_convolutions_is_that_of_the_package():
    reference = json.loads((ROOT / "tests/reference/distillmos.json").read_text())
    frontend = DistillMOS(layers="cnn")
    frontend.load_pretrained()
    with torch.no_grad():
        frames_FD = frames_of(frontend.eval(), voice())[0]
    torch.testing.assert_close(
        frames_FD[::128, ::128], torch.tensor(reference["cnn"]), rtol=0, atol=1e-6
    )


def test_padding_changes_nothing():
    """A short utterance in a batch with one of two windows of the transformer, and alone."""
    torch.manual_seed(0)
    frontend = DistillMOS(layers="all").eval()
    short = noise(0.5)
    long = noise(8.0, seed=1)
    padded = torch.nn.functional.pad(short, (0, long.shape[1] - short.shape[1]))
    lengths = torch.tensor([short.shape[1], long.shape[1]])
    with torch.no_grad():
        frames_BFD, lengths_B = frontend(torch.cat((padded, long)), lengths)
        alone = frames_of(frontend, short)
    assert lengths_B.tolist() == [25, 400]
    torch.testing.assert_close(frames_BFD[:1, :25], alone, rtol=1e-4, atol=1e-5)
    assert not frames_BFD[0, 25:].any()


@pytest.mark.parametrize(
    ("layers", "num_layers", "dim"),
    [("cnn", 1, 1024), ("last", 1, 200), ("all", 8, 1600), (2, 2, 400)],
)
def test_states_can_be_chosen(layers, num_layers, dim):
    torch.manual_seed(0)
    frontend = DistillMOS(layers=layers).eval()
    assert (frontend.num_layers, frontend.dim) == (num_layers, dim)
    frames = frames_of(frontend, noise(0.2))
    assert frames.shape == (1, 10, dim)
    frames.square().sum().backward()
    assert all(parameter.grad is not None for parameter in frontend.parameters())


@pytest.mark.parametrize(("trained", "num_trained"), [("all", 7), ("none", 0), (2, 2)])
def test_what_is_trained(trained, num_trained):
    frontend = DistillMOS(layers="all", trained=trained).train()
    frames_of(frontend, noise(0.2))
    trained_layers = [layer for layer in frontend.layers if layer.linear1.weight.requires_grad]
    assert len(trained_layers) == num_trained
    assert frontend.convolutions[0].weight.requires_grad is (trained == "all")
    assert frontend.layers[0].training is (trained != "none")


@pytest.mark.parametrize(
    "options", [{"layers": 9}, {"trained": 8}, {"layers": "cnn", "trained": 1}]
)
def test_layers_that_are_not_there_are_refused(options):
    with pytest.raises(InputError, match="DistillMOS: .* expected at most"):
        DistillMOS(**options)


def test_a_missing_package_is_named_with_the_way_out(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match="pip install --no-deps distillmos"):
        DistillMOS().load_pretrained()


def test_other_weights_are_refused(monkeypatch, tmp_path):
    torch.save({"model": {"cnn.cnn.0.weight": torch.zeros(64, 2, 3, 3)}}, tmp_path / "weights.pt")
    monkeypatch.setattr(module, "weights_file", lambda: tmp_path / "weights.pt")
    with pytest.raises(InputError, match=r"weights\.pt: other weights than those of 0\.9\.1"):
        DistillMOS().load_pretrained()


def test_too_short_audio_is_refused():
    with pytest.raises(ValueError, match="100 samples are too short"):
        frames_of(DistillMOS(), noise(100 / RATE))
