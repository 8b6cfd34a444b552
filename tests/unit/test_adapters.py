"""Adapters of encoders: they begin as nothing, are trained alone, go on, and are merged."""

import sys

import pytest
import tiny
import torch
from torch import nn

from wedefense_lite.files import InputError
from wedefense_lite.frontends import SSL
from wedefense_lite.systems import checkpoint
from wedefense_lite.systems.experiment import load_experiment

pytest.importorskip("peft", reason="the extra lora isn't installed")
torch.set_num_threads(1)
WAV = torch.randn(2, 4800, generator=torch.Generator().manual_seed(0)) * 0.1
LENGTHS = torch.tensor([4800, 4800])


def encoder(family: str = "wav2vec2", **options) -> SSL:
    torch.manual_seed(0)
    options = {"trained": "none", "dropout": 0.0} | options
    return SSL("made-up", tiny.ENCODER | {"model_type": family}, **options)


def frames_of(frontend: SSL) -> torch.Tensor:
    return frontend(WAV, LENGTHS)[0]


def moved(frontend: SSL) -> SSL:
    """The encoder with adapters that change something."""
    for name, parameter in frontend.named_parameters():
        if "lora_B" in name:
            nn.init.normal_(parameter, 0, 0.3)
    return frontend


@pytest.mark.parametrize("family", ["wav2vec2", "hubert", "wavlm"])
def test_adapters_begin_as_nothing_and_are_trained_alone(family):
    targets = ["intermediate_dense"] if family == "wavlm" else None
    plain = encoder(family).eval()
    adapted = encoder(family, lora_rank=2, lora_targets=targets)
    torch.testing.assert_close(frames_of(adapted.eval()), frames_of(plain), rtol=0, atol=0)
    frames_of(moved(adapted).train()).square().sum().backward()
    for name, parameter in adapted.named_parameters():
        assert parameter.requires_grad is ("lora_" in name), name
        assert (parameter.grad is not None and parameter.grad.any()) == ("lora_" in name), name
    # Two matrices beside each of two layers of 16 x 16, or one of 16 x 24.
    num_trained = sum(value.numel() for value in adapted.parameters() if value.requires_grad)
    a_layer = 2 * (16 + 24) if family == "wavlm" else 2 * 2 * (16 + 16)
    assert num_trained == tiny.ENCODER["num_hidden_layers"] * a_layer


def test_what_is_merged_gives_the_same_under_the_names_of_an_encoder_without_adapters():
    adapted = moved(encoder(lora_rank=2, layers="all")).eval()
    before = frames_of(adapted)
    assert adapted.merge_adapters() == {"lora_rank": 0, "ia3_targets": None}
    assert not torch.allclose(before, frames_of(encoder(layers="all").eval()), atol=1e-3)
    torch.testing.assert_close(frames_of(adapted), before, rtol=1e-5, atol=1e-5)
    plain = encoder(layers="all").eval()
    plain.load_state_dict(adapted.state_dict(), strict=True)
    torch.testing.assert_close(frames_of(plain), before, rtol=1e-5, atol=1e-5)
    assert plain.merge_adapters() == {}


@pytest.mark.parametrize("family", ["wav2vec2", "wavlm"])
def test_scales_begin_as_nothing_are_trained_alone_and_are_merged(family):
    targets = ["output_dense"] if family == "wavlm" else ["k_proj", "v_proj", "output_dense"]
    plain = encoder(family).eval()
    adapted = encoder(family, ia3_targets=targets)
    torch.testing.assert_close(frames_of(adapted.eval()), frames_of(plain), rtol=0, atol=0)
    frames_of(adapted.train()).square().sum().backward()
    num_trained = 0
    for name, parameter in adapted.named_parameters():
        assert parameter.requires_grad is ("ia3_l" in name), name
        if parameter.requires_grad:
            assert parameter.grad.any(), name
            num_trained += parameter.numel()
            nn.init.uniform_(parameter, 0.5, 1.5)
    # Of keys and values 16 each, of what is inside a feed-forward layer 24.
    a_layer = 24 if family == "wavlm" else 16 + 16 + 24
    assert num_trained == tiny.ENCODER["num_hidden_layers"] * a_layer
    before = frames_of(adapted.eval())
    assert not torch.allclose(before, frames_of(plain), atol=1e-3)
    adapted.merge_adapters()
    plain.load_state_dict(adapted.state_dict(), strict=True)
    torch.testing.assert_close(frames_of(plain), before, rtol=1e-5, atol=1e-5)


def test_scales_multiply_values_by_hand():
    adapted = encoder(ia3_targets=["v_proj"]).eval()
    layer = adapted.network.encoder.layers[0].attention.v_proj
    nn.init.constant_(layer.ia3_l["default"], 3.0)
    values = torch.randn(1, 2, 16)
    torch.testing.assert_close(layer(values), 3 * layer.get_base_layer()(values))


@pytest.mark.parametrize("options", [{"lora_rank": 2}, {"ia3_targets": ["k_proj", "output_dense"]}])
def test_published_weights_go_beside_the_adapters(options, tmp_path, monkeypatch):
    plain = encoder().eval()
    plain.network.save_pretrained(tmp_path / "made-up")
    monkeypatch.setenv("WEDEFENSE_MODELS", str(tmp_path))
    torch.manual_seed(1)
    adapted = SSL("made-up", tiny.ENCODER, trained="none", dropout=0.0, **options)
    adapted.load_pretrained()
    torch.testing.assert_close(frames_of(adapted.eval()), frames_of(plain), rtol=0, atol=0)


def test_training_with_adapters_killed_and_begun_again_gives_the_same_bits(tmp_path):
    rows = tiny.corpus(tmp_path / "train", 8)
    options = {"model": "made-up", "architecture": tiny.ENCODER, "trained": "none", "lora_rank": 2}
    system = {
        "frontend": {"class_path": "SSL", "init_args": options},
        "model": {"class_path": "MeanPooling"},
    }
    config = tiny.write_config(tmp_path, system=system, save_step_interval=1)

    def trained(name: str, kill_after: int | None = None) -> dict:
        trainer = tiny.trainer(load_experiment(config), tmp_path / name, rows)
        if kill_after is not None:
            step = trainer._train_step
            left = iter(range(kill_after))

            def stopped(batch):
                if next(left, None) is None:
                    raise KeyboardInterrupt
                return step(batch)

            trainer._train_step = stopped
            with pytest.raises(KeyboardInterrupt):
                trainer.fit()
            return {}
        trainer.fit()
        return checkpoint.load(tmp_path / name / "models/model_2.pt")["model"]

    whole = trained("whole")
    trained("killed", kill_after=3)
    again = trained("killed")
    assert whole.keys() == again.keys()
    assert all(torch.equal(value, again[name]) for name, value in whole.items())


@pytest.mark.parametrize(
    ("family", "options", "message"),
    [
        ("wav2vec2", {"trained": "all"}, "lora_rank is 2, expected trained: none"),
        ("wav2vec2", {"lora_targets": ["query"]}, "lora_targets has query, expected some of"),
        ("wavlm", {}, "lora_targets has q_proj, expected some of intermediate_dense, output_dense"),
    ],
)
def test_what_cannot_be_adapted_is_said_in_one_line(family, options, message):
    with pytest.raises(InputError, match=message):
        encoder(family, lora_rank=2, **options)


@pytest.mark.parametrize(
    ("family", "options", "message"),
    [
        ("wav2vec2", {"trained": 1}, r"ia3_targets is \['k_proj'\], expected trained: none"),
        ("wav2vec2", {"lora_rank": 2}, "lora_rank and ia3_targets, expected one of them"),
        ("wavlm", {}, "ia3_targets has k_proj, expected some of intermediate_dense, output_dense"),
    ],
)
def test_scales_that_cannot_be_are_said_in_one_line(family, options, message):
    with pytest.raises(InputError, match=message):
        encoder(family, ia3_targets=["k_proj"], **options)


def test_a_missing_library_is_named_with_the_way_out(monkeypatch):
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(InputError, match=r"pip install 'wedefense_lite\[lora\]'"):
        encoder(lora_rank=2)
