"""Typed configuration: one YAML a system, every key an option, and back."""

import wedefense_lite
from wedefense_lite import cli

import hashlib
import importlib
import os
import pkgutil
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
import yaml
from jsonargparse import ArgumentError, ArgumentParser, Namespace, get_loader, set_loader

from wedefense_lite.files import InputError, note_input
from wedefense_lite.limits import shortage
from wedefense_lite.systems.components import (
    SECTIONS,
    check_words,
    checked_settings,
    user_packages,
)
from wedefense_lite.systems.config import DataConfig, TrainingConfig
from wedefense_lite.systems.tasks import Task
from wedefense_lite.yaml_text import parse_yaml, read_yaml_text

# What may differ between a run and its continuation, because no finished step depends on it.
FREE_KEYS = (
    "early_stop_patience",
    "validate_interval",
    "save_epoch_interval",
    "num_avg",
    "num_workers",
)
# Errors of components, or of what they call, for options that they can't work with.
REFUSALS = (ValueError, TypeError, ArithmeticError, LookupError, RuntimeError, MemoryError)
# Options that components did not have at first, with the values that they had without them. With
# these values they don't enter the hash, so that checkpoints from before keep theirs.
LATER_OPTIONS = {
    "AAM": {"num_classes": 2},
    "AMSoftmax": {"num_classes": 2},
    "CrossEntropy": {"norm": False, "selu": False, "num_classes": 2},
    "ECAPA": {"floor": 1e-7},
    "Fbank": {"window": "povey", "dither": 0.0},
    "LCNNLSTM": {"pooling": "mean", "embed_dim": 0},
    "LFCC": {"energy": True},
    "RawNet2": {"norm_first": False},
    "ResNet": {"norm_statistics": True},
    "SERes2Net": {"kaiming": False},
    "SSL": {
        "norm_last": False,
        "normalize_floor": 1e-7,
        "lora_rank": 0,
        "lora_alpha": 16.0,
    },
    "Sinc": {"spare_filters": 0},
    "Spectra": {"floor": 1e-4},
}
# The same for sections and for what is no component in them, by dotted names.
LATER_SETTINGS = {
    "data.crop": "random",
    "data.augment_whole": False,
    "data.balance_corpora": False,
    "data.batch_of": "process",
    "data.corpus_weights": {},
    "training.average": "last",
    "training.compile": False,
    "training.deterministic": True,
    "training.rate_batch": 0,
    "training.sam_radius": 0.0,
    "training.schedule.warmup_steps": 0,
    "training.schedule.decay_in_warmup": False,
    "training.schedule.step_epochs": 10,
    "training.schedule.step_ratio": 0.5,
    "training.schedule.patience": 3,
}
# Module of a component. Configurations leave it out, because modules move and class names stay.
COMPONENT_MODULE = re.compile(r"\bwedefense_lite\.(?:\w+\.)+(?=[A-Z])")
# Rooms in which every module holds components that a configuration names.
COMPONENT_ROOMS = ("augment", "frontends", "heads", "models", "separators")


@dataclass
class Experiment:
    """System, data and training of a configuration.

    Attributes:
        system: untrained task.
        data: reading of audio.
        training: training of the system.
        text: resolved configuration as YAML.
    """

    system: Task
    data: DataConfig
    training: TrainingConfig
    text: str

    @property
    def config_hash(self) -> str:
        """First twelve hexadecimal digits of the SHA-256 of all settings but the free ones."""
        settings = yaml.safe_load(self.text)
        for section in ("data", "training"):
            for key in FREE_KEYS:
                settings[section].pop(key, None)
        drop_later_settings(settings)
        return hashlib.sha256(yaml.safe_dump(settings).encode()).hexdigest()[:12]


def drop_later_settings(settings: dict) -> None:
    """Take the options that were not there at first from settings that have their first values.

    Args:
        settings: plain settings of a configuration, which are changed.
    """
    for name, value in LATER_SETTINGS.items():
        *sections, option = name.split(".")
        node = settings
        for section in sections:
            node = node.get(section) if isinstance(node, dict) else None
        if isinstance(node, dict) and node.get(option) == value:
            del node[option]
    _drop_later_options(settings.get("system"))


def _drop_later_options(node: Any) -> None:
    """Take the options of ``LATER_OPTIONS`` from components that have their first values."""
    if not isinstance(node, dict):
        return
    options = node.get("init_args")
    if isinstance(options, dict):
        for name, value in LATER_OPTIONS.get(node.get("class_path"), {}).items():
            if options.get(name) == value:
                del options[name]
    for inner in node.values():
        _drop_later_options(inner)


_load_plain_yaml = get_loader("yaml")


def _load_yaml(text: str) -> Any:
    """YAML without modules of components, which may be those of an earlier version."""
    return _load_plain_yaml(COMPONENT_MODULE.sub("", text))


set_loader("yaml", _load_yaml, exceptions=(yaml.YAMLError,))


def import_components() -> None:
    """Import every module that may hold a component, so that class names are known.

    So a new model or loss is one file, and no list has to be edited. Tasks are in the module
    ``tasks`` of a room. Nothing depends on a room being there. Packages that the user names with
    ``--components`` are imported too.

    Raises:
        InputError: such a package can't be imported.
    """
    for room in pkgutil.iter_modules(wedefense_lite.__path__, "wedefense_lite."):
        if not room.ispkg:
            continue
        folder = [str(Path(room.module_finder.path) / room.name.rpartition(".")[2])]
        for module in pkgutil.iter_modules(folder, f"{room.name}."):
            holds_components = room.name.rpartition(".")[2] in COMPONENT_ROOMS
            if holds_components or module.name.endswith(".tasks"):
                importlib.import_module(module.name)
    for name in user_packages():
        try:
            importlib.import_module(name)
        except ImportError as error:
            raise InputError(
                f"--components {name} ({cli.COMPONENTS_VARIABLE}): it can't be imported: {error}"
            ) from error


def add_sections(parser: ArgumentParser) -> None:
    """Give a parser the sections ``system``, ``data`` and ``training``.

    What it parses must be checked before: a file by ``parse_settings``, a command line by
    ``checked_words``.
    """
    import_components()
    parser.add_subclass_arguments(Task, "system", required=True)
    parser.add_class_arguments(DataConfig, "data")
    parser.add_class_arguments(TrainingConfig, "training")


def build(arguments: Namespace, trains: bool = True) -> Experiment:
    """Experiment of parsed arguments, with initial weights drawn from their seed.

    Args:
        arguments: of all sections.
        trains: whether the optimizers are of use, and have to accept their options. With the first
            optimizer PyTorch imports its compiler, which takes longer than scoring a few files.

    Raises:
        InputError: a component refuses its options, or works at another sample rate than the data.
    """
    sections = Namespace({name: arguments[name] for name in SECTIONS})
    parser = _section_parser()
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(sections.training.seed)
            objects = parser.instantiate(sections)
            if trains:
                # An optimizer checks its options when it is built, which training does late.
                for optimizer in (objects.training.optimizer, objects.training.head_optimizer):
                    if optimizer is not None:
                        optimizer([torch.nn.Parameter(torch.zeros(1, 1))])
    except REFUSALS as error:  # a component refuses its options; jsonargparse adds its layout
        reason = shortage(error) or cli.in_one_line(str(error)) or type(error).__name__
        raise InputError(f"the system can't be built: {reason}") from error
    for name, parameter in objects.system.named_parameters():
        if parameter.numel() == 0:
            shape = tuple(parameter.shape)
            raise InputError(f"the system can't be built: its {name} would be of shape {shape}")
    for name in ("frontend", "separator"):
        component = getattr(objects.system, name, None)
        data_rate = objects.data.sample_rate
        rate = getattr(component, "sample_rate", data_rate)
        if rate != data_rate:
            raise InputError(f"the {name} works at {rate} Hz, data.sample_rate is {data_rate} Hz")
    for name, value in objects.system.resolved.items():
        sections[f"system.init_args.{name}"] = value
    text = COMPONENT_MODULE.sub("", parser.dump(sections))
    return Experiment(objects.system, objects.data, objects.training, text)


def _section_parser() -> cli.Parser:
    parser = cli.Parser(exit_on_error=False)
    add_sections(parser)
    return parser


def load_experiment(
    path: str | Path, changes: Mapping[str, Any] = MappingProxyType({})
) -> Experiment:
    """Experiment of ``conf/X.yaml`` or ``exp/X/config.yaml``.

    Args:
        path: YAML.
        changes: options of the system by dotted names; they replace those of the file.

    Raises:
        InputError: missing file, unknown key or wrong type; names the file.
    """
    note_input(path)
    text = read_yaml_text(path)
    settings = parse_settings(text, path)
    parser = _section_parser()
    try:
        # Not parse_path: it changes into the folder of the file, where modules may lie.
        arguments = parser.parse_object(settings, env=False)
    except (ArgumentError, OSError, TypeError, ValueError) as error:
        raise InputError(f"{path}: {cli.in_one_line(str(error))}") from error
    for name, value in changes.items():
        arguments[f"system.init_args.{name}"] = value
    try:
        experiment = build(arguments, trains=False)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    # A config.yaml of before modules moved or options were added stays as it is, since models and
    # scores hold its hash.
    saved_settings = _load_yaml(text)
    resolved_settings = yaml.safe_load(experiment.text)
    for both in (saved_settings, resolved_settings):
        drop_later_settings(both)
    if saved_settings == resolved_settings:
        experiment.text = text
    return experiment


def parse_settings(text: str, path: str | Path) -> dict:
    """Settings of a configuration, which name components only, these by their full names.

    Args:
        text: YAML.
        path: file that it is from, for the error.

    Raises:
        InputError: no YAML, or a class that is no component.
    """
    import_components()
    return checked_settings(parse_yaml(text, path, _load_yaml), path)


def checked_words(words: list[str]) -> list[str]:
    """Command line whose configurations are checked, and stand in it as text.

    Args:
        words: command line with ``--config FILE`` and options of settings.

    Raises:
        InputError: a file that can't be used, or an option that names what is no component.
    """
    for word, next_word in zip(words, [*words[1:], ""]):
        option, has_value, value = word.partition("=")
        if option == "--components":
            os.environ[cli.COMPONENTS_VARIABLE] = value if has_value else next_word
    checked = []
    is_path = False
    for word in words:
        option, has_value, value = word.partition("=")
        if is_path or (option == "--config" and has_value):
            path = word if is_path else value
            text = yaml.safe_dump(parse_settings(read_yaml_text(path), path))
            checked.append(text if is_path else f"--config={text}")
            is_path = False
            continue
        is_path = word == "--config"
        checked.append(word)
    check_words(checked, parse_yaml)
    return checked
