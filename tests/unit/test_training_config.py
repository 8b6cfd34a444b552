"""Configurations: what is in conf/ builds, comes back from its own text, and mistakes are named."""

import copy
import hashlib
import inspect
import itertools
import re
from fnmatch import fnmatchcase
from pathlib import Path

import pytest
import tiny
import torch
import yaml

from wedefense_lite.bin.train import _parser
from wedefense_lite.files import InputError
from wedefense_lite.frontends import Frontend
from wedefense_lite.heads import Head
from wedefense_lite.models.base import Embedder
from wedefense_lite.systems.experiment import (
    FREE_KEYS,
    LATER_OPTIONS,
    LATER_SETTINGS,
    build,
    import_components,
    load_experiment,
)
from wedefense_lite.training.exp_dir import difference

CONFIGS = sorted((Path(__file__).parents[2] / "conf").glob("*.yaml"))


def load_twice(path, folder, load):
    """Experiments of a configuration, and of the text that the first one keeps."""
    first = load(path)
    (folder / "config.yaml").write_text(first.text)
    second = load_experiment(folder / "config.yaml")
    assert (second.text, second.config_hash) == (first.text, first.config_hash)
    return first, second


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_system_builds_and_comes_back_from_what_an_experiment_keeps(path, tmp_path):
    if "class_path: SSL" in path.read_text():
        # Shapes alone: numbers of 300 M parameters take ten seconds. Below they are fewer.
        with torch.device("meta"):
            load_twice(path, tmp_path, load_experiment)
    first, second = load_twice(path, tmp_path, tiny.miniature)
    weights = first.system.state_dict()
    for name, value in second.system.state_dict().items():
        assert torch.equal(value, weights[name]), f"{name}: initial weights come from the seed"


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_no_system_holds_a_path(path):
    """Corpora are recipes, systems are YAML, and any pair runs."""

    def strings(value):
        if isinstance(value, dict | list):
            for name, inner in value.items() if isinstance(value, dict) else enumerate(value):
                yield from (
                    () if name == "model" and isinstance(inner, str) else strings(inner)
                )  # a name on the hub
        elif isinstance(value, str):
            yield value

    content = yaml.safe_load(path.read_text())
    assert set(content) <= {"system", "data", "training"}
    assert not [text for text in strings(content) if "/" in text or text.startswith(".")]


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_a_system_that_follows_a_repository_names_the_commit(path):
    header = " ".join(path.read_text().partition("system:")[0].replace("#", " ").split())
    repositories = re.findall(r"https://github\.com/[\w-]+/[\w-]+", header)
    commits = re.findall(r" at [0-9a-f]{7}\b", header)
    assert len(commits) >= len(repositories), f"{path.name}: a repository without a commit"


def test_the_readme_tells_of_every_system_how_it_differs_from_what_is_published():
    told = []
    for line in (CONFIGS[0].parents[1] / "README.md").read_text().splitlines():
        if line.startswith("| `"):
            told.extend(re.findall(r"`([\w*]+)`", line.split("|")[1]))
    for path in CONFIGS:
        assert any(fnmatchcase(path.stem, pattern) for pattern in told), path.stem


def test_another_setting_is_another_hash_and_the_way_to_save_models_is_not(tmp_path):
    first = tiny.parsed(tmp_path)
    assert tiny.parsed(tmp_path).config_hash == first.config_hash
    assert tiny.parsed(tmp_path, seed=2).config_hash != first.config_hash
    assert tiny.parsed(tmp_path, data={"batch_size": 5}).config_hash != first.config_hash
    resumed = tiny.parsed(tmp_path, num_avg=9, early_stop_patience=3)
    assert resumed.config_hash == first.config_hash, "a continued run may change these"


def test_the_seed_decides_the_initial_weights(tmp_path):
    one, same, other = (tiny.parsed(tmp_path, seed=seed).system for seed in (1, 1, 2))
    assert torch.equal(one.head.linear.weight, same.head.linear.weight)
    assert not torch.equal(one.head.linear.weight, other.head.linear.weight)


def test_another_optimizer_has_its_own_defaults(tmp_path):
    """Adam's is no weight decay; AdamW's must not be left over from the default of the option."""
    exp = tiny.parsed(tmp_path, optimizer={"class_path": "Adam", "init_args": {"lr": 0.1}})
    found = exp.training.optimizer(exp.system.parameters()).defaults
    expected = torch.optim.Adam(exp.system.parameters(), lr=0.1).defaults
    assert found == expected


MISTAKES = {
    "training:\n  num_epoch: 3": "num_epoch",
    "training:\n  num_epochs: many": "num_epochs",
    "training:\n  num_epochs: 2.5": "num_epochs",
    "training:\n  precision: fp8": "precision",
    "training:\n  schedule: {decay: sqrt}": "decay",
    "training:\n  optimizer: NoSuchOptimizer": "optimizer",
    "data:\n  batch_size: 0": "batch_size",
    "data:\n  augment: [{class_path: NoSuchNoise}]": "augment",
    "corpus: here": "corpus",
    "training: [": "parsing",
}


@pytest.mark.parametrize("text", MISTAKES)
def test_mistakes_are_refused_by_key(tmp_path, text):
    section = text.partition(":")[0]
    rest = {name: part for name, part in tiny.CONFIG.items() if name != section}
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(rest) + text + "\n")
    with pytest.raises(InputError, match=MISTAKES[text]):
        load_experiment(tmp_path / "c.yaml")


@pytest.mark.parametrize("part", ["frontend", "model", "head"])
def test_mistakes_inside_components_are_refused(tmp_path, part):
    broken = {"class_path": tiny.CONFIG["system"]["init_args"][part]["class_path"]}
    with pytest.raises(InputError, match=rf"tiny\.yaml: .*{part}.*bogus") as error:
        tiny.parsed(tmp_path, system={part: broken | {"init_args": {"bogus": 1}}})
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [("validate_interval", 0), ("save_epoch_interval", -1), ("accumulate_steps", 0)],
)
def test_intervals_that_are_none_are_refused(tmp_path, name, value):
    with pytest.raises(InputError, match=name):
        tiny.parsed(tmp_path, **{name: value})


def test_a_missing_configuration_is_named(tmp_path):
    with pytest.raises(InputError, match="absent.yaml"):
        load_experiment(tmp_path / "absent.yaml")


def test_a_system_is_needed(tmp_path):
    (tmp_path / "c.yaml").write_text("training: {num_epochs: 3}\n")
    with pytest.raises(InputError, match="system"):
        load_experiment(tmp_path / "c.yaml")


FORMER_MODULES = {
    "class_path: Detection": "class_path: wedefense_lite.training.tasks.Detection",
    "class_path: Fbank": "class_path: wedefense_lite.frontends.Fbank",
    "class_path: ResNet": "class_path: wedefense_lite.models.ResNet",
    "class_path: CrossEntropy": "class_path: wedefense_lite.heads.CrossEntropy",
}


def test_a_configuration_of_before_modules_moved_keeps_its_text_and_hash(tmp_path):
    now = tiny.parsed(tmp_path)
    text = now.text
    for short, former in FORMER_MODULES.items():
        assert short in text
        text = text.replace(short, former)
    (tmp_path / "config.yaml").write_text(text)
    former = load_experiment(tmp_path / "config.yaml")
    assert former.text == text, "models and scores of then hold the hash of this text"
    assert type(former.system) is type(now.system)
    last = {"config": text, "list_hash": "x"}
    assert difference(last, now.text, {"list": "x"}) == ""
    arguments = _parser().parse_args(
        f"--config {tmp_path}/config.yaml --exp_dir e --train_data t --train_label l".split()
    )
    assert build(arguments).config_hash == now.config_hash


def without_later_options(node):
    """Settings as a version wrote them whose components lacked some options."""
    if not isinstance(node, dict):
        return node
    later = LATER_OPTIONS.get(node.get("class_path"), {})
    kept = {}
    for name, value in node.items():
        value = without_later_options(value)
        if name == "init_args":
            value = {key: inner for key, inner in value.items() if key not in later}
        kept[name] = value
    return kept


def of_before(text: str) -> dict:
    """Settings of a configuration without all options that were not there at first."""
    settings = without_later_options(yaml.safe_load(text))
    for name in LATER_SETTINGS:
        *sections, option = name.split(".")
        node = settings
        for section in sections:
            node = node[section]
        del node[option]
    return settings


def test_a_configuration_of_before_modules_moved_and_options_were_added_keeps_its_text(tmp_path):
    text = yaml.safe_dump(of_before(tiny.parsed(tmp_path).text), sort_keys=False)
    for short, former in FORMER_MODULES.items():
        assert short in text
        text = text.replace(short, former)
    (tmp_path / "config.yaml").write_text(text)
    assert load_experiment(tmp_path / "config.yaml").text == text


def test_a_configuration_from_before_an_option_keeps_its_hash(tmp_path):
    first = tiny.parsed(tmp_path)
    old = of_before(first.text)
    assert old != yaml.safe_load(first.text)
    hashed = copy.deepcopy(old)
    for section, key in itertools.product(("data", "training"), FREE_KEYS):
        hashed[section].pop(key, None)
    expected = hashlib.sha256(yaml.safe_dump(hashed).encode()).hexdigest()[:12]
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(old))
    assert load_experiment(tmp_path / "config.yaml").config_hash == expected
    head = {"class_path": "CrossEntropy", "init_args": {"norm": True}}
    assert tiny.parsed(tmp_path, system={"head": head}).config_hash != expected
    schedule = {"decay": "constant", "warmup_steps": 3}
    assert tiny.parsed(tmp_path, schedule=schedule).config_hash != expected


def test_a_training_from_before_an_option_is_continued(tmp_path):
    text = tiny.parsed(tmp_path).text
    hashes = {"list": "0"}
    last = {"config": yaml.safe_dump(of_before(text)), "data_hashes": hashes}
    assert difference(last, text, hashes) == ""
    other = tiny.parsed(tmp_path, schedule={"decay": "constant", "warmup_steps": 3}).text
    assert difference(last, other, hashes) == "with another training.schedule.warmup_steps"


def test_later_settings_have_the_values_of_before(tmp_path):
    settings = yaml.safe_load(tiny.parsed(tmp_path).text)
    for name, value in LATER_SETTINGS.items():
        node = settings
        for part in name.split("."):
            node = node[part]
        assert node == value, name


def test_later_options_have_the_values_that_components_have_without_them():
    import_components()
    components = {}
    for base in (Frontend, Embedder, Head):
        classes = list(base.__subclasses__())
        while classes:
            cls = classes.pop()
            components[cls.__name__] = cls
            classes.extend(cls.__subclasses__())
    for name, options in LATER_OPTIONS.items():
        parameters = {}
        # A class may pass options on to its base.
        for cls in reversed(components[name].__mro__[:-1]):
            parameters |= inspect.signature(cls).parameters
        for option, value in options.items():
            assert parameters[option].default == value, f"{name}.{option}"
