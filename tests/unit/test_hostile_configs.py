"""A configuration of somebody else builds components, and nothing else; what is no YAML ends in one
line and bounded time.
"""

import copy
import sys
import time
import webbrowser
from contextlib import suppress
from pathlib import Path

import commands
import pytest
import tiny
import yaml
from examples import examples
from hypothesis import given
from hypothesis import strategies as st

from wedefense_lite.bin import train
from wedefense_lite.bin.infer import infer
from wedefense_lite.files import InputError, read_json
from wedefense_lite.models import Backbone
from wedefense_lite.systems.components import checked_settings
from wedefense_lite.systems.experiment import build, checked_words, load_experiment
from wedefense_lite.yaml_text import MOST_BYTES, parse_yaml, read_yaml_text

MARKER = "ran_here"
RUN = {"class_path": "os.system", "init_args": {"command": f"touch {MARKER}"}}
EVIL_MODULE = f"""
from pathlib import Path

Path({MARKER!r}).touch()


class Thing:
    pass


def build(*arguments):
    return Thing()
"""
SECTIONS = tiny.CONFIG.keys()


def changed(place: str, value: object) -> dict:
    """The tiny configuration with another value at a dotted place."""
    config = copy.deepcopy(tiny.CONFIG)
    *parents, last = place.split("/")
    inner = config
    for name in parents:
        inner = inner.setdefault(name, {})
    inner[last] = value
    return config


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Working folder with a module that must not be imported, and files with names of classes."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", ["", *sys.path])
    monkeypatch.delitem(sys.modules, "evil_module", raising=False)
    monkeypatch.delitem(sys.modules, "antigravity", raising=False)
    monkeypatch.setattr(webbrowser, "open", lambda *_: Path(MARKER).touch())
    (tmp_path / "evil_module.py").write_text(EVIL_MODULE)
    (tmp_path / "include.yaml").write_text(yaml.safe_dump(RUN))
    (tmp_path / "evil").write_text(yaml.safe_dump(RUN))
    (tmp_path / "CrossEntropy").write_text(yaml.safe_dump(RUN))
    return tmp_path


HEAD = "system/init_args/head"
PLACES = {
    "a class": ("system", RUN),
    "a front end": ("system/init_args/frontend", RUN),
    "a model": ("system/init_args/model", RUN),
    "a head": (HEAD, RUN),
    "an optimizer": ("training/optimizer", RUN),
    "an augmentation": ("data/augment", [RUN]),
    "masks": ("system/init_args/spec_augment", RUN),
    "a schedule": ("training/schedule", RUN),
    "data": ("data", RUN),
    "training": ("training", RUN),
    "an option of a component": ("system/init_args/model/init_args/blocks", RUN),
    "an option of another class": (f"{HEAD}/init_args", {"x": [{"y": RUN}]}),
    "a key of nothing": ("more", RUN),
    "arguments past the constructor": (f"{HEAD}/dict_kwargs", {"x": RUN}),
    "the name of a function": (HEAD, "os.system"),
    "the name of a function as system": ("system", "os.system"),
    "the name of a function as data": ("data", "os.system"),
    "the name of a function as a schedule": ("training/schedule", "os.system"),
    "the name of a function as an optimizer": ("training/optimizer", "os.system"),
    "the name of a function as an augmentation": ("data/augment", ["os.system"]),
    "a module beside it": (HEAD, "evil_module.Thing"),
    "a module beside it, as class": (HEAD, {"class_path": "evil_module.Thing"}),
    "a module beside it, as data": ("data", "evil_module.Thing"),
    "a module beside it, as a schedule": ("training/schedule", "evil_module.build"),
    "a module that opens a browser": (HEAD, {"class_path": "antigravity.Thing"}),
    "a module through ours": (HEAD, "wedefense_lite.cli.os.system"),
    "a function of ours": (HEAD, "wedefense_lite.files.write_text"),
    "a class of ours that is no component": (HEAD, "wedefense_lite.files.Path"),
    "a component of another room": (HEAD, {"class_path": "Fbank"}),
    "a class of torch": (HEAD, {"class_path": "torch.nn.Linear"}),
    "a loader of torch": (HEAD, {"class_path": "torch.hub.load"}),
    "a class of optim that is no optimizer": (
        "training/optimizer",
        {"class_path": "torch.optim.swa_utils.AveragedModel"},
    ),
    "a file": ("system/init_args/frontend", "include.yaml"),
    "a file in a folder": ("system/init_args/frontend", "./include.yaml"),
    "a file as data": ("data", "include.yaml"),
    "a file without dots": ("system/init_args/frontend", "evil"),
    "a file as an unknown option": ("system/x", "evil"),
    "dots in a key": ("system/init_args/head.class_path", "os.system"),
    "dots in a key of the top": ("system.init_args.head", RUN),
    "an appended option": ("data/augment+", RUN),
    "a key of the parser's own": (f"{HEAD}/__path__", "evil"),
    "a number as class": (f"{HEAD}/class_path", 3),
    "a list as class": (f"{HEAD}/class_path", ["os.system"]),
    "code that options name": (
        "system",
        {
            "class_path": "Separation",
            "init_args": {"separator": {"class_path": "SepFormer", "init_args": {"source": "."}}},
        },
    ),
}


@pytest.mark.parametrize("place", PLACES)
def test_a_configuration_builds_components_and_nothing_else(folder, place):
    Path("c.yaml").write_text(yaml.safe_dump(changed(*PLACES[place])))
    with pytest.raises(InputError, match=r"^c\.yaml: ") as error:
        load_experiment("c.yaml")
    assert "\n" not in str(error.value)
    with pytest.raises(InputError, match=r"^c\.yaml: "):
        checked_words(["--config", "c.yaml", "--exp_dir", "e"])
    assert not Path(MARKER).exists()
    assert "evil_module" not in sys.modules and "antigravity" not in sys.modules


def test_a_component_may_be_given_by_its_name_alone(folder):
    """Also beside a file of the name, which is not read."""
    Path("c.yaml").write_text(yaml.safe_dump(changed(HEAD, "CrossEntropy")))
    named = load_experiment("c.yaml")
    Path("d.yaml").write_text(yaml.safe_dump(tiny.CONFIG))
    assert named.config_hash == load_experiment("d.yaml").config_hash
    assert not Path(MARKER).exists()


@pytest.mark.parametrize(
    "words",
    [
        ["--system.head", "os.system"],
        ["--system.head=os.system"],
        ["--system.head.class_path", "os.system"],
        ["--system.head.class_path=evil_module.Thing"],
        ["--system.init_args.head", yaml.safe_dump(RUN)],
        ["--system.head", "evil_module.build"],
        ["--system.head", "evil"],
        ["--system.head", "./evil"],
        ["--system.head.help", "evil_module.Thing"],
        ["--system", "os.system"],
        ["--data", "include.yaml"],
        ["--data.augment", f"[{yaml.safe_dump(RUN, default_flow_style=True).strip()}]"],
        ["--data.augment+", "os.system"],
        ["--training.optimizer", "evil_module.build"],
        ["--training.schedule=evil_module.Thing"],
        ["--config", "absent.yaml"],
        ["--config={system: {class_path: os.system}}"],
    ],
)
def test_options_of_a_training_name_components_and_nothing_else(folder, monkeypatch, capsys, words):
    Path("c.yaml").write_text(yaml.safe_dump(tiny.CONFIG))
    with pytest.raises(InputError) as error:
        checked_words(["--config", "c.yaml", *words])
    assert "\n" not in str(error.value)
    assert not Path(MARKER).exists()
    assert "evil_module" not in sys.modules


def test_options_of_a_training_take_what_a_configuration_takes(folder, monkeypatch):
    """Names of components and plain text, also where a file or a folder has the name of a value."""
    Path("c.yaml").write_text(yaml.safe_dump(tiny.CONFIG))
    (folder / "zero").mkdir()
    changes = "--data.pad zero --system.head P2SGrad --training.precision=bf16 --training.seed 5"
    optimizer = "--training.optimizer={class_path: SGD, init_args: {lr: 0.5}}"
    augment = "--data.augment=[{class_path: WhiteNoise}]"
    frontend = "--system.frontend.num_mels=12"
    words = ["--config=c.yaml", *changes.split(), optimizer, augment, frontend]
    words += ["--exp_dir", "e.v1"]
    lists = "--train_data t.list --train_label utt2lab".split()
    arguments = train._parser().parse_args(checked_words([*words, *lists]))
    experiment = build(arguments)
    assert experiment.data.pad == "zero" and experiment.training.seed == 5
    assert type(experiment.system.head).__name__ == "P2SGrad"
    assert type(experiment.data.augment[0]).__name__ == "WhiteNoise"
    assert experiment.training.precision == "bf16"
    assert experiment.system.frontend.dim == 12
    assert str(arguments.exp_dir) == "e.v1"


@pytest.mark.parametrize("words", [["--config", "evil.yaml"], ["--system.head=os.system"]])
def test_a_training_refuses_them_in_one_line(folder, monkeypatch, capsys, words):
    Path("evil.yaml").write_text(yaml.safe_dump(changed(HEAD, RUN)))
    Path("c.yaml").write_text(yaml.safe_dump(tiny.CONFIG))
    monkeypatch.setattr(sys, "argv", ["train.py", "--config", "c.yaml", *words, "--exp_dir", "e"])
    with pytest.raises(SystemExit) as stop:
        train.main()
    lines = capsys.readouterr().err.splitlines()
    assert stop.value.code == 2 and len(lines) == 1
    assert "'os.system', expected one " in lines[0]
    assert not Path(MARKER).exists()


def test_variables_of_the_environment_are_no_options(folder, monkeypatch):
    monkeypatch.setenv("JSONARGPARSE_DEFAULT_ENV", "true")
    monkeypatch.setenv("PYTEST_SYSTEM", "os.system")
    monkeypatch.setenv("PYTEST_DATA__BATCH_SIZE", "7")
    Path("c.yaml").write_text(yaml.safe_dump(tiny.CONFIG))
    assert load_experiment("c.yaml").data.batch_size == 4


def test_a_command_refuses_it_too(folder, monkeypatch, capsys):
    Path("c.yaml").write_text(yaml.safe_dump(changed(HEAD, RUN)))
    words = "--model_path m --config c.yaml --embedding_scp_path e.scp --out_path p".split()
    line = commands.refused(monkeypatch, capsys, infer, *words)
    assert "head" in line and "'os.system', expected one Head of wedefense_lite" in line
    assert "--components PACKAGE" in line
    assert not Path(MARKER).exists()


OWN_PACKAGE = '''
"""Components of a user."""

from wedefense_lite.heads import CrossEntropy


class MyLoss(CrossEntropy):
    """Cross-entropy under another name."""
'''


@pytest.mark.parametrize("name", ["MyLoss", "my_losses.MyLoss"])
def test_a_package_that_the_user_names_holds_components(folder, monkeypatch, name):
    (folder / "my_losses.py").write_text(OWN_PACKAGE)
    Path("c.yaml").write_text(yaml.safe_dump(changed(HEAD, {"class_path": name})))
    monkeypatch.delitem(sys.modules, "my_losses", raising=False)
    with pytest.raises(InputError, match="--components PACKAGE"):
        load_experiment("c.yaml")
    assert "my_losses" not in sys.modules
    monkeypatch.setenv("WEDEFENSE_COMPONENTS", "my_losses")
    experiment = load_experiment("c.yaml")
    assert type(experiment.system.head).__name__ == "MyLoss"
    Path("again.yaml").write_text(experiment.text)
    assert load_experiment("again.yaml").config_hash == experiment.config_hash


@pytest.mark.parametrize("name", ["MeanFrame", "tiny.MeanFrame"])
def test_classes_of_other_packages_are_no_components(folder, name):
    """Also where the package is imported already, and the class is of the right kind."""
    assert issubclass(tiny.MeanFrame, Backbone)
    model = {"class_path": name}
    Path("c.yaml").write_text(yaml.safe_dump(changed("system/init_args/model", model)))
    with pytest.raises(InputError, match="MeanFrame', expected one Embedder of wedefense_lite"):
        load_experiment("c.yaml")


@pytest.mark.parametrize(
    ("packages", "message"),
    [("no_such_package", "can't be imported"), ("a-b", "names of packages")],
)
def test_a_package_that_is_none_is_told(folder, monkeypatch, packages, message):
    Path("c.yaml").write_text(yaml.safe_dump(tiny.CONFIG))
    monkeypatch.setenv("WEDEFENSE_COMPONENTS", packages)
    with pytest.raises(InputError, match=message):
        load_experiment("c.yaml")


def test_components_are_an_option_of_commands(folder, monkeypatch, capsys):
    monkeypatch.setenv("WEDEFENSE_COMPONENTS", "")
    (folder / "my_losses.py").write_text(OWN_PACKAGE)
    Path("c.yaml").write_text(yaml.safe_dump(changed(HEAD, "MyLoss")))
    words = ["train.py", "--config", "c.yaml", "--components", "my_losses", "--exp_dir", "e"]
    monkeypatch.setattr(sys, "argv", words)
    with pytest.raises(SystemExit):
        train.main()
    # All but the lists, which are not given, is right.
    assert "train_data" in capsys.readouterr().err


def bomb(width: int = 9, levels: int = 10) -> str:
    lines = ["a0: &a0 [lol]"]
    for level in range(1, levels + 1):
        aliases = ", ".join([f"*a{level - 1}"] * width)
        lines.append(f"a{level}: &a{level} [{aliases}]")
    return "\n".join(lines)


NO_CONFIGURATIONS = {
    "an alias bomb": (bomb(), "more than 20000 values"),
    "a bomb of keys": (bomb().replace("[", "{x: ").replace(", ", ", y: ", 1), "not YAML"),
    "an alias of itself": ("a: &a [*a]", "alias *a"),
    "an alias of nothing": ("a: *b", "alias *b"),
    "many levels": ("a: " + "[" * 500, "more than 40 levels"),
    "many mappings": ("{a: " * 500, "more than 40 levels"),
    "a key twice": ("system: 1\ndata: {}\nsystem: 2", "c.yaml:3: not YAML: the key 'system' is"),
    "a key of an inner mapping twice": ("data: {a: 1, a: 2}", "the key 'a' is there twice"),
    "a mapping as key": ("{{a: 1}: 2}", "a key that is no text"),
    "a class of Python": ("a: !!python/object/apply:os.system [touch ran_here]", "expected plain"),
    "a name of Python": ("a: !!python/name:os.system", "expected plain"),
    "another tag": ("a: !thing 3", "expected plain"),
    "bytes": ("a: !!binary aGFsbG8=", "expected plain"),
    "a long integer": ("a: " + "1" * 9000, "a value of 9000 characters"),
    "a long hexadecimal integer": ("a: 0x" + "f" * 9000, "a value of 9002 characters"),
    "no truth": ("a: !!bool maybe", "not of the type of its tag"),
    "no number": ("a: !!int ''", "not of the type of its tag"),
    "a long value": ("a: " + "1:" * 9000 + "1", "a value of 18001 characters"),
    "much": ("# " + "x" * MOST_BYTES, "expected YAML of at most"),
    "no YAML": ("a: [", "c.yaml:2: not YAML"),
    "tabs": ("\tsystem: 1", "c.yaml:1: not YAML"),
    "two documents": ("a: 1\n---\nb: 2", "not YAML"),
    "nothing": ("", "not a configuration"),
    "text": ("words", "not a configuration"),
    "a list": ("[1, 2]", "not a configuration"),
}


@pytest.mark.parametrize("kind", NO_CONFIGURATIONS)
def test_what_is_no_configuration_ends_in_one_line(folder, kind):
    text, message = NO_CONFIGURATIONS[kind]
    Path("c.yaml").write_text(text)
    start = time.monotonic()
    with pytest.raises(InputError) as error:
        load_experiment("c.yaml")
    assert time.monotonic() - start < 5
    assert message in str(error.value) and "\n" not in str(error.value)
    assert not Path(MARKER).exists()


def test_aliases_count_as_often_as_they_stand_for_something():
    assert len(parse_yaml(bomb(5, 3), "c.yaml")) == 4
    with pytest.raises(InputError, match="more than 20000 values"):
        parse_yaml(bomb(6, 6), "c.yaml")


def test_a_key_stands_once():
    with pytest.raises(InputError, match="c.yaml:2: not YAML: the key 'a' is there twice"):
        parse_yaml("a: 1\na: 2", "c.yaml")


def test_aliases_of_ordinary_size_are_read():
    assert parse_yaml("a: &x [1, 2]\nb: *x\nc: &y 3\nd: *y", "c.yaml")["b"] == [1, 2]
    shared = [1, 2]
    text = yaml.safe_dump({"a": shared, "b": shared})
    assert "*" in text and parse_yaml(text, "c.yaml") == {"a": shared, "b": shared}


@pytest.mark.parametrize("path", ["absent.yaml", "."])
def test_what_is_no_file_is_told(folder, path):
    with pytest.raises(InputError, match=f"^{path}: "):
        read_yaml_text(path)


@pytest.mark.parametrize(
    ("place", "value", "name"),
    [
        ("data/crop_seconds", float("inf"), "crop_seconds"),
        ("data/crop_seconds", 1e9, "crop_seconds"),
        ("data/eval_seconds", float("inf"), "eval_seconds"),
        ("data/eval_seconds", float("nan"), "eval_seconds"),
        ("data/pre_emphasis", float("inf"), "pre_emphasis"),
        ("data/batch_size", 10**12, "batch_size"),
        ("data/num_workers", 10**6, "num_workers"),
        ("data/sample_rate", 10**9, "sample_rate"),
        ("training/clip_norm", float("nan"), "clip_norm"),
        ("training/clip_norm", -1.0, "clip_norm"),
        ("training/ema_decay", 1.5, "ema_decay"),
        ("training/ema_decay", float("nan"), "ema_decay"),
        ("training/save_step_interval", -1, "save_step_interval"),
        ("training/seed", -1, "seed"),
        ("training/seed", 2**70, "seed"),
        ("training/schedule", {"warmup_epochs": float("inf")}, "warmup_epochs"),
        ("training/schedule", {"final_ratio": float("nan")}, "final_ratio"),
        ("system/init_args/model/init_args/channels", 0, "built"),
        ("system/init_args/model/init_args/channels", -4, "built"),
        ("system/init_args/frontend/init_args/num_mels", 0, "built"),
    ],
)
def test_numbers_out_of_range_are_named(folder, place, value, name):
    Path("c.yaml").write_text(yaml.safe_dump(changed(place, value)))
    with pytest.raises(InputError, match=name) as error:
        load_experiment("c.yaml")
    assert "\n" not in str(error.value)


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
    | st.sampled_from(["os.system", "CrossEntropy", "Fbank", "AdamW", "wedefense_lite.cli.run"]),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.text(max_size=8) | st.sampled_from(["class_path", "init_args"]), inner,
                      max_size=3),
    max_leaves=8,
)  # fmt: skip
ANYWHERE = ["system", "data", "training", "more", HEAD, "data/augment", "training/optimizer"]


@examples(10)
@given(place=st.sampled_from(ANYWHERE), value=PLAIN)
def test_fuzz_a_value_anywhere(tmp_path_factory, place, value):
    path = tmp_path_factory.getbasetemp() / "fuzzed_value.yaml"
    path.write_text(yaml.safe_dump(changed(place, value)))
    try:
        load_experiment(path)
    except InputError as error:
        assert "\n" not in str(error)


@given(data=st.binary(max_size=40) | st.text(alphabet='{}[]",:0.e-naNtrue \\', max_size=40))
def test_fuzz_bytes_as_json(tmp_path_factory, data):
    path = tmp_path_factory.getbasetemp() / "fuzzed.json"
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    try:
        read_json(path)
    except InputError as error:
        assert "\n" not in str(error)


def test_json_of_many_levels_is_refused(tmp_path):
    (tmp_path / "deep.json").write_text("[" * 100_000)
    with pytest.raises(InputError, match="not JSON"):
        read_json(tmp_path / "deep.json")


def test_sizes_of_an_encoder_are_values_whatever_files_are_there(folder):
    """The words of a plain mapping are neither imported nor read."""
    (folder / "wavlm").write_text(yaml.safe_dump(RUN))
    options = {"model": "tiny.x", "architecture": {"model_type": "wavlm", "x": "os.system"}}
    frontend = {"class_path": "SSL", "init_args": options}
    settings = checked_settings(changed("system/init_args/frontend", frontend), "c.yaml")
    assert settings["system"]["init_args"]["frontend"]["init_args"] == options
    options["architecture"]["x"] = RUN
    with pytest.raises(InputError, match="architecture.x is 'os.system', expected one component"):
        checked_settings(changed("system/init_args/frontend", frontend), "c.yaml")


@given(text=st.text(alphabet=st.sampled_from("ab&*!:-{}[]|>?,#\"' \n\t0.1~%@`<="), max_size=60))
def test_fuzz_text_as_yaml(text):
    try:
        parse_yaml(text, "c.yaml")
    except InputError as error:
        assert "\n" not in str(error)


@given(data=st.binary(max_size=60))
def test_fuzz_bytes_as_yaml(tmp_path_factory, data):
    path = tmp_path_factory.getbasetemp() / "fuzzed_bytes.yaml"
    path.write_bytes(data)
    with suppress(InputError):
        parse_yaml(read_yaml_text(path), path)
