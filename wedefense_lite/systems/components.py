"""Components that a configuration may name, and the check that it names no others.

A configuration decides which classes are built, so one that came with somebody's experiment or
bundle could run any code. It is checked as plain values, before ``jsonargparse`` parses it and
before anything that it names is imported or built. Components are classes that
``experiment.import_components`` has imported before.

The second half of this module follows the types of options as ``jsonargparse`` does: a component
is ``{"class_path": name, "init_args": {...}}`` or its name alone, and ``+`` behind an option's name
adds to a list.
"""

import collections.abc
import enum
import inspect
import os
import re
import types
import typing
from difflib import get_close_matches
from pathlib import Path

import torch

from wedefense_lite.augment.base import Augment
from wedefense_lite.cli import COMPONENTS_VARIABLE
from wedefense_lite.files import InputError, abbreviate
from wedefense_lite.frontends import Frontend, SpecAugment
from wedefense_lite.heads import Head
from wedefense_lite.models.base import Embedder
from wedefense_lite.separators.base import Separator
from wedefense_lite.systems.config import DataConfig, TrainingConfig
from wedefense_lite.systems.schedule import Schedule
from wedefense_lite.systems.tasks import Task

OWN_PACKAGE = "wedefense_lite"
SECTIONS = {"system": Task, "data": DataConfig, "training": TrainingConfig}
OPTIMIZER = torch.optim.Optimizer
ROOTS = (
    Task,
    Frontend,
    SpecAugment,
    Embedder,
    Head,
    Separator,
    Augment,
    Schedule,
    OPTIMIZER,
)
# Types of options that hold values, for which nothing is imported.
VALUES = (str, int, float, bool, list, tuple, dict, type(None), os.PathLike, enum.Enum)
IMPORT_PATH = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)+")
KEY = re.compile(r"[A-Za-z]\w*")
SECTION_OPTION = re.compile(rf"--({'|'.join(SECTIONS)})\b([^=]*)(?:=(.*))?", re.DOTALL)


def user_packages() -> list[str]:
    """Packages that the user trusts to hold components.

    Raises:
        InputError: a name that is none of a package.
    """
    names = os.environ.get(COMPONENTS_VARIABLE, "").replace(",", " ").split()
    for name in names:
        if not all(part.isidentifier() for part in name.split(".")):
            raise InputError(f"--components {name}: expected names of packages")
    return names


def checked_settings(settings: object, path: str | Path) -> dict:
    """Settings of a configuration that name components only, these by their full names.

    Args:
        settings: content of a YAML.
        path: its file, for the error.

    Raises:
        InputError: a class that is no component, or not of the kind that is needed there; a key or
            a value that would have another file read.
    """
    if not isinstance(settings, dict):
        raise InputError(f"{path}: not a configuration, expected {', '.join(SECTIONS)}")
    checked = {}
    for section, value in settings.items():
        _check_key(section, f"{path}")
        hint = SECTIONS.get(section, typing.Any)
        checked[section] = _checked(value, hint, f"{path}: {section}")
    return checked


def check_words(words: list[str], parse: collections.abc.Callable) -> None:
    """Check the options of a command line that change settings of a configuration.

    Args:
        words: the command line.
        parse: function of a text and a name for errors that gives plain values, or raises
            InputError.

    Raises:
        InputError: as ``checked_settings``.
    """
    for word, next_word in zip(words, [*words[1:], ""]):
        match = SECTION_OPTION.fullmatch(word)
        if not match:
            continue
        option = word.partition("=")[0]
        text = next_word if match[3] is None else match[3]
        try:
            value = parse(text, option)
        except InputError:
            value = text  # no YAML: the parser of options says what it is
        _checked(value, typing.Any, option)
        if option.endswith(".class_path"):
            find_component(str(value), ROOTS, option)


def find_component(name: str, bases: tuple[type, ...], where: str) -> type:
    """Class of a component by its name.

    Args:
        name: name of the class, alone or with its module.
        bases: classes of which it must be a subclass of one.
        where: place of the name, for the error.

    Raises:
        InputError: no such component.
    """
    trusted = (OWN_PACKAGE, *user_packages())
    candidates = {}
    for base in bases:
        # An option that takes any function takes any component.
        for root in ROOTS if base is object else (base,):
            for cls in _subclasses(root):
                if _is_component(cls, trusted):
                    candidates[_full_name(cls)] = cls
    fitting = [cls for cls in candidates.values() if _has_name(cls, name)]
    if len(fitting) > 1:
        full_names = " or ".join(map(_full_name, fitting))
        raise InputError(f"{where} is {name!r}, expected {full_names}")
    if fitting:
        _check_trust(fitting[0], trusted, where)
        return fitting[0]
    names = sorted({cls.__name__ for cls in candidates.values()})
    similar = get_close_matches(name.rpartition(".")[2], names, n=1)
    # ROOTS and object stand for any kind.
    kinds = [base.__name__ for base in bases] if bases != ROOTS else ["component"]
    kind = f"one {' or '.join(kinds)}".replace("one object", "one component")
    hint = f", such as {similar[0]}" if similar else f": {abbreviate(names)}"
    raise InputError(
        f"{where} is {name!r}, expected {kind} of {OWN_PACKAGE}{hint}; "
        f"--components PACKAGE or {COMPONENTS_VARIABLE} adds those of your own package"
    )


def _is_component(cls: type, trusted: tuple[str, ...]) -> bool:
    """Whether a class may be built: of this package, of a trusted one, or an optimizer of torch."""
    if inspect.isabstract(cls) or cls is OPTIMIZER:
        return False
    if issubclass(cls, OPTIMIZER) and cls.__module__.startswith("torch.optim."):
        return True
    return any(f"{cls.__module__}.".startswith(f"{package}.") for package in trusted)


def _has_name(cls: type, name: str) -> bool:
    module, _, class_name = name.rpartition(".")
    # The module may be a package that passes on a class of a module inside it.
    is_inside = not module or f"{cls.__module__}.".startswith(f"{module}.")
    return class_name == cls.__name__ and is_inside


def _check_trust(cls: type, trusted: tuple[str, ...], where: str) -> None:
    """Refuse a component that runs what its options name, unless the user trusts that."""
    package = getattr(cls, "runs_code_with", "")
    if package and package not in trusted:
        raise InputError(
            f"{where} is {cls.__name__}, which runs code that its options name: --components "
            f"{package} says that you trust this configuration"
        )


def _subclasses(base: type) -> list[type]:
    """A class and all that derive from it, as far as they are imported."""
    classes = [base]
    # Called on type itself, because a metaclass has no bound method of that name.
    for cls in type.__subclasses__(base):
        classes += _subclasses(cls)
    return classes


def _checked(value: object, hint: object, where: str) -> object:
    """Value of an option, its components by their full names.

    Args:
        value: plain value.
        hint: type of the option; ``typing.Any`` where it is unknown.
        where: place of the option, for the error.
    """
    if isinstance(value, list):
        element = _element_hint(hint)
        return [_checked(item, element, f"{where}[{row}]") for row, item in enumerate(value)]
    if isinstance(value, dict):
        return _checked_mapping(value, hint, where)
    if isinstance(value, str):
        return _checked_text(value, hint, where)
    return value


def _checked_text(text: str, hint: object, where: str) -> object:
    bases = _component_bases(hint)
    if bases and not (_takes_text(hint) and not IMPORT_PATH.fullmatch(text)):
        return {"class_path": _full_name(find_component(text, bases, where))}
    if hint is typing.Any:
        # Where a component may stand, the parser of configurations imports what looks like a path
        # of modules, and reads what is a file.
        if IMPORT_PATH.fullmatch(text):
            find_component(text, ROOTS, where)
        if len(text) < 1000 and "\0" not in text and os.path.isfile(text):
            raise InputError(f"{where} is {text!r}, a file, expected a value: files go to --config")
    return text


def _checked_mapping(mapping: dict, hint: object, where: str) -> dict:
    for key in mapping:
        _check_key(key, where)
    bases = _component_bases(hint)
    checked = dict(mapping)
    if "class_path" in mapping:
        name = mapping["class_path"]
        if not isinstance(name, str):
            raise InputError(f"{where}.class_path is {name!r}, expected the name of a component")
        component = find_component(name, bases or ROOTS, where)
        checked["class_path"] = _full_name(component)
        if "init_args" in mapping:
            options = mapping["init_args"]
            checked["init_args"] = _checked_options(options, component, f"{where}.init_args")
        others = mapping.keys() - {"class_path", "init_args"}
    elif len(bases) == 1 and "init_args" not in mapping:
        # Options of the class that the type names.
        return _checked_options(mapping, bases[0], where)
    else:
        others = mapping.keys()
    # Inside an option that takes any mapping, nothing is imported or read but by class_path.
    is_plain = hint is not typing.Any and not bases
    for key in others:
        checked[key] = _checked(mapping[key], dict if is_plain else typing.Any, f"{where}.{key}")
    return checked


def _checked_options(options: object, component: type, where: str) -> object:
    """Options of a component, each checked by its type in the constructor."""
    if not isinstance(options, dict):
        return _checked(options, typing.Any, where)
    hints = _option_hints(component)
    checked = {}
    for key, value in options.items():
        _check_key(key, where)
        checked[key] = _checked(value, hints.get(key, typing.Any), f"{where}.{key}")
    return checked


def _check_key(key: object, where: str) -> None:
    # Dots in a key would name an option at another depth, a + would append to one.
    if not (isinstance(key, str) and KEY.fullmatch(key)):
        raise InputError(f"{where}: key {key!r}, expected the name of an option")


def _full_name(cls: type) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"


def _option_hints(component: type) -> dict[str, object]:
    """Types of the options of a component, those that it hands to its base classes included."""
    hints = {}
    for cls in reversed(component.__mro__):
        constructor = vars(cls).get("__init__")
        if inspect.isfunction(constructor):
            try:
                hints |= typing.get_type_hints(constructor)
            except (NameError, TypeError):  # a name that exists for type checkers only
                continue
    return hints


def _alternatives(hint: object) -> list[object]:
    """Types of a union, or the type itself."""
    if typing.get_origin(hint) is typing.Annotated:
        return _alternatives(typing.get_args(hint)[0])
    if typing.get_origin(hint) not in (typing.Union, types.UnionType):
        return [hint]
    alternatives = []
    for part in typing.get_args(hint):
        alternatives += _alternatives(part)
    return alternatives


def _component_bases(hint: object) -> tuple[type, ...]:
    """Classes whose subclasses an option takes; none for an option that takes values."""
    bases = []
    for part in _alternatives(hint):
        if part is collections.abc.Callable or part is typing.Callable:
            bases.append(object)
        elif typing.get_origin(part) is collections.abc.Callable:
            bases += _component_bases(typing.get_args(part)[-1])
        elif _is_class(part) and not issubclass(part, VALUES):
            bases.append(part)
    return tuple(bases)


def _is_class(hint: object) -> bool:
    # Any and list[int] pass for classes in some versions of Python.
    is_plain = hint is not typing.Any and typing.get_origin(hint) is None
    return is_plain and inspect.isclass(hint)


def _takes_text(hint: object) -> bool:
    return str in _alternatives(hint)


def _element_hint(hint: object) -> object:
    """Type of the elements of an option that takes a list."""
    for part in _alternatives(hint):
        if typing.get_origin(part) in (list, tuple, collections.abc.Sequence):
            elements = typing.get_args(part)
            if elements:
                return elements[0]
    return typing.Any
