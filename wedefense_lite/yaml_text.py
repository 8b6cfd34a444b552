"""YAML of other people: checked before anything is built of it."""

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from wedefense_lite.files import InputError, read_text

# Far above any configuration. Together they bound time and memory.
MOST_BYTES = 1 << 18
MOST_NODES = 20_000  # a node counts once more for each alias of it
MOST_LEVELS = 40
LONGEST_VALUE = 10_000  # reading an integer takes time that grows with the square of its length
LONGEST_NUMBER = 1000  # Python prints no integer of more than 4300 digits
# Others could name classes.
PLAIN_TAGS = {f"tag:yaml.org,2002:{name}" for name in "str int float bool null seq map".split()}
# The fast parser comes with libyaml, which may be missing.
EVENT_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass
class _Collection:
    """A list or a mapping whose end is not read yet.

    Attributes:
        anchor: name for aliases; None without one.
        is_mapping: keys and values in turn, not elements.
        size: nodes in it and itself, aliases counted in full.
        children: nodes directly in it.
        keys: keys of the mapping.
    """

    anchor: str | None
    is_mapping: bool
    size: int = 1
    children: int = 0
    keys: set[str] = field(default_factory=set)

    @property
    def expects_key(self) -> bool:
        return self.is_mapping and self.children % 2 == 0


def read_yaml_text(path: str | Path) -> str:
    """Text of a YAML file, not parsed yet.

    Raises:
        InputError: no such file, or one that is far larger than a configuration.
    """
    try:
        size = os.stat(path).st_size
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: {getattr(error, 'strerror', error)}") from error
    if size > MOST_BYTES:
        raise InputError(f"{path}: {size} bytes, expected YAML of at most {MOST_BYTES}")
    return read_text(path)


def parse_yaml(text: str, path: str | Path, load: Callable = yaml.safe_load):
    """Content of YAML text.

    Args:
        text: the YAML.
        path: file that it is from, for the error.
        load: what builds the content of a text that was checked.

    Raises:
        InputError: no YAML, a key twice in a mapping, a tag that names a class, or more nodes,
            levels or bytes than a configuration has; names the line.
    """
    try:
        check_yaml(text)
        return load(text)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"{path}:{mark.line + 1}" if mark else f"{path}"
        words = filter(None, (error.context, error.problem))
        raise InputError(f"{place}: not YAML: {' '.join(' '.join(words).split())}") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: not YAML: {' '.join(str(error).split())}") from error
    except LookupError as error:  # PyYAML's, for "!!bool maybe" and "!!int ''"
        raise InputError(f"{path}: not YAML: a value that is not of the type of its tag") from error


def check_yaml(text: str) -> None:
    """Check a text in one pass over its events, which builds nothing.

    Raises:
        yaml.YAMLError: as ``parse_yaml`` describes.
    """
    if len(text) > MOST_BYTES:
        raise yaml.YAMLError(f"{len(text)} characters, expected at most {MOST_BYTES}")
    check = _Check()
    for event in yaml.parse(text, Loader=EVENT_LOADER):
        if isinstance(event, yaml.CollectionEndEvent):
            check.end()
        elif isinstance(event, yaml.NodeEvent):
            check.node(event)


class _Check:
    """Running count of nodes and levels.

    Attributes:
        sizes: nodes of finished values, by anchor.
        total: nodes so far, aliases counted in full.
        opened: lists and mappings whose end is not read yet, outermost first.
    """

    def __init__(self):
        self.sizes: dict[str, int] = {}
        self.total = 0
        self.opened: list[_Collection] = []

    def node(self, event: yaml.NodeEvent) -> None:
        """Count an alias, a scalar, or the beginning of a list or mapping."""
        _check_tag(event)
        size = self._size(event)
        self.total += size
        if self.total > MOST_NODES:
            problem = f"more than {MOST_NODES} values, aliases counted in full"
            raise _error(problem, event.start_mark)
        if self.opened:
            _check_key(self.opened[-1], event)
            self.opened[-1].children += 1
        if isinstance(event, yaml.CollectionStartEvent):
            self.opened.append(_Collection(event.anchor, isinstance(event, yaml.MappingStartEvent)))
            if len(self.opened) > MOST_LEVELS:
                raise _error(f"more than {MOST_LEVELS} levels", event.start_mark)
        elif self.opened:
            self.opened[-1].size += size

    def end(self) -> None:
        """Count the end of a list or mapping."""
        closed = self.opened.pop()
        if closed.anchor:
            self.sizes[closed.anchor] = closed.size
        if self.opened:
            self.opened[-1].size += closed.size

    def _size(self, event: yaml.NodeEvent) -> int:
        if isinstance(event, yaml.AliasEvent):
            if event.anchor not in self.sizes:
                raise _error(f"alias *{event.anchor} of no finished value", event.start_mark)
            return self.sizes[event.anchor]
        if isinstance(event, yaml.ScalarEvent):
            begins_number = event.value.lstrip("+-")[:1].isdigit()
            longest = LONGEST_NUMBER if begins_number else LONGEST_VALUE
            if len(event.value) > longest:
                raise _error(f"a value of {len(event.value)} characters", event.start_mark)
            if event.anchor:
                self.sizes[event.anchor] = 1
        return 1


def _check_tag(event: yaml.NodeEvent) -> None:
    tag = getattr(event, "tag", None)
    if tag not in PLAIN_TAGS | {None, "!"}:
        raise _error(f"tag {tag!r}, expected plain values", event.start_mark)


def _check_key(mapping: _Collection, event: yaml.NodeEvent) -> None:
    if not mapping.expects_key:
        return
    if not isinstance(event, yaml.ScalarEvent):
        raise _error("a key that is no text", event.start_mark)
    if event.value in mapping.keys:
        raise _error(f"the key {event.value!r} is there twice", event.start_mark)
    mapping.keys.add(event.value)


def _error(problem: str, mark: yaml.Mark) -> yaml.YAMLError:
    return yaml.MarkedYAMLError(problem=problem, problem_mark=mark)
