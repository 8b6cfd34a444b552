"""Self-supervised front ends: the encoders of their libraries, from where users have them, trained
as asked.
"""

import copy
import importlib.util
import os
import shutil
import subprocess
import sys
import threading
from collections import Counter
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import tiny
import torch
from torch import nn

from wedefense_lite.files import InputError, read_json, write_json
from wedefense_lite.frontends import SSL, encoders
from wedefense_lite.heads import CrossEntropy
from wedefense_lite.models.weighted_sum import WeightedSum
from wedefense_lite.systems import checkpoint
from wedefense_lite.systems.experiment import load_experiment
from wedefense_lite.systems.tasks import Detection

torch.set_num_threads(1)
if not importlib.util.find_spec("transformers"):
    pytest.skip("the extra ssl isn't installed", allow_module_level=True)
SHAPE = tiny.ENCODER | {"num_hidden_layers": 3}
LARGE = {"feat_extract_norm": "layer", "do_stable_layer_norm": True}
KINDS = {
    "tiny/wav2vec2": {"model_type": "wav2vec2"},
    "tiny/hubert": {"model_type": "hubert"},
    "tiny/wavlm": {"model_type": "wavlm"},
    "tiny/xls-r": {"model_type": "wav2vec2", "conv_bias": True} | LARGE,
    "tiny/wavlm-large": {"model_type": "wavlm"} | LARGE,
}
MASKED = ["tiny/xls-r", "tiny/wavlm-large"]
WAV = torch.randn(2, 6400, generator=torch.Generator().manual_seed(0)) * 0.1 + 0.01
WHOLE, SHORT = torch.tensor([6400, 6400]), torch.tensor([6400, 4800])
PADDED = WAV * (torch.arange(6400) < SHORT[:, None])


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> Path:
    """A model of each kind, in the hub's own format."""
    folder, library = tmp_path_factory.mktemp("models"), encoders.import_transformers()
    for name, kind in KINDS.items():
        torch.manual_seed(len(name))
        model = library.AutoModel.from_config(library.AutoConfig.for_model(**SHAPE, **kind))
        for parameter in model.parameters():  # so that no bias is zero, and no norm is idle
            nn.init.normal_(parameter, parameter.mean().item(), 0.1)
        model.save_pretrained(folder / name)
    return folder


@pytest.fixture(autouse=True)
def at_home(models, monkeypatch):
    """Models are in a folder; the hub can't be reached."""
    monkeypatch.setenv("WEDEFENSE_MODELS", str(models))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


def pretrained(name: str, **options) -> SSL:
    frontend = SSL(name, **options)
    frontend.load_pretrained()
    return frontend.eval()


def random(name: str = "tiny/xls-r", **options) -> SSL:
    torch.manual_seed(0)
    return SSL("made-up", SHAPE | KINDS[name], **options)


@pytest.mark.parametrize("name", KINDS)
def test_states_are_exactly_those_of_transformers(name, models):
    """Also those of padded batches. The last state of a model with stable layer norm has no final
    norm, "last" has.
    """
    model = encoders.import_transformers().AutoModel.from_pretrained(models / name).eval()
    mask = (torch.arange(6400) < SHORT[:, None]).long() if name in MASKED else None
    for wav, lengths, attention in ((WAV, WHOLE, None), (PADDED, SHORT, mask)):
        with torch.no_grad():
            expected = model(wav, attention_mask=attention, output_hidden_states=True)
        states = torch.stack(expected.hidden_states, 2)
        for layers, wanted in {
            "all": states,
            2: states[:, :, -2:],
            "last": expected.last_hidden_state,
        }.items():
            frontend = pretrained(name, layers=layers, normalize=False)
            found, frames = frontend(wav, lengths)
            assert frames.tolist() == model._get_feat_extract_output_lengths(lengths).tolist()
            found = found.unflatten(2, (frontend.num_layers, -1)) if layers != "last" else found
            for row, count in enumerate(frames):
                assert (
                    torch.equal(found[row, :count], wanted[row, :count])
                    and not found[row, count:].any()
                )
    assert torch.equal(expected.last_hidden_state, states[:, :, -1]) is (name not in MASKED)


def test_without_transformers_it_is_said(monkeypatch):
    # None makes a module look absent.
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(InputError, match=r"pip install 'wedefense_lite\[ssl\]'"):
        random()


@pytest.mark.parametrize("name", KINDS)
def test_families_get_masks_and_unit_variance_as_in_pretraining(name):
    """Values that stand for a padded utterance are those of it alone, but for a group norm over
    the whole length.
    """
    frontend, seen = random(name).eval(), []
    frontend.encoder.register_forward_pre_hook(lambda module, given: seen.append(given))
    together, frames = frontend(PADDED, SHORT)
    alone, _ = frontend(PADDED[1:, :4800], SHORT[1:])
    (wav, mask), (_, of_one) = seen
    assert of_one is None
    if name in MASKED:
        torch.testing.assert_close(together[1:, : frames[1]], alone, rtol=1e-5, atol=1e-5)
        library = encoders.import_transformers()
        extractor = library.Wav2Vec2FeatureExtractor(do_normalize=True)
        for row, length in enumerate(SHORT):
            expected = extractor(
                PADDED[row, :length].numpy(), sampling_rate=16000, return_tensors="pt"
            ).input_values
            torch.testing.assert_close(wav[row, :length], expected[0], rtol=1e-5, atol=1e-5)
            assert not wav[row, length:].any() and mask[row].sum() == length
    else:
        assert mask is None and wav is PADDED
    assert random(name, mask=True).mask and not random(name, normalize=False).normalize


@pytest.mark.parametrize(
    ("options", "trained"),
    [
        ({}, "extractor projection position 0 1 2 norm"),
        ({"trained": "none"}, ""),
        ({"trained": 1}, "2 norm"),
        ({"trained": 2, "layers": 2}, "1 2"),
        ({"freeze_extractor": True}, "projection position 0 1 2 norm"),
        ({"layers": "all", "checkpointing": True}, "extractor projection position 0 1 2"),
        ({"layer_drop": 1.0, "layers": "all"}, "extractor projection position 0 1 2"),
    ],
)
@pytest.mark.parametrize("name", MASKED)
def test_gradients_are_where_they_should_be_and_nowhere_else(name, options, trained):
    """Every parameter that is trained has one, as training on several processes needs."""
    frontend = random(name, **options)
    parts = {
        "extractor": frontend.network.feature_extractor,
        "projection": frontend.network.feature_projection,
    }
    parts |= {
        "position": frontend.network.encoder.pos_conv_embed,
        "norm": frontend.network.encoder.layer_norm,
    }
    parts |= {str(number): layer for number, layer in enumerate(frontend.network.encoder.layers)}
    kept = []
    frontend.network.feature_extractor.register_forward_hook(
        lambda module, given, made: kept.append(made)
    )
    found, _ = frontend.train()(PADDED, SHORT)
    assert found.requires_grad is bool(trained) and kept[0].requires_grad is (
        "extractor" in trained
    )
    if trained:
        found.square().sum().backward()
    for part, module in parts.items():
        for parameter in module.parameters():
            assert (
                parameter.requires_grad is (parameter.grad is not None) is (part in trained.split())
            ), part


def test_a_frozen_encoder_stays_in_evaluation_mode():
    task = Detection(random(trained="none", dropout=0.5), tiny.MeanFrame, CrossEntropy).train()
    assert task.training and not any(module.training for module in task.frontend.modules())
    assert torch.equal(task.frontend(WAV, WHOLE)[0], task.frontend(WAV, WHOLE)[0])
    tuned = random(dropout=0.5).train()
    assert not torch.equal(tuned(WAV, WHOLE)[0], tuned(WAV, WHOLE)[0])


def test_learning_rates_fall_from_layer_to_layer(tmp_path):
    """0.1 for the last layer and the norm behind it, half of it for each layer below."""
    exp = tiny.experiment(model=tiny.MeanFrame, lr=2.0)
    exp.system = Detection(random(rate_factor=0.1, layer_decay=0.5), tiny.MeanFrame, CrossEntropy)
    optimizer = tiny.trainer(exp, tmp_path, tiny.corpus(tmp_path / "train", 4)).optimizer
    rate_of = {value: group["lr"] for group in optimizer.param_groups for value in group["params"]}
    network, names = (
        exp.system.frontend.network,
        {value: name for name, value in exp.system.named_parameters()},
    )
    assert sum(map(len, (group["params"] for group in optimizer.param_groups))) == len(names)
    expected = {
        network.encoder.layer_norm: 0.2,
        network.feature_extractor: 0.025,
        exp.system.head: 2.0,
    }
    expected |= dict(zip(network.encoder.layers, (0.05, 0.1, 0.2)))
    for module, rate in expected.items():
        assert all(rate_of[value] == pytest.approx(rate) for value in module.parameters())
    assert optimizer.param_groups[0]["lr"] == 2.0  # what metrics.csv tells


def test_the_gradient_into_the_encoder_is_multiplied():
    found = []
    for factor in (1.0, 0.25):
        frontend = random(gradient_factor=factor, dropout=0.0)
        output, _ = frontend.train()(WAV, WHOLE)
        output.square().sum().backward()
        found.append((output, frontend.network.feature_projection.projection.weight.grad))
    assert torch.equal(found[0][0], found[1][0])
    torch.testing.assert_close(found[1][1], 0.25 * found[0][1])


def counted(kept: Counter, value: torch.Tensor) -> torch.Tensor:
    kept["numbers"] += value.numel()
    return value


@pytest.mark.parametrize("name", ["tiny/wav2vec2", *MASKED])
def test_checkpointing_keeps_less_and_changes_nothing(name):
    found = []
    for checkpointing in (False, True):
        frontend, kept = random(name, checkpointing=checkpointing).train(), Counter()
        torch.manual_seed(1)
        with torch.autograd.graph.saved_tensors_hooks(partial(counted, kept), lambda value: value):
            output, _ = frontend(PADDED, SHORT)
        output.square().sum().backward()
        found.append(
            (output, frontend.network.feature_projection.projection.weight.grad, kept.total())
        )
    torch.testing.assert_close(found[0][:2], found[1][:2], rtol=1e-3, atol=1e-4)
    assert found[1][2] < 0.5 * found[0][2]
    batches = []
    frontend.eval().network.feature_extractor.conv_layers[0].register_forward_hook(
        lambda module, given, made: batches.append(len(made))
    )
    frontend(WAV, WHOLE)
    assert batches == [2], "nothing is computed one by one where nothing is computed again"
    for part in (
        "encoder.layers.2",
        "feature_extractor",
    ):  # a moving average of the weights is a copy
        average = copy.deepcopy(frontend.eval())
        for parameter in average.network.get_submodule(part).parameters():
            nn.init.constant_(parameter, 0.1)
        assert not torch.equal(average(WAV, WHOLE)[0], frontend(WAV, WHOLE)[0])


@pytest.mark.parametrize("name", ["tiny/wav2vec2", "tiny/wavlm"])
def test_layers_are_dropped_in_training_only(name):
    frontend = random(name, layers="all", layer_drop=1.0, dropout=0.0)
    states = frontend.train()(WAV, WHOLE)[0].unflatten(2, (4, -1))
    assert torch.equal(states, states[:, :, :1].expand_as(states))
    plain = random(name, layers="all", dropout=0.0)
    assert torch.equal(frontend.eval()(WAV, WHOLE)[0], plain.eval()(WAV, WHOLE)[0])


@pytest.mark.parametrize("name", KINDS)
def test_bfloat16_is_the_trainers_to_choose(name):
    frontend = random(name, dropout=0.0)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found, _ = frontend.train()(PADDED, SHORT)
    found.sum().backward()
    expected, _ = frontend(PADDED, SHORT)
    assert found.dtype == torch.float32 and not torch.equal(found, expected)
    assert (found - expected).abs().mean() < 0.05


def test_weights_of_pretraining_have_prefixes_old_names_and_more(models, tmp_path, monkeypatch):
    """As the published ones do: XLS-R has a quantizer, and its convolution of positions two old
    names.
    """
    expected = pretrained("tiny/xls-r").state_dict()
    state = {name.removeprefix("encoder.network."): value for name, value in expected.items()}
    for old, new in {"weight_g": "original0", "weight_v": "original1"}.items():
        state[f"encoder.pos_conv_embed.conv.{old}"] = state.pop(
            f"encoder.pos_conv_embed.conv.parametrizations.weight.{new}"
        )
    state = {f"wav2vec2.{name}": value for name, value in state.items()} | {
        "quantizer.codevectors": torch.ones(2)
    }
    folder = tmp_path / "tiny/old"
    folder.mkdir(parents=True)
    shutil.copy(models / "tiny/xls-r/config.json", folder)
    torch.save(state, folder / "pytorch_model.bin")
    monkeypatch.setenv("WEDEFENSE_MODELS", str(tmp_path))
    found = pretrained("tiny/old").state_dict()
    assert found.keys() == expected.keys() and all(
        torch.equal(found[name], expected[name]) for name in found
    )
    for broken, said in (
        ({}, "another model than tiny/old: .*Missing key"),
        (b"version https://git-lfs", "damaged"),
    ):
        (folder / "pytorch_model.bin").unlink()
        if isinstance(broken, bytes):
            (folder / "pytorch_model.bin").write_bytes(broken)
        else:
            torch.save(dict(list(state.items())[1:]), folder / "pytorch_model.bin")
        with pytest.raises(InputError, match=said):
            pretrained("tiny/old")


def test_what_cannot_be_is_said_in_one_line(models):
    where = rf"nobody/nothing: no config.json .*: put it at {models}/nobody/nothing/config.json"
    with pytest.raises(InputError, match=where):
        SSL("nobody/nothing")
    with pytest.raises(
        InputError,
        match="tiny/xls-r: a path, expected a name, .*: WEDEFENSE_MODELS=.*/tiny and xls-r",
    ):
        SSL(str(models / "tiny/xls-r"))
    with pytest.raises(
        InputError, match="microsoft/wavlm-x: no model.safetensors or pytorch_model.bin"
    ):
        SSL("microsoft/wavlm-x", SHAPE).load_pretrained()
    with pytest.raises(InputError, match="a/b: whisper, expected wav2vec2 or hubert or wavlm"):
        SSL("a/b", SHAPE | {"model_type": "whisper"})
    for option, asked, most in (("layers", 5, 4), ("trained", 4, 3)):
        with pytest.raises(InputError, match=f"a/b: {option} is {asked}, expected at most {most}"):
            SSL("a/b", SHAPE, **{option: asked})
    with pytest.raises(
        InputError,
        match=r"wav2vec2-xls-r-300n: no config.json \(.*; or is it .*wav2vec2-xls-r-300m\?\)",
    ):
        SSL("facebook/wav2vec2-xls-r-300n")
    with pytest.raises(
        InputError, match="WeightedSum: num_layers is 2, expected 4, as in its frames"
    ):
        Detection(random(layers="all"), partial(WeightedSum, num_layers=2), CrossEntropy)
    with pytest.raises(
        InputError, match="a/b: architecture has depth, expected some of model_type, hidden_size"
    ):
        SSL("a/b", SHAPE | {"depth": 3})
    with pytest.raises(ValueError, match="399 samples are too short"):
        random()(WAV[:, :399], torch.tensor([399, 399]))


def test_sizes_that_are_given_are_changes_of_the_models():
    frontend = SSL("facebook/wav2vec2-xls-r-300m", SHAPE)
    assert frontend.stable and frontend.normalize and frontend.dim == SHAPE["hidden_size"]
    assert frontend.network.feature_extractor.conv_layers[0].conv.bias is not None


def test_an_old_transformers_is_refused(monkeypatch):
    """Its encoders of stable layer norm give the last state with the final norm."""
    monkeypatch.setattr("transformers.__version__", "4.57.1")
    with pytest.raises(
        InputError, match=r"transformers is 4.57.1, expected 5.23 or newer: pip install"
    ):
        random()


@pytest.mark.parametrize(
    "name", ["hidden_act", "layer_norm_eps", "add_adapter", "feat_proj_layer_norm"]
)
def test_parts_of_an_encoder_that_are_not_known_are_refused(name, models, tmp_path, monkeypatch):
    """They would be another model, with weights that may fit."""
    config = read_json(models / "tiny/xls-r/config.json")
    value = {"hidden_act": "relu", "layer_norm_eps": 1e-6}.get(name, not encoders.FIXED[name])
    write_json(tmp_path / "tiny/other/config.json", config | {name: value})
    monkeypatch.setenv("WEDEFENSE_MODELS", str(tmp_path))
    with pytest.raises(
        InputError,
        match=f"tiny/other/config.json: {name} is {value}, expected {encoders.FIXED[name]}",
    ):
        SSL("tiny/other")


def test_an_experiment_holds_the_architecture_and_its_checkpoint_the_weights(
    tmp_path, models, monkeypatch
):
    """A model that isn't known here is found when training starts; no later stage looks for it."""
    from wedefense_lite.bin import train as stage

    monkeypatch.setattr(stage, "start_process", lambda *options: tiny.ALONE)
    options = {"model": "tiny/wavlm-large", "trained": "none"}
    system = {"frontend": {"class_path": "SSL", "init_args": options}}
    config = tiny.write_config(tmp_path, system=system, num_epochs=1)
    listed, labels = tiny.write_lists(tmp_path, tiny.corpus(tmp_path / "train", 4))
    stage.train(load_experiment(config), tmp_path / "exp", listed, labels, data_type="raw")
    monkeypatch.setenv("WEDEFENSE_MODELS", str(tmp_path / "nowhere"))
    exp = load_experiment(tmp_path / "exp/config.yaml")
    checkpoint.load_weights(tmp_path / "exp/models/model_1.pt", exp.system)
    assert str(models) not in exp.text and exp.system.frontend.network.config.model_type == "wavlm"
    monkeypatch.setenv("WEDEFENSE_MODELS", str(models))
    expected, found = pretrained("tiny/wavlm-large").state_dict(), exp.system.frontend.state_dict()
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    exp.system.frontend.load_pretrained = lambda: pytest.fail(
        "a training that goes on has its weights"
    )
    stage.train(exp, tmp_path / "exp", listed, labels, data_type="raw")


class Hub(SimpleHTTPRequestHandler):
    """What the hub says of a file, at ``/<model>/resolve/main/<file>``."""

    asked: Counter

    def translate_path(self, path):
        self.asked[self.command, path] += 1
        return super().translate_path(path.replace("/resolve/main/", "/"))

    def end_headers(self):
        self.send_header("ETag", f'"{self.path.replace("/", "-")}"')
        self.send_header("X-Repo-Commit", "0" * 40)
        super().end_headers()

    def log_message(self, *_):
        pass


@pytest.fixture
def hub(models):
    Hub.asked = Counter()
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Hub, directory=str(models)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


FETCH = """
import os, sys
from wedefense_lite.bin import train
from wedefense_lite.frontends import encoders
def fetch():
    weights = encoders.read_weights(encoders.find_file("tiny/xls-r", encoders.WEIGHT_FILES))
    print(encoders.find_architecture("tiny/xls-r")["hidden_size"], len(weights), flush=True)
if not os.fork():  # the library of the hub reads the environment once
    fetch()
    os._exit(0)
os.wait()
print("offline", flush=True)
try:
    train.main()
finally:
    fetch()
"""


def test_models_come_from_the_hub_once_and_offline_makes_no_connection(hub, tmp_path):
    system = {"frontend": {"class_path": "SSL", "init_args": {"model": "tiny/wavlm"}}}
    options = f"--offline --config {tiny.write_config(tmp_path, system)} --exp_dir {tmp_path / 'exp'}".split()
    root = Path(encoders.__file__).parents[2]
    own = {
        "HF_ENDPOINT": hub,
        "HF_HOME": str(tmp_path / "cache"),
        "WEDEFENSE_MODELS": "",
        "PYTHONPATH": str(root),
    }
    command = [sys.executable, "-c", FETCH, *options, "--train_data", "x", "--train_label", "x"]
    process = subprocess.Popen(
        command, env=os.environ | own, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    online = [process.stdout.readline() for _ in range(2)]
    asked = Counter(Hub.asked)
    offline, errors = process.communicate()
    count = len(
        encoders.read_weights(Path(os.environ["WEDEFENSE_MODELS"], "tiny/xls-r/model.safetensors"))
    )
    assert online == [f"16 {count}\n", "offline\n"] and offline == online[0], errors
    fetched = {path.rsplit("/", 1)[1] for kind, path in asked if kind == "GET"}
    assert {"config.json", "model.safetensors"} <= fetched
    assert process.returncode == 2 and "tiny/wavlm: no config.json" in errors.splitlines()[-1]
    assert Hub.asked == asked


def test_a_download_that_breaks_off_is_said_in_one_line(hub, tmp_path, monkeypatch):
    """By the hub's library it ends in an error of its network's own kind."""
    monkeypatch.setattr(Hub, "copyfile", lambda self, source, target: target.write(b"{"))
    code = "from wedefense_lite import cli; from wedefense_lite.frontends import SSL\n"
    code += "with cli.one_line_errors('x'): SSL('tiny/xls-r')"
    root = Path(encoders.__file__).parents[2]
    own = {
        "HF_ENDPOINT": hub,
        "HF_HOME": str(tmp_path),
        "WEDEFENSE_MODELS": "",
        "PYTHONPATH": str(root),
    }
    own |= {"HF_HUB_OFFLINE": "0", "HF_HUB_DOWNLOAD_TIMEOUT": "2"}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | own,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (
        done.returncode == 2
        and "x: error: tiny/xls-r: no config.json (" in done.stderr.splitlines()[-1]
    ), done.stderr


def test_offline_imports_make_no_connection(hub, tmp_path):
    root = Path(encoders.__file__).parents[2]
    words = "--offline --from transformers --weights tiny/wavlm --seen [1,1]".split()
    words += [
        "--config",
        str(root / "conf/wavlm_classifier.yaml"),
        "--exp_dir",
        str(tmp_path / "exp"),
    ]
    own = {
        "HF_ENDPOINT": hub,
        "HF_HOME": str(tmp_path / "cache"),
        "WEDEFENSE_MODELS": "",
        "PYTHONPATH": str(root),
    }
    command = [sys.executable, str(root / "wedefense_lite/bin/import_weights.py"), *words]
    done = subprocess.run(
        command, env=os.environ | own, capture_output=True, text=True, check=False
    )
    assert (
        done.returncode == 2 and "tiny/wavlm: no audio classifier of transformers" in done.stderr
    ), done.stderr
    assert not Hub.asked
