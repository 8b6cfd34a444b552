"""Weights from elsewhere, of official implementations and of ``transformers``, under the names that they have here."""

import os
import re
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from wedefense_lite.files import InputError, abbreviate
from wedefense_lite.frontends.encoders import FAMILIES, architecture, import_transformers

# Patterns on the names of the official state dict and what they become, in this order, each at most
# once a name. What becomes "" is left out: layers whose output the official code never uses.
NAMES = {
    "aasist": [
        (r"^encoder\.\d\.0\.bn1\..*", ""),
        (r"^(encoder\.\d)\.0\.", r"\1."),
        (r"\.conv_downsample\.", ".shortcut."),
        (r"\.(att_weight|att_proj|proj_with_att|proj_without_att)M", r".to_master.\1"),
        (r"(?<!to_master)\.(att_|proj_with)", r".attention.\1"),
        (r"att_weight(11)?$", "att_weights.0"),
        (r"att_weight12$", "att_weights.1"),
        (r"att_weight22$", "att_weights.2"),
        (r"^HtrgGAT_layer_ST(\d)(\d)\.", r"branch\1.layer\2."),
        (r"^pool_h([ST])(\d)\.", r"branch\2.pool_\1."),
        (r"^master(\d)$", r"branch\1.master"),
        (r"^GAT_layer_S\.", "spectral.0."),
        (r"^pool_S\.", "spectral.1."),
        (r"^GAT_layer_T\.", "temporal.0."),
        (r"^pool_T\.", "temporal.1."),
        (r"^pos_S$", "position"),
        (r"^out_layer\.", "head.linear."),
    ],
    "rawnet2": [
        (r"^block\d\.0\.bn1\..*", ""),
        (r"^block(\d)\.0\.", r"blocks.\1.0."),
        (r"\.conv_downsample\.", ".shortcut."),
        (r"^fc_attention(\d)\.0\.", r"blocks.\1.1.linear."),
        (r"^fc1_gru\.", "embed."),
        (r"^fc2_gru\.", "head.linear."),
    ],
    "transformers": [
        (r".*masked_spec_embed$", ""),
        (r"^(wav2vec2|hubert|wavlm)\.", "frontend.encoder.network."),
        (r"^layer_weights$", "sum.weights_L"),
        (r"^projector\.", "project."),
        (r"^classifier\.", "head.linear."),
    ],
}
# Whether a label is bona fide, by its name in small letters and without anything else.
BONAFIDE_NAMES = dict.fromkeys(
    ["bonafide", "real", "genuine", "human", "authentic", "original"], True
)
BONAFIDE_NAMES |= dict.fromkeys(
    ["spoof", "spoofed", "fake", "deepfake", "synthetic", "generated"], False
)


def renamed(source: str, official: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The state dict of a :class:`~wedefense_lite.systems.tasks.Detection` with these weights.

    Args:
        source: a key of :data:`NAMES`.
        official: state dict as the official code saves it; names that are not known stay as they are.
    """
    state = {}
    for name, value in official.items():
        for pattern, replacement in NAMES[source]:
            name = re.sub(pattern, replacement, name)
        if name:
            state[name if name.startswith(("head.", "frontend.")) else f"model.{name}"] = value
    return state


def ready_classifier(name: str, bonafide: str | None = None) -> tuple[dict[str, Tensor], dict, int]:
    """A classifier of audio in the format of ``transformers``: wav2vec 2.0, HuBERT or WavLM for two labels.

    It is an :class:`~wedefense_lite.frontends.ssl.SSL` under a
    :class:`~wedefense_lite.models.weighted_sum.WeightedSum` and a linear layer; its output is the same.

    Args:
        name: its folder, or its name on the hub.
        bonafide: the name of its label that is bona fide; by default names that leave no doubt are known.

    Returns:
        Its weights, the options of the configuration that make its architecture, and its sample rate in Hz.

    Raises:
        InputError: it is none, lacks weights, or has other labels.
    """
    library, local = import_transformers(), Path(os.environ.get("WEDEFENSE_MODELS") or ".", name)
    source = str(local if local.is_dir() else name)
    try:
        made, read = library.AutoModelForAudioClassification.from_pretrained(
            source, output_loading_info=True
        )
        extractor = library.AutoFeatureExtractor.from_pretrained(source)
    except Exception as error:  # its network's and its files' errors are of no common kind
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        files = f"expected config.json, preprocessor_config.json and model.safetensors in {local}, or a name on the hub"
        raise InputError(
            f"{name}: no audio classifier of transformers ({reason}): {files}"
        ) from error
    if not isinstance(extractor, library.Wav2Vec2FeatureExtractor):
        raise InputError(
            f"{name}: a {type(extractor).__name__}, expected one that takes waveforms as they are"
        )
    if made.config.model_type not in FAMILIES or read["missing_keys"]:
        found = f"{made.config.model_type} without {abbreviate(sorted(read['missing_keys'])) or 'our architecture'}"
        raise InputError(f"{name}: a {found}, expected a classifier of {', '.join(FAMILIES)}")
    config, state = made.config, renamed("transformers", made.state_dict())
    rows = label_rows(config.id2label, bonafide, name)
    state |= {key: value[rows] for key, value in state.items() if key.startswith("head.")}
    layers, count = (
        ("all", config.num_hidden_layers + 1) if config.use_weighted_layer_sum else ("last", 1)
    )
    state.setdefault("model.sum.weights_L", torch.zeros(1))
    encoder = {"model": _hub_name(source), "layers": layers, "normalize": extractor.do_normalize}
    encoder["architecture"] = architecture(config.to_dict(), name)
    parts = {
        "frontend": encoder,
        "model": {"num_layers": count, "embed_dim": config.classifier_proj_size},
    }
    options = {
        f"{part}.init_args.{key}": value
        for part, known in parts.items()
        for key, value in known.items()
    }
    return state, options, extractor.sampling_rate


def _hub_name(source: str) -> str:
    """What a model is found by later: its name on the hub, of a folder that below ``$WEDEFENSE_MODELS``, or its own."""
    folder, root = (
        Path(source).resolve(),
        Path(os.environ.get("WEDEFENSE_MODELS") or source).resolve(),
    )
    if not folder.is_dir():
        return source
    return folder.relative_to(root).as_posix() if root in folder.parents else folder.name


def label_rows(names: Mapping[int, str], bonafide: str | None, model: str) -> list[int]:
    """Which rows of a classifier's last layer are spoof and bona fide.

    Raises:
        InputError: not two labels, one of them bona fide by its name or as the caller says.
    """
    known = {
        name: BONAFIDE_NAMES.get(re.sub("[^a-z]", "", name.lower())) for name in names.values()
    }
    found = {
        known[name] if bonafide is None else name == bonafide: row for row, name in names.items()
    }
    if found.keys() != {False, True} or len(names) != 2:
        said = f"its labels are {', '.join(names.values())}, expected two: --bonafide_label says which is bona fide"
        raise InputError(f"{model}: {said}")
    return [found[False], found[True]]
