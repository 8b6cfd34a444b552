"""Checkpoints with the names of official code: the scores of the model that they were made from.

The official names are those of tests/reference/fidelity.
"""

import json
import re
from argparse import Namespace
from pathlib import Path

import pytest
import torch
import yaml
from refvectors import FIDELITY, ROOT, Reference
from safetensors.torch import save_file
from torch import nn

from wedefense_lite.bin.import_weights import import_weights
from wedefense_lite.files import InputError, read_json
from wedefense_lite.frontends import SSL
from wedefense_lite.frontends.fairseq import hub_weights
from wedefense_lite.interop import patterns
from wedefense_lite.interop.official import importers, rename
from wedefense_lite.systems import checkpoint
from wedefense_lite.systems.experiment import load_experiment

torch.set_num_threads(1)
SHAPE = {
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 32,
    "conv_dim": [16] * 7,
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 4,
}
ENCODER = "wav2vec2_tiny_large"
LAYER = re.compile(r"encoder\.layers\.0\.")
DEEP = {"num_hidden_layers": 24}
# --from: configuration, changes of the encoder (None: no encoder), options of the model, file of
# the official names, what is around the weights.
SYSTEMS = {
    "ssl_aasist": ("xlsr_aasist", {}, {}, "ssl_aasist", "module"),
    "sls": ("xlsr_sls", DEEP, {}, "sls", "module"),
    "nes2net": ("xlsr_nes2net", {}, {}, "nes2net_x", "plain"),
    "tcm": ("xlsr_tcm", {}, {}, "tcm", "state_dict"),
    "spectra0": ("xlsr_ecapa", {}, {}, "spectra_0", "safetensors"),
    "antideepfake": ("antideepfake", {}, {}, "antideepfake_tiny", "model"),
    "wedefense": ("xlsr_mhfa", DEEP, {"heads": 32}, "mhfa", "plain"),
    "wespeaker": (
        "resnet18_se",
        None,
        {"channels": 8, "se_ratio": 0},
        "resnet18_wedefense",
        "plain",
    ),
    "nii_lcnn": ("lfcc_lcnn_lstm", None, {}, "lfcc_lcnn_lstm_sigmoid", "plain"),
    "nii_lcnn with P2SGrad": (
        "lfcc_lcnn_lstm_p2sgrad",
        None,
        {},
        "lfcc_lcnn_lstm_p2sgrad",
        "plain",
    ),
    "air_oc": ("resnet18_oc", None, {}, "air_resnet18_oc", "plain"),
}


def small(config: str, shape: dict | None, options: dict, path: Path) -> str:
    """A configuration with a small encoder and options of the model, as a file."""
    settings = yaml.safe_load((ROOT / f"conf/{config}.yaml").read_text())
    parts = settings["system"]["init_args"]
    if shape is not None:
        parts["frontend"]["init_args"]["architecture"] = SHAPE | shape
    parts["model"].setdefault("init_args", {}).update(options)
    if "Fbank" in parts["frontend"]["class_path"]:
        parts["frontend"]["init_args"]["dither"] = 0.0
    path.write_text(yaml.safe_dump(settings))
    return str(path)


def run_in(system: nn.Module) -> None:
    """Give the norms of a system statistics of their own."""
    for name, value in system.state_dict().items():
        if name.endswith(("running_mean", "running_var")):
            value += 0.1 * torch.rand_like(value)


def listed_names(reference: str) -> list[str]:
    listing = json.loads((FIDELITY / f"{reference}.json").read_text())
    return [entry["name"] for entry in listing["state"]]


def names_of_checkpoint(source: str, reference: str, depth: int) -> list[str]:
    """All official names of a checkpoint, those of an encoder of ``depth`` layers among them."""
    names = []
    prefix = (importers()[source].encoder or "").strip("^").replace("\\", "")
    has_encoder = reference == "antideepfake_tiny"
    for name in listed_names(reference):
        names.append(name)
    if prefix and not has_encoder:
        for name in listed_names(ENCODER):
            name = prefix + name
            if not LAYER.search(name):
                if ".layers.1." not in name:
                    names.append(name)
                continue
            for layer in range(depth):
                names.append(name.replace(".layers.0.", f".layers.{layer}."))
    if source == "spectra0":
        # Its encoder has the names of the hub.
        kept = [name for name in names if not name.startswith(prefix)]
        ours = [rename(source, name) for name in names if name.startswith(prefix)]
        hub = [name.replace("frontend.encoder.network.", prefix) for name in ours if name]
        names = kept + hub
    return names


def official_value(source: str, name: str, value: torch.Tensor) -> torch.Tensor:
    """A value of ours as the official code has it."""
    for pattern, change in importers()[source].changes:
        if not re.search(pattern, name):
            continue
        if change is patterns.reversed_rows:
            value = value.flip(0)
        elif change is patterns.without_last_axis:
            value = value[..., None]
        elif change is patterns.transposed:
            value = value.transpose(-1, -2)
        elif change is patterns.flat:
            value = value[None, :, None] if "weights" in name else value[None]
        elif change is patterns.without_first_axis:
            value = value[None]
        elif change is patterns.difference_rows:
            value = value[1:] - value[:1]
        elif change is patterns.centred_rows:
            value = value + torch.arange(len(value))[:, None]
    return value.contiguous().clone()


def simplify(source: str, state: dict) -> None:
    """Make weights of ours what an official checkpoint can say."""
    if source == "nii_lcnn":
        # One logit there: that of spoof is zero.
        state["head.linear.weight"][0] = 0
        state["head.linear.bias"][0] = 0
    if source == "wedefense":
        # The mean over the features has no effect.
        for name in ("model.key.1.weight", "model.value.1.weight"):
            state[name] -= state[name].mean(1, keepdim=True)


def write(state: dict, around: str, folder: Path) -> str:
    path = folder / "official.pth"
    if around == "safetensors":
        path = folder / "official.safetensors"
        save_file(state, path)
        return str(path)
    content = state
    if around == "module":
        content = {f"module.{name}": value for name, value in state.items()}
    if around in ("state_dict", "model"):
        # Options beside the weights, as fairseq saves them.
        content = {around: state, "epoch": 7, "args": Namespace(lr=1e-6)}
    torch.save(content, path)
    return str(path)


@torch.no_grad()
def scores(system: nn.Module) -> torch.Tensor:
    system.eval()
    generator = torch.Generator().manual_seed(3)
    wav_BT = 0.1 * torch.randn((2, 16000), generator=generator)
    return system.head(system.model(*system.frontend(wav_BT, torch.tensor([16000, 16000]))))


def make(case: str, folder: Path) -> tuple[str, str, dict, nn.Module]:
    """Source, configuration, official weights and the system that they were made from."""
    config, shape, options, reference, _ = SYSTEMS[case]
    source = case.split(maxsplit=1)[0]
    form = importers()[source].forms.get(r"^m_angle\.") if "P2SGrad" in case else source
    path = small(config, shape, options, folder / "small.yaml")
    system = load_experiment(path).system
    run_in(system)
    state = system.state_dict()
    simplify(form, state)
    depth = (SHAPE | (shape or {}))["num_hidden_layers"]
    official = {}
    for name in names_of_checkpoint(form, reference, depth):
        ours = rename(form, name)
        official[name] = official_value(form, ours, state[ours]) if ours else torch.zeros(3)
    return source, path, official, system


@pytest.mark.parametrize("case", SYSTEMS)
def test_a_checkpoint_scores_as_the_model_that_it_was_made_from(case, tmp_path):
    if SYSTEMS[case][1] is not None:
        pytest.importorskip("transformers")
    source, config, official, system = make(case, tmp_path)
    weights = write(official, SYSTEMS[case][4], tmp_path)
    exp = tmp_path / "exp"
    import_weights(weights, config, str(exp), seen=(9, 1), **{"from": source})
    imported = load_experiment(exp / "config.yaml").system
    checkpoint.load_weights(exp / "models/best_model.pt", imported)
    torch.testing.assert_close(scores(imported), scores(system), rtol=0, atol=1e-5)
    # Names that ours have none for are named as unused.
    form = "nii_lcnn_p2sgrad" if "P2SGrad" in case else source
    unused = [name for name in official if not rename(form, name)]
    assert read_json(exp / "env.json")["unused_weights"] == sorted(unused)
    # One key more, one less, one of another shape.
    *_, name = [name for name in official if rename(form, name) and official[name].ndim]
    ours = rename(form, name)
    changes = {
        "novel.weight": (official | {"novel.weight": torch.zeros(2)}, r"novel\.weight is \[2\]"),
        "missing": ({key: official[key] for key in official if key != name}, f"{ours} is missing"),
        "shape": (official | {name: official[name].repeat_interleave(3, -1)}, re.escape(name)),
    }
    for state, message in changes.values():
        weights = write(state, SYSTEMS[case][4], tmp_path)
        with pytest.raises(InputError, match=message):
            import_weights(weights, config, str(tmp_path / "no"), seen=(9, 1), **{"from": source})
    assert not (tmp_path / "no").exists()


def test_a_model_for_speakers_is_a_starting_point(tmp_path, caplog):
    _, config, official, system = make("wespeaker", tmp_path)
    backbone = {name: official[name] for name in official if not name.startswith("projection.")}
    weights = write(backbone | {"projection.weight": torch.zeros(50, 256)}, "plain", tmp_path)
    exp = tmp_path / "exp"
    import_weights(weights, config, str(exp), seen=(9, 1), **{"from": "wespeaker"})
    assert "the head begins anew" in caplog.text
    assert read_json(exp / "env.json")["unused_weights"] == ["projection.weight"]
    imported = checkpoint.load(exp / "models/best_model.pt")["model"]
    for name, value in system.model.state_dict().items():
        assert torch.equal(imported[f"model.{name}"], value)


def test_a_whole_module_is_refused_with_the_way_to_convert_it(tmp_path):
    torch.save(nn.Linear(2, 2), tmp_path / "module.pt")
    with pytest.raises(InputError, match=r"torch\.nn.*Linear.*weights_only=False.*state_dict"):
        import_weights(
            str(tmp_path / "module.pt"),
            str(ROOT / "conf/resnet18_oc.yaml"),
            str(tmp_path / "exp"),
            **{"from": "air_oc"},
        )


def test_two_official_names_for_one_weight_are_refused(tmp_path):
    _, config, official, _ = make("wespeaker", tmp_path)
    # A checkpoint of a copy that has been renamed in part.
    weights = write(official | {"stages.0.bn1.weight": torch.ones(8)}, "plain", tmp_path)
    with pytest.raises(InputError, match="would both be model.stages.0.bn1.weight"):
        import_weights(weights, config, str(tmp_path / "exp"), seen=(9, 1), **{"from": "wespeaker"})


@pytest.mark.parametrize("reference", ["wav2vec2_tiny_large", "wavlm_tiny_large"])
@pytest.mark.parametrize("zipped", [True, False])
def test_an_encoder_of_fairseq_is_the_weights_of_a_front_end(
    reference, zipped, tmp_path, monkeypatch
):
    pytest.importorskip("transformers")
    model = "facebook/wav2vec2-xls-r-300m"
    file_name = "xlsr2_300m.pt"
    if reference.startswith("wavlm"):
        model = "microsoft/wavlm-large"
        file_name = "WavLM-Large.pt"
    monkeypatch.setenv("WEDEFENSE_MODELS", str(tmp_path))
    weights = Reference(reference).weights
    # Options, and layers of pretraining.
    content = {"args": Namespace(lr=1e-6), "model": weights | {"quantizer.vars": torch.ones(2)}}
    torch.save(content, tmp_path / file_name, _use_new_zipfile_serialization=zipped)
    shape = {"hidden_size": 32, "intermediate_size": 64, "conv_dim": [24] * 7}
    frontend = SSL(model, SHAPE | shape)
    frontend.load_pretrained()
    expected = hub_weights(weights)
    assert expected.keys() == frontend.network.state_dict().keys()
    for name, value in frontend.network.state_dict().items():
        assert torch.equal(value, expected[name])
    torch.save({"model": nn.Linear(2, 2)}, tmp_path / file_name)
    with pytest.raises(InputError, match=r"torch\.nn.*save its state_dict"):
        frontend.load_pretrained()
