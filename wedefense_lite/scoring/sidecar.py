"""The sidecar ``<name>.json`` beside every archive of embeddings, logits or scores.

It says what the numbers mean, so that no stage has to guess: ``embedding.json`` beside
``embedding.{ark,scp}``, ``logits.json`` beside ``logits.{ark,scp}``, ``llr.json`` beside
``llr.txt``.
"""

import math
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from wedefense_lite.files import InputError, read_json, write_json
from wedefense_lite.labels import LABELS, POLARITY


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
        polarity: always ``wedefense_lite.labels.POLARITY``.

    Raises:
        ValueError: values that contradict each other, or another polarity or order of labels.
    """

    labels: tuple[str, ...] = LABELS
    class_prior: tuple[float, ...] | None = None
    has_posterior: bool = True
    model: str = ""
    config_hash: str = ""
    commit: str = ""
    model_hash: str = ""
    frame_seconds: float | None = None
    polarity: str = POLARITY

    def __post_init__(self):
        if self.polarity != POLARITY:
            raise ValueError(f"polarity is {self.polarity!r}, expected {POLARITY!r}")
        if tuple(self.labels) != LABELS:
            raise ValueError(f"labels are {list(self.labels)}, expected {list(LABELS)}")
        if self.class_prior and not _is_prior(self.class_prior):
            expected = f"{len(LABELS)} positive parts of 1"
            raise ValueError(f"class_prior is {list(self.class_prior)}, expected {expected}")


def _is_prior(prior: tuple[float, ...]) -> bool:
    """Whether there is one positive number a class, together 1 but for rounding."""
    return (
        len(prior) == len(LABELS) and min(prior) > 0 and math.isclose(sum(prior), 1, abs_tol=1e-6)
    )


def sidecar_path(archive: str | Path) -> Path:
    """Path of the sidecar of an ``.ark``, ``.scp`` or ``.txt`` file."""
    return Path(archive).with_suffix(".json")


def write_sidecar(archive: str | Path, sidecar: Sidecar) -> None:
    """Write the sidecar of ``archive``, whole or not at all."""
    write_json(sidecar_path(archive), asdict(sidecar))


def read_sidecar(archive: str | Path, required: bool = True) -> Sidecar | None:
    """The sidecar of ``archive``; None where there is none and it isn't ``required``.

    Raises:
        InputError: it is missing though required, has other fields, or values that can't be right.
    """
    path = sidecar_path(archive)
    if not required and not path.exists():
        return None
    content = read_json(path)
    names = {field.name for field in fields(Sidecar)}
    # Sidecars from before there were frames have no frame_seconds.
    if not isinstance(content, dict) or set(content) | {"frame_seconds"} != names:
        raise InputError(f"{path}: expected an object with the fields {', '.join(sorted(names))}")
    try:
        # JSON has lists where the fields are tuples.
        for key in ("labels", "class_prior"):
            if content[key] is not None:
                content[key] = tuple(content[key])
        return Sidecar(**content)
    except (TypeError, ValueError) as error:
        raise InputError(f"{path}: {error}") from error


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
