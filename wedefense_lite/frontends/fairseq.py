"""Checkpoints of fairseq and of Microsoft's WavLM: their names, and options beside the weights."""

import re
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from pickle import UnpicklingError

import torch
from torch import Tensor

# Patterns on names and their replacements, applied one after the other. A name that becomes empty
# is of a layer of pretraining alone. Names of the hub stay as they are.
FAIRSEQ = (
    (r"^(w2v_encoder\.)?w2v_model\.", ""),
    (r"^(quantizer|project_q|final_proj|mask_emb|masked_spec_embed|label_embs_concat)\b.*", ""),
    (r"^post_extract_proj\.", "feature_projection.projection."),
    (r"^layer_norm\.", "feature_projection.layer_norm."),
    (r"\.pos_conv\.0\.weight_g$", ".pos_conv_embed.conv.parametrizations.weight.original0"),
    (r"\.pos_conv\.0\.weight_v$", ".pos_conv_embed.conv.parametrizations.weight.original1"),
    (r"\.pos_conv\.0\.", ".pos_conv_embed.conv."),
    (r"\.self_attn\.", ".attention."),
    (r"\.self_attn_layer_norm\.", ".layer_norm."),
    (r"\.fc1\.", ".feed_forward.intermediate_dense."),
    (r"\.fc2\.", ".feed_forward.output_dense."),
    (r"\.conv_layers\.([0-9])\.0\.", r".conv_layers.\1.conv."),
    (r"\.conv_layers\.([0-9])\.2\.1\.", r".conv_layers.\1.layer_norm."),
    (r"\.conv_layers\.0\.2\.", ".conv_layers.0.layer_norm."),
    (r"\.relative_attention_bias\.", ".rel_attn_embed."),
    (r"\.grep_linear\.", ".gru_rel_pos_linear."),
    (r"\.grep_a$", ".gru_rel_pos_const"),
)

# Packages whose objects stand beside the weights: options of a training and its log. In their place
# is put a Remark. "utils" is where BAM has the class of its options.
BESIDE_WEIGHTS = (
    "argparse",
    "omegaconf",
    "fairseq",
    "typing",
    "enum",
    "numpy",
    "hyperpyyaml",
    "utils",
)


class Remark:
    """Place of an object that is no weight, and whose class is not loaded."""

    def __init__(self, *values: object):
        """Take what would have made the object, and forget it."""

    def __new__(cls, *values: object) -> "Remark":
        return super().__new__(cls)

    def __setstate__(self, state: object) -> None:
        """Forget the state of the object."""


def rename_by(patterns: Iterable[tuple[str, str]], name: str) -> str:
    """Name after patterns and their replacements, applied one after the other."""
    for pattern, replacement in patterns:
        name = re.sub(pattern, replacement, name)
    return name


def hub_name(name: str) -> str:
    """Name of a weight in ``transformers``; empty for one of pretraining alone."""
    return rename_by(FAIRSEQ, name)


def hub_weights(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights of an encoder under the names of ``transformers``, without those of pretraining."""
    weights = {}
    for name, value in state.items():
        name = hub_name(str(name))
        if name.endswith(".gru_rel_pos_const") and isinstance(value, Tensor):
            # Its axes are others in the code of Microsoft.
            value = value.reshape(1, -1, 1, 1)
        if name:
            weights[name] = value
    return weights


@contextmanager
def remarks_for_options(path: str | Path) -> Iterator[None]:
    """Reading of weights only, with a ``Remark`` for each object of options beside the weights.

    Args:
        path: file that ``torch.load`` will read.

    Raises:
        ValueError: objects of other classes, as in a whole pickled module.
    """
    places = []
    for name in _globals(path):
        if name.partition(".")[0] not in BESIDE_WEIGHTS:
            raise ValueError(
                f"it holds objects of {name}, which only its own code can load, expected "
                "weights: where you trust the file, load it there with weights_only=False and save "
                "its state_dict()"
            )
        places.append((Remark, name))
    with torch.serialization.safe_globals(places):
        yield


def _globals(path: str | Path) -> list[str]:
    """Classes and functions in a pickle, which torch doesn't load by itself.

    Of a file that isn't readable there are none: reading it says why.
    """
    if not Path(path).is_file():
        return []
    try:
        if zipfile.is_zipfile(path):
            return torch.serialization.get_unsafe_globals_in_checkpoint(path)
        return _globals_of_old_file(path)
    # Any bytes may come, and the unpickler has no list of the errors that it ends with.
    except Exception:
        return []


def _globals_of_old_file(path: str | Path) -> list[str]:
    """The same of a file without a directory, as from before PyTorch 1.6, which torch can't list.

    Reading ends at the first one, and goes on when that one is known.
    """
    names = []
    while True:
        try:
            with torch.serialization.safe_globals([(Remark, name) for name in names]):
                torch.load(path, map_location="cpu", weights_only=True)
            return names
        except UnpicklingError as error:
            match = re.search(r"GLOBAL (\S+)", str(error))
            if match is None or match[1] in names:
                return names
            names.append(match[1])
            if match[1].partition(".")[0] not in BESIDE_WEIGHTS:
                return names
