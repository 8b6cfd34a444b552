"""Typed configuration: one YAML a system, every key an option, and back."""

import hashlib
import importlib
import pkgutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

import torch
import yaml
from jsonargparse import ArgumentError, ArgumentParser, Namespace
from jsonargparse.typing import NonNegativeInt, PositiveInt

from wedefense_lite import cli, dataset, frontends, heads, models, separation
from wedefense_lite.dataset.config import DataConfig
from wedefense_lite.files import InputError
from wedefense_lite.training.schedules import Schedule
from wedefense_lite.training.tasks import Task

# What may differ between a run and its continuation, because no finished step depends on it.
FREE_KEYS = ("early_stop_patience", "validate_interval", "save_epoch_interval", "num_avg", "num_workers")
SECTIONS = ("system", "data", "training")
Precision = Literal["fp32", "tf32", "bf16", "fp16"]


@dataclass
class TrainingConfig:
    """How a system is trained.

    Args:
        num_epochs: passes over the training list; epochs count from 1.
        optimizer: any of ``torch.optim``, such as AdamW, Adam or SGD.
        schedule: course of the learning rate.
        accumulate_steps: batches whose gradients are summed for one step of the optimizer.
        clip_norm: largest norm of the gradient; 0 leaves it as it is.
        precision: fp32; tf32, which on GPUs multiplies with ten bits after the point, and is faster there; or bf16
            and fp16 of the forward pass, by autocast, in which spectral front ends stay in float32.
        ema_decay: decay of an exponential moving average of the weights, which is then what is
            validated and saved; 0 for none.
        early_stop_patience: validations without a better dev EER before training ends; 0 or less
            never ends it early.
        validate_interval: epochs from one validation to the next; the last epoch is always one.
        save_epoch_interval: epochs from one ``model_N.pt`` that is kept for good to the next; 0 keeps none beyond
            those of ``num_avg``.
        num_avg: last epochs whose ``model_N.pt`` is kept for averaging; 0 or less keeps ``best_model.pt`` alone.
        save_step_interval: steps of the optimizer from one ``last.pt`` to the next inside an epoch;
            0 saves it at the end of each epoch only.
        seed: of the initial weights, the order, the crops and all augmentation.
    """

    optimizer: Callable[[Iterable], torch.optim.Optimizer]
    num_epochs: PositiveInt = 30
    schedule: Schedule = field(default_factory=Schedule)
    accumulate_steps: PositiveInt = 1
    clip_norm: float = 5.0
    precision: Precision = "tf32"
    ema_decay: float = 0.0
    early_stop_patience: int = 0
    validate_interval: PositiveInt = 1
    save_epoch_interval: NonNegativeInt = 0
    num_avg: int = 5
    save_step_interval: int = 0
    seed: int = 1


@dataclass
class Experiment:
    """What a configuration builds.

    Attributes:
        system: the untrained task.
        data: how audio is cut and augmented.
        training: how the system is trained.
        text: the resolved configuration as YAML.
    """

    system: Task
    data: DataConfig
    training: TrainingConfig
    text: str

    @property
    def config_hash(self) -> str:
        """First twelve hexadecimal digits of the SHA-256 of what a continued run can't change."""
        settings = yaml.safe_load(self.text)
        for section in ("data", "training"):
            settings[section] = {key: value for key, value in settings[section].items() if key not in FREE_KEYS}
        return hashlib.sha256(yaml.safe_dump(settings).encode()).hexdigest()[:12]


def import_components() -> None:
    """Import every module that can hold a component, so that short class names are known.

    This is why a new model or loss is one file, and no list has to be kept.
    """
    for package in (dataset, frontends, heads, models, separation):
        for module in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
            importlib.import_module(module.name)
    importlib.import_module("wedefense_lite.training.talkers")  # tasks, beside those of this module's imports


def add_sections(parser: ArgumentParser) -> None:
    """Give a parser the sections ``system``, ``data`` and ``training``."""
    import_components()
    parser.add_subclass_arguments(Task, "system", required=True)
    parser.add_class_arguments(DataConfig, "data")
    parser.add_class_arguments(TrainingConfig, "training")


def build(arguments: Namespace) -> Experiment:
    """Instantiate the sections of parsed arguments, with initial weights drawn from their seed.

    Raises:
        InputError: a component refuses its options.
    """
    sections = Namespace({name: arguments[name] for name in SECTIONS})
    parser = _section_parser()
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(sections.training.seed)
            objects = parser.instantiate(sections)
    except ValueError as error:  # what a component refuses, with the layout of jsonargparse around it
        raise InputError(cli.in_one_line(str(error))) from error
    for name in ("frontend", "separator"):
        rate = getattr(getattr(objects.system, name, None), "sample_rate", objects.data.sample_rate)
        if rate != objects.data.sample_rate:
            raise InputError(f"the {name} works at {rate} Hz, data.sample_rate is {objects.data.sample_rate} Hz")
    for name, value in objects.system.resolved.items():
        sections[f"system.init_args.{name}"] = value
    return Experiment(objects.system, objects.data, objects.training, parser.dump(sections))


def _section_parser() -> cli.Parser:
    parser = cli.Parser(exit_on_error=False)
    add_sections(parser)
    return parser


def load_experiment(path: str | Path, changes: Mapping[str, Any] = MappingProxyType({})) -> Experiment:
    """Build what ``conf/X.yaml`` or ``exp/X/config.yaml`` describes.

    Args:
        path: the YAML.
        changes: options of the system by their dotted names, which go before those of the file.

    Raises:
        InputError: missing file, unknown key or wrong type; names the file.
    """
    parser = _section_parser()
    try:
        arguments = parser.parse_path(path)
    except (ArgumentError, OSError, TypeError) as error:
        raise InputError(f"{path}: {cli.in_one_line(str(error))}") from error
    for name, value in changes.items():
        arguments[f"system.init_args.{name}"] = value
    return build(arguments)
