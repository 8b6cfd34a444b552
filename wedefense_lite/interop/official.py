"""Weights of official implementations and of ``transformers``, under the names that they have
here.
"""

import functools
import importlib
import logging
import os
import pkgutil
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from wedefense_lite.files import InputError, abbreviate
from wedefense_lite.frontends.encoders import FAMILIES, import_transformers, parse_architecture
from wedefense_lite.frontends.fairseq import hub_name, rename_by
from wedefense_lite.interop import checkpoints
from wedefense_lite.interop.patterns import Importer
from wedefense_lite.labels import LABELS

# Names of labels that leave no doubt, as letters only.
BONAFIDE_NAMES = ("bonafide", "real", "genuine", "human", "authentic", "original")
SPOOF_NAMES = ("spoof", "spoofed", "fake", "deepfake", "synthetic", "generated")


@functools.cache
def importers() -> dict[str, Importer]:
    """Importers by their names, which are those of their files, in the order of the alphabet."""
    tables = {}
    for module in pkgutil.iter_modules(checkpoints.__path__, f"{checkpoints.__name__}."):
        tables[module.name.rpartition(".")[2]] = importlib.import_module(module.name).IMPORTER
    return tables


def form_of(source: str, names: Iterable[str]) -> str:
    """Importer for weights of these names, as an importer of several forms knows it.

    Args:
        source: key of ``importers``.
        names: official names.
    """
    names = list(names)
    for pattern, form in importers()[source].forms.items():
        if any(re.search(pattern, name) for name in names):
            return form
    return source


def rename(source: str, official_name: str) -> str:
    """Name of a weight here; empty for one that is left out.

    Args:
        source: key of ``importers``.
        official_name: name in the official code.
    """
    importer = importers()[source]
    if importer.encoder and re.search(importer.encoder, official_name):
        name = hub_name(re.sub(importer.encoder, "", official_name))
        return name and f"frontend.encoder.network.{name}"
    name = rename_by(importer.names, official_name)
    if name and not name.startswith(("head.", "frontend.")):
        name = f"model.{name}"
    return name


def official_names(source: str, names: Iterable[str]) -> dict[str, str]:
    """Official names by the names that they have here, without those that are left out.

    Raises:
        ValueError: two official names that would become one.
    """
    ours = {}
    for official_name in names:
        name = rename(source, official_name)
        if name in ours:
            raise ValueError(f"{official_name} and {ours[name]} would both be {name}, expected one")
        if name:
            ours[name] = official_name
    return ours


def rename_weights(source: str, official: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """State dict of a ``wedefense_lite.systems.tasks.Detection`` with official weights.

    Args:
        source: key of ``importers``.
        official: state dict as the official code saves it; unknown names stay as they are.

    Raises:
        ValueError: a weight of other axes than the official code has, or two for one name.
    """
    state = {}
    changes = importers()[source].changes
    for name, official_name in official_names(source, official).items():
        value = official[official_name]
        for pattern, change in changes:
            if re.search(pattern, name):
                try:
                    value = change(value)
                except (IndexError, RuntimeError) as error:
                    shape = list(official[official_name].shape)
                    raise ValueError(
                        f"{official_name} is {shape}, expected other axes for {name}"
                    ) from error
        state[name] = value
    return state


def without_classifier(source: str, official: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights without a classifier of other than two classes, such as speakers.

    Args:
        source: key of ``importers``.
        official: state dict as the official code saves it.
    """
    pattern = importers()[source].classifier
    if pattern is None:
        return dict(official)
    rows = []
    for name, value in official.items():
        if re.search(pattern, name) and value.ndim == 2:
            rows.append(len(value))
    if rows == [len(LABELS)]:
        return dict(official)
    return {name: value for name, value in official.items() if not re.search(pattern, name)}


def check_rawnet2(source: str, official: Mapping[str, Tensor], path: str) -> None:
    """Refuse weights of RawNet2 that are surely of another form than they are said to be.

    The baselines of ASVspoof 2021 and of ASVspoof 5 have the same names and shapes. Only the latter
    uses, and so trains, the layers named ``bn1``.

    Args:
        source: key of ``importers``.
        official: state dict as the official code saves it.
        path: file of the weights, for messages.

    Raises:
        InputError: ``bn1`` is in use in ``source``, and was never trained.
    """
    is_trained = False
    for name, value in official.items():
        if name.endswith(".bn1.weight"):
            is_trained = is_trained or not bool((value == 1).all())
        if name.endswith(".bn1.bias"):
            is_trained = is_trained or not bool((value == 0).all())
    if source == "rawnet2" and is_trained:
        logging.warning(
            "%s: bn1 is trained, which the baseline of ASVspoof 2021 never does and leaves unused: "
            "weights of ASVspoof 5 are imported by --from rawnet2_asvspoof5",
            path,
        )
    if source != "rawnet2" and not is_trained:
        raise InputError(
            f"{path}: bn1 was never trained, expected --from rawnet2, "
            f"whose code leaves it unused, in place of {source}"
        )


class ReadyClassifier(NamedTuple):
    """Classifier of ``transformers``, as a system of this package.

    Attributes:
        state: weights under the names that they have here.
        options: options of the configuration that make its architecture, by dotted names below
            ``system.init_args``.
        sample_rate: Hz.
    """

    state: dict[str, Tensor]
    options: dict[str, object]
    sample_rate: int


def ready_classifier(name: str, bonafide: str | None = None) -> ReadyClassifier:
    """Audio classifier in the format of ``transformers``: wav2vec 2.0, HuBERT or WavLM with two
    labels.

    Here it is an ``wedefense_lite.frontends.ssl.SSL`` front end, a
    ``wedefense_lite.models.weighted_sum.WeightedSum`` and a linear layer, with the same output.

    Args:
        name: its folder, or its name on the hub.
        bonafide: name of its bona fide label; by default names that leave no doubt are known.

    Raises:
        InputError: no such classifier, weights that are missing, or other labels.
    """
    library = import_transformers()
    local = Path(os.environ.get("WEDEFENSE_MODELS") or ".", name)
    source = str(local if local.is_dir() else name)
    try:
        network, loading = library.AutoModelForAudioClassification.from_pretrained(
            source, output_loading_info=True, trust_remote_code=False
        )
        extractor = library.AutoFeatureExtractor.from_pretrained(source, trust_remote_code=False)
    # Errors of the network and of damaged files have no common class.
    except Exception as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        files = "config.json, preprocessor_config.json and model.safetensors"
        raise InputError(
            f"{name}: no audio classifier of transformers ({reason}): "
            f"expected {files} in {local}, or a name on the hub"
        ) from error
    if not isinstance(extractor, library.Wav2Vec2FeatureExtractor):
        raise InputError(
            f"{name}: a {type(extractor).__name__}, expected one that takes waveforms as they are"
        )
    config = network.config
    missing = sorted(loading["missing_keys"])
    if config.model_type not in FAMILIES or missing:
        lacking = abbreviate(missing) or "our architecture"
        raise InputError(
            f"{name}: a {config.model_type} without {lacking}, "
            f"expected a classifier of {', '.join(FAMILIES)}"
        )
    state = rename_weights("transformers", network.state_dict())
    # Rows of the last layer in our order, [spoof, bonafide].
    rows = label_rows(config.id2label, bonafide, name)
    for key in state:
        if key.startswith("head."):
            state[key] = state[key][rows]
    # A single layer has a weight too, of which the softmax is 1.
    state.setdefault("model.sum.weights_L", torch.zeros(1))
    takes_all_layers = config.use_weighted_layer_sum
    options = {
        "frontend.init_args.model": _hub_name(source),
        "frontend.init_args.layers": "all" if takes_all_layers else "last",
        "frontend.init_args.normalize": extractor.do_normalize,
        "frontend.init_args.architecture": parse_architecture(config.to_dict(), name),
        "model.init_args.num_layers": config.num_hidden_layers + 1 if takes_all_layers else 1,
        "model.init_args.embed_dim": config.classifier_proj_size,
    }
    return ReadyClassifier(state, options, extractor.sampling_rate)


def _hub_name(source: str) -> str:
    """Name by which a model is found later.

    A folder below ``$WEDEFENSE_MODELS`` has its path from there, another folder its own name, and a
    model of the hub the name that it has there.
    """
    folder = Path(source).resolve()
    root = Path(os.environ.get("WEDEFENSE_MODELS") or source).resolve()
    if not folder.is_dir():
        return source
    if root in folder.parents:
        return folder.relative_to(root).as_posix()
    return folder.name


def label_rows(names: Mapping[int, str], bonafide: str | None, model: str) -> list[int]:
    """Rows of the last layer of a classifier in the order ``[spoof, bonafide]``.

    Args:
        names: name of the label of each row.
        bonafide: name of the bona fide label; None to know it by its name.
        model: name of the classifier, for messages.

    Raises:
        InputError: other than two labels, or none that is known to be bona fide.
    """
    spoof_rows = []
    bonafide_rows = []
    for row, name in names.items():
        letters = re.sub("[^a-z]", "", name.lower())
        if bonafide is None:
            is_bonafide = letters in BONAFIDE_NAMES
            is_spoof = letters in SPOOF_NAMES
        else:
            is_bonafide = name == bonafide
            is_spoof = not is_bonafide
        if is_bonafide:
            bonafide_rows.append(row)
        if is_spoof:
            spoof_rows.append(row)
    if len(names) != 2 or len(spoof_rows) != 1 or len(bonafide_rows) != 1:
        raise InputError(
            f"{model}: its labels are {', '.join(names.values())}, expected two: "
            "--bonafide_label says which is bona fide"
        )
    return spoof_rows + bonafide_rows
