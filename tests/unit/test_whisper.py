"""Whisper's encoder: the states and files of transformers, windows, padding, what is trained."""

import importlib.util

import numpy as np
import pytest
import tiny
import torch
from torch import nn

from wedefense_lite.files import InputError
from wedefense_lite.frontends import Whisper, encoders
from wedefense_lite.frontends.whisper import BASE, PUBLISHED

torch.set_num_threads(1)
if not importlib.util.find_spec("transformers"):
    pytest.skip("the extra ssl isn't installed", allow_module_level=True)
RATE = 16000


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """A small model in the hub's own format, and the folder with it."""
    folder = tmp_path_factory.mktemp("models")
    library = encoders.import_transformers()
    torch.manual_seed(0)
    config = library.WhisperConfig(
        **tiny.WHISPER,
        decoder_layers=1,
        decoder_attention_heads=2,
        decoder_ffn_dim=8,
        vocab_size=60,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        decoder_start_token_id=1,
    )
    model = library.WhisperForConditionalGeneration(config).eval()
    for parameter in model.model.encoder.layers.parameters():
        nn.init.normal_(parameter, parameter.mean().item(), 0.1)
    model.save_pretrained(folder / "tiny/whisper")
    return model, folder


def noise(seconds: float, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(1, round(seconds * RATE), generator=generator) * 0.1


def small(**options) -> Whisper:
    torch.manual_seed(0)
    options = {"sizes": tiny.WHISPER, "window_seconds": 1.0} | options
    return Whisper("tiny/whisper", **options)


def test_states_are_those_of_transformers(published, monkeypatch):
    """Sizes and weights from its files, and spectra of its feature extractor."""
    model, folder = published
    monkeypatch.setenv("WEDEFENSE_MODELS", str(folder))
    frontend = Whisper("tiny/whisper", layers="all").eval()
    frontend.load_pretrained()
    assert frontend.resolved["sizes"] == BASE | tiny.WHISPER
    library = encoders.import_transformers()
    extractor = library.WhisperFeatureExtractor(feature_size=tiny.WHISPER["num_mel_bins"])
    wav = noise(1.5)
    features = extractor(np.asarray(wav[0]), sampling_rate=RATE, return_tensors="pt")
    with torch.no_grad():
        expected = model.model.encoder(features.input_features, output_hidden_states=True)
        frames, lengths = frontend(wav, torch.tensor([wav.shape[1]]))
    assert frames.shape == (1, 75, 3 * 16) and lengths.tolist() == [75]
    for state, own in zip(expected.hidden_states, frames.unflatten(2, (3, 16)).unbind(2)):
        torch.testing.assert_close(own, state[:, :75], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(
        frames[..., -16:], expected.last_hidden_state[:, :75], rtol=1e-4, atol=1e-4
    )


def test_padding_changes_nothing():
    """A short utterance in a batch with one of three windows, and alone."""
    frontend = small(layers="all").eval()
    short, long = noise(0.7), noise(2.3, seed=1)
    padded = nn.functional.pad(short, (0, long.shape[1] - short.shape[1]))
    with torch.no_grad():
        frames, lengths = frontend(
            torch.cat((padded, long)), torch.tensor([short.shape[1], long.shape[1]])
        )
        alone, _ = frontend(short, torch.tensor([short.shape[1]]))
    assert lengths.tolist() == [35, 115]
    torch.testing.assert_close(frames[:1, :35], alone, rtol=1e-5, atol=1e-5)
    assert not frames[0, 35:].any()


@pytest.mark.parametrize(
    ("trained", "layers", "norm"), [("all", [1, 1], 1), ("none", [0, 0], 0), (1, [0, 1], 1)]
)
def test_what_is_trained(trained, layers, norm):
    frontend = small(trained=trained).train()
    network = frontend.network
    assert [layer.fc1.weight.requires_grad for layer in network.layers] == layers
    assert network.layer_norm.weight.requires_grad == norm
    assert network.conv1.weight.requires_grad is (trained == "all")
    assert not network.embed_positions.weight.requires_grad
    assert network.training is (trained != "none")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layers": 4}, "layers is 4, expected at most 3"),
        ({"trained": 3}, "trained is 3, expected at most 2"),
        ({"sizes": {"hidden_size": 4}}, "sizes has hidden_size"),
        ({"window_seconds": 31.0}, "window_seconds is 31.0, expected up to 30"),
    ],
)
def test_what_cannot_be_is_said_in_one_line(options, message):
    with pytest.raises(InputError, match=message):
        small(**options)


def test_weights_of_another_size_are_refused(published, monkeypatch):
    monkeypatch.setenv("WEDEFENSE_MODELS", str(published[1]))
    with pytest.raises(InputError, match="weights of another model than tiny/whisper"):
        small(sizes=tiny.WHISPER | {"encoder_ffn_dim": 32}).load_pretrained()


@pytest.mark.parametrize(("name", "encoder"), [("tiny", 8_208_384), ("large-v3", 636_968_960)])
def test_published_sizes(name, encoder):
    """The encoders of openai's weights, positions included."""
    assert f"openai/whisper-{name}" in PUBLISHED
    with torch.device("meta"):
        frontend = Whisper(f"openai/whisper-{name}")
    assert sum(value.numel() for value in frontend.network.parameters()) == encoder
