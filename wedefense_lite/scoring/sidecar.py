"""The sidecar ``<name>.json`` beside every archive of embeddings, logits or scores.

It says what the numbers mean, so that no stage has to guess: ``embedding.json`` beside
``embedding.{ark,scp}``, ``logits.json`` beside ``logits.{ark,scp}``, ``llr.json`` beside
``llr.txt``.

It also keeps the results of a run together. A stage begins with ``begin_results``, which replaces
the sidecars of its outputs, whosever they are, by marks that readers refuse. It ends with
``write_sidecar``, which notes the hashes of the files. So a stage that is killed leaves nothing
that the next one takes, and files of two runs are noticed by their hashes.
"""

import math
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, get_args, get_origin

from wedefense_lite.files import (
    InputError,
    file_path,
    note_input,
    read_json,
    refuse_input,
    write_json,
)
from wedefense_lite.labels import LABELS, POLARITY
from wedefense_lite.provenance import file_hash

# Key of the mark that stands for a sidecar while a run writes the files.
UNFINISHED = "unfinished"
# Fields that sidecars from before they existed don't have.
LATER_FIELDS = ("frame_seconds", "hashes", "score", "classes", "window_seconds")
# An object with as many fields of a sidecar is one, though perhaps a damaged one.
LEAST_FIELDS = 3
# What a value has to be, by the type of its field.
DESCRIPTIONS = {
    str: "text",
    bool: "true or false",
    int: "a whole number",
    float: "a finite number",
    NoneType: "null",
}
Score = Literal["difference", "bonafide_logit"]


@dataclass(frozen=True)
class Sidecar:
    """Meaning and origin of the numbers in an archive.

    Attributes:
        labels: class names in the order of the logits, always ``wedefense_lite.labels.LABELS``.
        class_prior: prior of each class that the training loss saw (sampling and class weights
            included), summing to 1; None where unknown.
        has_posterior: whether the head's softmax is a posterior, so that a prior can be divided
            out.
        model: the checkpoint.
        config_hash: hash of the resolved configuration.
        commit: version of the code.
        model_hash: hash of the checkpoint file, so that another one is noticed.
        frame_seconds: length of a frame, of an archive that has a row a frame; else None.
        window_seconds: length of a window, of an archive that has a row a window; else None.
        polarity: always ``wedefense_lite.labels.POLARITY``.
        score: what the score of an utterance is: ``difference``, bona fide minus spoof logit, of
            which stage 6 makes an LLR; or ``bonafide_logit`` alone, which is no LLR.
        classes: names of the classes in the order of the logits, of source tracing; else empty.
        hashes: hashes of the files that it describes, by their names; ``write_sidecar`` fills them
            in.

    Raises:
        ValueError: values of another type, that contradict each other, or another polarity or
            order of labels.
    """

    labels: tuple[str, ...] = LABELS
    class_prior: tuple[float, ...] | None = None
    has_posterior: bool = True
    model: str = ""
    config_hash: str = ""
    commit: str = ""
    model_hash: str = ""
    frame_seconds: float | None = None
    window_seconds: float | None = None
    polarity: str = POLARITY
    score: Score = "difference"
    classes: tuple[str, ...] = ()
    hashes: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self):
        check_types(self)
        if self.polarity != POLARITY:
            raise ValueError(f"polarity is {self.polarity!r}, expected {POLARITY!r}")
        if tuple(self.labels) != LABELS:
            raise ValueError(f"labels are {list(self.labels)}, expected {list(LABELS)}")
        if self.class_prior is not None and not _is_prior(self.class_prior):
            expected = f"{len(LABELS)} positive parts of 1"
            raise ValueError(f"class_prior is {list(self.class_prior)}, expected {expected}")
        for name in ("frame_seconds", "window_seconds"):
            seconds = getattr(self, name)
            if seconds is not None and seconds <= 0:
                raise ValueError(f"{name} is {seconds}, expected a positive number")


def _is_prior(prior: tuple[float, ...]) -> bool:
    """Whether there is one positive number a class, together 1 but for rounding."""
    return (
        len(prior) == len(LABELS) and min(prior) > 0 and math.isclose(sum(prior), 1, abs_tol=1e-6)
    )


def check_types(record: Any) -> None:
    """Refuse a record whose values are of other types than its fields say.

    Args:
        record: dataclass.

    Raises:
        ValueError: names the field, its value and what is expected.
    """
    for record_field in fields(record):
        value = getattr(record, record_field.name)
        if not _is_of_type(value, record_field.type):
            # A damaged file may hold megabytes in one value.
            text = repr(value)[:80]
            expected = _describe(record_field.type)
            raise ValueError(f"{record_field.name} is {text}, expected {expected}")


def _is_of_type(value: Any, kind: Any) -> bool:
    """Whether a value is of the type of a field; numbers are to be finite."""
    origin = get_origin(kind)
    parts = get_args(kind)
    if origin is Literal:
        return value in parts
    if origin is UnionType:
        return any(_is_of_type(value, part) for part in parts)
    if origin is tuple:
        is_list = isinstance(value, list | tuple)
        return is_list and all(_is_of_type(part, parts[0]) for part in value)
    if origin is Mapping:
        key_type, value_type = parts
        return isinstance(value, Mapping) and all(
            _is_of_type(key, key_type) and _is_of_type(part, value_type)
            for key, part in value.items()
        )
    if kind is float:
        # To Python true is a number, and an integer may be too large for any float.
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        return is_number and abs(value) <= sys.float_info.max
    is_bool_for_int = kind is int and isinstance(value, bool)
    return isinstance(value, kind) and not is_bool_for_int


def _describe(kind: Any) -> str:
    """What a value of the type of a field is, for an error."""
    origin = get_origin(kind)
    parts = get_args(kind)
    if origin is Literal:
        return " or ".join(parts)
    if origin is UnionType:
        return " or ".join(_describe(part) for part in parts)
    if origin is tuple:
        return f"a list, each {_describe(parts[0])}"
    if origin is Mapping:
        return f"an object, each value {_describe(parts[1])}"
    return DESCRIPTIONS[kind]


def read_record(path: str | Path, record: type, optional: tuple[str, ...] = ()) -> Any:
    """Record of a JSON file that holds its fields, and no others.

    Args:
        path: file.
        record: dataclass, which checks its values.
        optional: fields that may be missing.

    Raises:
        InputError: no such file, a field that is missing or unknown, or a value that can't be
            right; names file and field.
    """
    return record_of(str(path), read_json(path), record, optional)


def record_of(source: str, content: Any, record: type, optional: tuple[str, ...] = ()) -> Any:
    """Record of parsed JSON that holds its fields, and no others.

    Args:
        source: where the JSON is from, for errors.
        content: parsed JSON.
        record: dataclass, which checks its values.
        optional: fields that may be missing.

    Raises:
        InputError: a field that is missing or unknown, or a value that can't be right; names
            source and field.
    """
    names = [record_field.name for record_field in fields(record)]
    expected = f"expected an object with the fields {', '.join(sorted(names))}"
    if not isinstance(content, dict):
        raise InputError(f"{source}: {repr(content)[:80]}, {expected}")
    for name in content:
        if name not in names:
            raise InputError(f"{source}: unknown field {name[:80]!r}, {expected}")
    for name in names:
        if name not in content and name not in optional:
            raise InputError(f"{source}: no field {name!r}, {expected}")
    values = {}
    for name, value in content.items():
        # JSON has lists where fields are tuples.
        values[name] = tuple(value) if isinstance(value, list) else value
    try:
        return record(**values)
    except ValueError as error:
        raise InputError(f"{source}: {error}") from error


def sidecar_path(archive: str | Path) -> Path:
    """Path of the sidecar of an ``.ark``, ``.scp`` or ``.txt`` file."""
    return file_path(archive).with_suffix(".json")


def begin_results(*archives: str | Path) -> None:
    """Make earlier results under these names invalid, before any of their files is replaced.

    Each sidecar is replaced by a mark in one step, also where there was none: until
    ``write_sidecar`` replaces the mark, readers refuse the files.

    Args:
        archives: files to be written, of which each has a sidecar.

    Raises:
        InputError: one of the files is an input of the command, whose sidecar stays as it is.
    """
    for archive in archives:
        for path in _described_files(archive):
            refuse_input(path)
    for archive in archives:
        write_json(sidecar_path(archive), {UNFINISHED: Path(archive).name})


def write_sidecar(archive: str | Path, sidecar: Sidecar, *others: str | Path) -> None:
    """Write the sidecar of ``archive``, whole or not at all, with the hashes of its files.

    Args:
        archive: its ``.ark``, ``.scp`` or ``.txt`` file, which is complete.
        sidecar: its meaning.
        others: further files of these results, in the same folder.
    """
    hashes = {}
    for path in [*_described_files(archive), *map(Path, others)]:
        if path.exists():
            hashes[path.name] = file_hash(path)
    write_json(sidecar_path(archive), asdict(sidecar) | {"hashes": hashes})


def _described_files(archive: str | Path) -> list[Path]:
    """Files that the sidecar of an archive describes."""
    archive = Path(archive)
    if archive.suffix in (".ark", ".scp"):
        return [archive.with_suffix(".ark"), archive.with_suffix(".scp")]
    return [archive]


def read_sidecar(archive: str | Path, required: bool = True) -> Sidecar | None:
    """The sidecar of ``archive``; None where there is none and it isn't ``required``.

    Raises:
        InputError: it is missing though required, has other fields, values that can't be right, or
            is that of other files; the run that writes the files has not ended.
    """
    path = sidecar_path(archive)
    if not required and not path.exists():
        return None
    note_input(path)
    content = read_json(path)
    if isinstance(content, dict) and UNFINISHED in content:
        raise InputError(
            f"{path}: the run that writes {Path(archive).name} has not ended: run it again"
        )
    sidecar = read_record(path, Sidecar, LATER_FIELDS)
    if sidecar.hashes:
        check_hashes(path, sidecar.hashes, *_described_files(archive))
    return sidecar


def find_sidecar(table: str | Path) -> Sidecar | None:
    """The sidecar of a table of scores; None where there is none, or JSON of another kind.

    Raises:
        InputError: as ``read_sidecar``.
    """
    if not Path(table).name:  # a folder, such as "."; the reader of the table says so
        return None
    path = sidecar_path(table)
    # A table of its own may end in .json.
    if path == Path(table) or not (path.exists() and is_sidecar(path)):
        return None
    return read_sidecar(table)


def is_sidecar(path: str | Path) -> bool:
    """Whether a JSON file is a sidecar, be it a damaged one or the mark of an unfinished run."""
    content = read_json(path)
    if not isinstance(content, dict):
        return False
    names = {sidecar_field.name for sidecar_field in fields(Sidecar)}
    return UNFINISHED in content or len(names & content.keys()) >= LEAST_FIELDS


def refuse_sidecar(path: str | Path) -> None:
    """Refuse to write other JSON over a sidecar.

    Raises:
        InputError: the file is a sidecar; names it.
    """
    path = Path(path)
    if not path.is_file() or path.suffix != ".json":
        return
    try:
        holds_sidecar = is_sidecar(path)
    except InputError:  # no JSON, so nothing that a reader would miss
        return
    if holds_sidecar:
        raise InputError(f"{path}: the sidecar of {path.stem}, expected another name for results")


def check_hashes(source: str | Path, hashes: Mapping[str, str], *paths: str | Path) -> None:
    """Refuse files that are others than those noted.

    Args:
        source: file that holds the hashes, for the error.
        hashes: hashes by name.
        paths: files, by whose names the hashes are looked up.

    Raises:
        InputError: a file that is missing, has no hash, or another one.
    """
    for path in map(Path, paths):
        expected = hashes.get(path.name)
        present = file_hash(path)
        if present != expected:
            raise InputError(
                f"{path}: its hash is {present}, expected {expected} as in {source}: "
                "damaged, or of another run; make it again"
            )


def check_sidecar(archive: str | Path, sidecar: Sidecar, **expected) -> None:
    """Refuse an archive whose sidecar has other values than a stage expects.

    Args:
        archive: path, for the error.
        sidecar: its sidecar.
        expected: values of fields by name.

    Raises:
        InputError: names the sidecar, the field, its value and the expected one.
    """
    for name, expected_value in expected.items():
        value = getattr(sidecar, name)
        if value != expected_value:
            raise InputError(
                f"{sidecar_path(archive)}: {name} is {value!r}, expected {expected_value!r}"
            )
