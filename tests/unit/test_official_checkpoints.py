"""Checkpoints with the names of official code: the scores of the model that they were made from.

The official names are those of tests/reference/fidelity.
"""

import json
import re
import sys
from argparse import Namespace
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

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
from wedefense_lite.systems.batch import Batch
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
LAYER = re.compile(r"encoder\.layers\.0\.")
DEEP = {"num_hidden_layers": 24}


class Case(NamedTuple):
    """A checkpoint.

    Attributes:
        config: configuration of the system.
        reference: file of the official names.
        around: what is around the weights.
        shape: what the encoder has other than SHAPE; None without encoder.
        options: options of the model.
        form: importer that knows the names, where it isn't that of ``--from``.
        wavlm: whether the encoder is WavLM.
        prefix: what stands before all names.
        optional: what begins names of weights that the system has none for.
    """

    config: str
    reference: str
    around: str = "plain"
    shape: dict | None = None
    options: dict = {}
    form: str | None = None
    wavlm: bool = False
    prefix: str = ""
    optional: tuple[str, ...] = ()


MAMBA = "the names of the code of XLSR-Mamba"
SMALL_RESNET = {"channels": 8, "se_ratio": 0}
# By --from and, in brackets, what it is of.
CASES = {
    "aasist": Case("aasist_l", "ssl_aasist"),
    "rawnet2": Case("rawnet2", "rawnet2_2021"),
    "rawnet2_asvspoof5": Case("rawnet2_asvspoof5", "rawnet2_asvspoof5"),
    "rawnet2_2019": Case("rawnet2_2019", "rawnet2_2019"),
    "ssl_aasist (LA)": Case("xlsr_aasist", "ssl_aasist", shape={}),
    "ssl_aasist (DF)": Case("xlsr_aasist", "ssl_aasist", "module", {}),
    "sls": Case("xlsr_sls", "sls", "module", DEEP),
    "nes2net": Case("xlsr_nes2net", "nes2net_x", shape={}),
    "tcm": Case("xlsr_tcm", "tcm", "state_dict", {}),
    "xlsr_mamba": Case(
        "xlsr_mamba", MAMBA, "safetensors", {}, options={"embed_dim": 32, "blocks": 1}
    ),
    "spectra0": Case("xlsr_ecapa", "spectra_0", "safetensors", {}),
    "antideepfake": Case("antideepfake", "antideepfake_tiny", "model", {}),
    "wedefense (MHFA)": Case("xlsr_mhfa", "mhfa", shape=DEEP, options={"heads": 32}),
    "wedefense (MHFA, localization)": Case(
        "localization_xlsr_mhfa", "mhfa", shape=DEEP, optional=("pooling_fc.",)
    ),
    "wedefense (ResNet18)": Case(
        "resnet18_se", "resnet18_wedefense", options=SMALL_RESNET, form="wespeaker"
    ),
    "wespeaker (ResNet18)": Case("resnet18_se", "resnet18_wedefense", options=SMALL_RESNET),
    "wespeaker (ResNet34)": Case(
        "resnet18_se",
        "resnet18_wedefense",
        options=SMALL_RESNET | {"blocks": [3, 4, 6, 3]},
        form="wespeaker_resnet34",
    ),
    "wespeaker (ECAPA-TDNN)": Case(
        "ecapa", "ecapa_c512", options={"channels": 32}, form="wespeaker_ecapa"
    ),
    "nii_lcnn": Case("lfcc_lcnn_lstm", "lfcc_lcnn_lstm_sigmoid"),
    "nii_lcnn (P2SGrad)": Case(
        "lfcc_lcnn_lstm_p2sgrad", "lfcc_lcnn_lstm_p2sgrad", form="nii_lcnn_p2sgrad"
    ),
    "air_oc": Case("resnet18_oc", "air_resnet18_oc"),
    "se_res2net50": Case("se_res2net50", "se_res2net50", "state_dict"),
    "eabn": Case("eabn", "eabn", "state_dict"),
    "partialspoof": Case(
        "localization_wav2vec2_gmlp",
        "partialspoof_gmlp",
        shape=DEEP | {"hidden_size": 256},
        options={"max_frames": 192},
    ),
    "bam": Case(
        "localization_bam", "bam", "lightning", {"hidden_size": 128}, wavlm=True, prefix="model."
    ),
    "sal": Case("localization_sal", "sal", "state_dict", DEEP, wavlm=True, prefix="net."),
    "cfprf": Case("localization_cfprf", "cfprf_fdn", shape={}, options={"max_frames": 100}),
}


def small(case: Case, path: Path) -> str:
    """The configuration of a case with a small encoder and options of the model, as a file."""
    settings = yaml.safe_load((ROOT / f"conf/{case.config}.yaml").read_text())
    parts = settings["system"]["init_args"]
    if case.shape is not None:
        parts["frontend"]["init_args"]["architecture"] = SHAPE | case.shape
    parts["model"].setdefault("init_args", {}).update(case.options)
    if case.reference == "ecapa_c512":
        # The projection of WeDefense, which trains it for two classes.
        parts["head"]["init_args"] = {"norm": True}
    if "Fbank" in parts["frontend"]["class_path"]:
        parts["frontend"]["init_args"]["dither"] = 0.0
    path.write_text(yaml.safe_dump(settings))
    return str(path)


def run_in(system: nn.Module) -> None:
    """Give the norms of a system statistics and weights of their own."""
    for name, value in system.state_dict().items():
        is_statistic = name.endswith(("running_mean", "running_var"))
        if is_statistic or name.endswith(("weight", "bias")) and value.ndim == 1:
            value += 0.1 * torch.rand_like(value)


def names_of_mamba() -> list[str]:
    """Names of a column of two blocks, the last of which has the number of the sixth."""
    names = ["LL.weight", "LL.bias", "conformer.norm_f.weight"]
    names += [f"first_bn.{key}" for key in nn.BatchNorm2d(1).state_dict()]
    for layer in ("f_attention_pool", "b_attention_pool", "LL", "classifier"):
        names += [f"conformer.{layer}.weight", f"conformer.{layer}.bias"]
    block = ["norm.weight", "mixer.A_log", "mixer.D", "mixer.conv1d.weight", "mixer.conv1d.bias"]
    block += ["mixer.in_proj.weight", "mixer.x_proj.weight", "mixer.out_proj.weight"]
    block += ["mixer.dt_proj.weight", "mixer.dt_proj.bias"]
    for column in ("forward", "backward"):
        for number in (0, 5):
            names += [f"conformer.{column}_layers.{number}.{name}" for name in block]
    return names


def listed_names(reference: str) -> list[str]:
    if reference == MAMBA:
        return names_of_mamba()
    listing = json.loads((FIDELITY / f"{reference}.json").read_text())
    return [entry["name"] for entry in listing["state"]]


def names_of_back_end(source: str, case: Case) -> list[str]:
    """All official names of a checkpoint but those of its encoder."""
    names = listed_names(case.reference)
    if source == "aasist":
        # The same without what stands between encoder and graphs.
        between = ("LL.", "first_bn1.", "attention.")
        return [name for name in names if not name.startswith(between)]
    if source == "eabn":
        # The network alone is saved.
        return [name.removeprefix("model.") for name in names if name.startswith("model.")]
    if case.form == "wespeaker_resnet34":
        more = []
        for stage, count in enumerate((3, 4, 6, 3), 1):
            second = [name for name in names if name.startswith(f"layer{stage}.1.")]
            for block in range(2, count):
                more += [name.replace(".1.", f".{block}.", 1) for name in second]
        return names + more
    if case.form == "wespeaker_ecapa":
        projection = listed_names("resnet18_wedefense")
        return names + [name for name in projection if name.startswith("projection.")]
    return names


def names_of_encoder(case: Case) -> list[str]:
    """Official names of an encoder of as many layers as a case has."""
    depth = (SHAPE | case.shape)["num_hidden_layers"]
    names = []
    for name in listed_names("wavlm_tiny_large" if case.wavlm else "wav2vec2_tiny_large"):
        if ".layers.1." in name:
            continue
        is_in_layers = LAYER.search(name) and "relative_attention_bias" not in name
        for layer in range(depth if is_in_layers else 1):
            names.append(name.replace(".layers.0.", f".layers.{layer}."))
    return names


# What stands before the names of an encoder, where it isn't what the importer's pattern says.
ENCODERS = {"bam": "ssl_layer.model.", "sal": "ssl_encoder.ssl_encoder.model."}


def names_of_checkpoint(source: str, form: str, case: Case) -> list[str]:
    names = names_of_back_end(source, case)
    pattern = importers()[form].encoder
    has_encoder = case.reference == "antideepfake_tiny"
    if case.shape is not None and not has_encoder:
        prefix = ENCODERS.get(source, pattern.strip("^").replace("\\", ""))
        encoder = [prefix + name for name in names_of_encoder(case)]
        if source == "spectra0":
            # Its encoder has the names of the hub.
            ours = [rename(form, name) for name in encoder]
            encoder = [name.replace("frontend.encoder.network.", prefix) for name in ours if name]
        names = names + encoder
    return [case.prefix + name for name in names]


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
        elif change is patterns.without_inner_axes:
            value = value[..., None, None]
        elif change is patterns.of_25_layers:
            # Their parameter has room for more.
            value = torch.cat((value, torch.ones(5)))
        elif change is patterns.difference_rows:
            value = value[1:] - value[:1]
        elif change is patterns.centred_rows:
            value = value + torch.linspace(0, 1, len(value))[:, None]
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


@pytest.mark.parametrize("name", ["model.key.1.weight", "model.value.1.weight"])
def test_weights_of_wedefense_see_no_mean_over_the_features(name):
    """Its code takes the mean over the features from the states, ours from the weights."""
    value = torch.randn(4, 6) + 1
    for pattern, change in importers()["wedefense"].changes:
        if re.search(pattern, name):
            value = change(value)
    torch.testing.assert_close(value.mean(1), torch.zeros(4))


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
    if around == "lightning":
        options = {"args": Namespace(resolution=0.16), "config": Options()}
        content = {"state_dict": state, "epoch": 7, "hyper_parameters": options}
    torch.save(content, path)
    return str(path)


class Options:
    """Options of a training, of a class that only the official code has."""

    __module__ = "utils.tool"
    __qualname__ = "Attribution_Config"

    def __init__(self):
        self.gap_layer_num = 2


@pytest.fixture(autouse=True)
def official_code(monkeypatch):
    """The module of the class above, which is there where a checkpoint is saved."""
    module = ModuleType("utils.tool")
    module.Attribution_Config = Options
    monkeypatch.setitem(sys.modules, "utils", ModuleType("utils"))
    monkeypatch.setitem(sys.modules, "utils.tool", module)


@torch.no_grad()
def scores(system: nn.Module) -> torch.Tensor:
    system.eval()
    generator = torch.Generator().manual_seed(3)
    wav_BT = 0.1 * torch.randn((2, 16000), generator=generator)
    lengths_B = torch.tensor([16000, 16000])
    return system.logits(Batch(["a", "b"], wav_BT, lengths_B, torch.tensor([0, 1])))


def is_optional(name: str, case: Case) -> bool:
    return bool(case.optional) and name.startswith(case.optional)


def make(name: str, folder: Path) -> tuple[str, str, dict, nn.Module]:
    """Source, configuration, official weights and the system that they were made from."""
    case = CASES[name]
    source = name.partition(" ")[0]
    form = case.form or source
    path = small(case, folder / "small.yaml")
    system = load_experiment(path).system
    run_in(system)
    state = system.state_dict()
    simplify(form, state)
    official = {}
    for official_name in names_of_checkpoint(source, form, case):
        ours = rename(form, official_name)
        value = torch.zeros(3)
        if ours and not is_optional(official_name, case):
            value = official_value(form, ours, state[ours])
        official[official_name] = value
    return source, path, official, system


@pytest.mark.turns
@pytest.mark.parametrize("name", CASES)
def test_a_checkpoint_scores_as_the_model_that_it_was_made_from(name, tmp_path):
    case = CASES[name]
    if case.shape is not None:
        pytest.importorskip("transformers")
    source, config, official, system = make(name, tmp_path)
    weights = write(official, case.around, tmp_path)
    exp = tmp_path / "exp"
    import_weights(weights, config, str(exp), seen=(9, 1), **{"from": source})
    imported = load_experiment(exp / "config.yaml").system
    checkpoint.load_weights(exp / "models/best_model.pt", imported)
    torch.testing.assert_close(scores(imported), scores(system), rtol=0, atol=1e-5)
    # Names that ours have none for are named as unused.
    form = case.form or source
    unused = []
    for official_name in official:
        if not rename(form, official_name) or is_optional(official_name, case):
            unused.append(official_name)
    assert read_json(exp / "env.json")["unused_weights"] == sorted(unused)
    # One key more, one less, one of another shape: each is named.
    used = [key for key in official if rename(form, key) and official[key].ndim]
    # Without a layer of its projection, a model of WeSpeaker would be one for speakers.
    *_, absent, last = [key for key in used if not key.startswith("projection.")]
    official["novel.weight"] = torch.zeros(2)
    official[last] = official[last].repeat_interleave(3, -1)
    del official[absent]
    weights = write(official, case.around, tmp_path)
    with pytest.raises(InputError, match="3 names do not fit") as error:
        import_weights(weights, config, str(tmp_path / "no"), seen=(9, 1), **{"from": source})
    for message in ("novel.weight is [2]", f"{rename(form, absent)} is missing", last):
        assert message in str(error.value)
    assert not (tmp_path / "no").exists()


@pytest.mark.parametrize("name", [name for name in CASES if name.startswith("wespeaker")])
def test_a_model_for_speakers_is_a_starting_point(name, tmp_path, caplog):
    _, config, official, system = make(name, tmp_path)
    backbone = {name: official[name] for name in official if not name.startswith("projection.")}
    weights = write(backbone | {"projection.weight": torch.zeros(50, 8)}, "plain", tmp_path)
    exp = tmp_path / "exp"
    import_weights(weights, config, str(exp), seen=(9, 1), **{"from": "wespeaker"})
    assert "the head begins anew" in caplog.text
    assert read_json(exp / "env.json")["unused_weights"] == ["projection.weight"]
    imported = checkpoint.load(exp / "models/best_model.pt")["model"]
    for key, value in system.model.state_dict().items():
        assert torch.equal(imported[f"model.{key}"], value)


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
    _, config, official, _ = make("wespeaker (ResNet18)", tmp_path)
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
