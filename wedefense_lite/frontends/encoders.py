"""Self-supervised encoders of ``transformers`` and ``torchaudio`` behind one interface, and their files."""

import importlib.util
import os
import pickle
import re
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from functools import partial
from pathlib import Path
from types import ModuleType

import safetensors.torch
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from wedefense_lite.files import InputError, read_json
from wedefense_lite.frontends.base import valid_mask

FAMILIES = ("wav2vec2", "hubert", "wavlm")
WEIGHTS = ("model.safetensors", "pytorch_model.bin")
OLDEST, INSTALL = (5, 23), "pip install 'wedefense_lite[ssl]'"
# The base models, in the words of the hub's config.json; and what the large ones have instead.
BASE = (
    {
        "model_type": "wav2vec2",
        "hidden_size": 768,
        "num_hidden_layers": 12,
        "num_attention_heads": 12,
    }
    | {
        "intermediate_size": 3072,
        "conv_dim": [512] * 7,
        "conv_kernel": [10, 3, 3, 3, 3, 2, 2],
        "conv_bias": False,
    }
    | {
        "conv_stride": [5, 2, 2, 2, 2, 2, 2],
        "feat_extract_norm": "group",
        "do_stable_layer_norm": False,
    }
    | {"num_conv_pos_embeddings": 128, "num_conv_pos_embedding_groups": 16}
    | {"num_buckets": 320, "max_bucket_distance": 800}
)
# What else config.json may say of the architecture; both libraries have it in one form only, or hardly.
FIXED = {
    "hidden_act": "gelu",
    "feat_extract_activation": "gelu",
    "layer_norm_eps": 1e-5,
    "add_adapter": False,
}
FIXED |= {"adapter_attn_dim": None, "conv_pos_batch_norm": False, "feat_proj_layer_norm": True}
LARGE = {
    "hidden_size": 1024,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "intermediate_size": 4096,
}
LARGE |= {"feat_extract_norm": "layer", "do_stable_layer_norm": True}
XLSR = LARGE | {"conv_bias": True}
KNOWN = {
    "facebook/wav2vec2-base": {},
    "facebook/wav2vec2-large-lv60": XLSR,
    "facebook/wav2vec2-large-robust": XLSR,
    "facebook/wav2vec2-large-xlsr-53": XLSR,
    "facebook/wav2vec2-xls-r-300m": XLSR,
    "facebook/wav2vec2-xls-r-1b": XLSR
    | {"hidden_size": 1280, "intermediate_size": 5120, "num_hidden_layers": 48},
    "facebook/wav2vec2-xls-r-2b": XLSR
    | {"hidden_size": 1920, "intermediate_size": 7680, "num_hidden_layers": 48},
    "facebook/hubert-base-ls960": {"model_type": "hubert"},
    "microsoft/wavlm-base": {"model_type": "wavlm"},
    "microsoft/wavlm-base-plus": {"model_type": "wavlm"},
    "microsoft/wavlm-large": LARGE | {"model_type": "wavlm"},
}


def frame_lengths(shape: dict, lengths_B: Tensor) -> Tensor:
    """Frames of waveforms of so many samples, 0 or less where they are too short for one."""
    for kernel, stride in zip(shape["conv_kernel"], shape["conv_stride"]):
        lengths_B = torch.div(lengths_B - kernel, stride, rounding_mode="floor") + 1
    return lengths_B


class Encoder(nn.Module, ABC):
    """One interface to the encoders of any library.

    Args:
        shape: architecture in the words of ``config.json``, complete.
        dropout: of layers, attention and projection.
        checkpointing: compute layers a second time on the way back instead of keeping what is inside them.

    Attributes:
        network: the parts ``feature_extractor``, ``feature_projection`` and ``encoder``, which take weights by the
            hub's names.
    """

    network: nn.Module

    @abstractmethod
    def forward(self, wav_BT: Tensor, mask_BT: Tensor | None) -> list[Tensor]:
        """What enters the first layer, and the output of each, without the norm behind the last: all ``BFH``.

        Args:
            wav_BT: waveforms, normalized if the encoder wants that.
            mask_BT: True at samples of the utterance, to keep the rest out; None keeps nothing out.
        """


class TransformersEncoder(Encoder):
    """An encoder of ``transformers``: the states are its ``hidden_states``."""

    def __init__(self, shape: dict, dropout: float, checkpointing: bool):
        super().__init__()
        library = import_transformers()
        chances = dict.fromkeys(
            ("hidden_dropout", "attention_dropout", "feat_proj_dropout"), dropout
        )
        # No masks as in pretraining: the vector that stands for what they hide would get no gradient.
        chances |= dict.fromkeys(
            ("activation_dropout", "layerdrop", "mask_time_prob", "mask_feature_prob"), 0.0
        )
        self.network = library.AutoModel.from_config(
            library.AutoConfig.for_model(**shape, **chances)
        )
        # Its way of saying that waveforms need a gradient, which frozen convolutions would keep everything for.
        self.network.feature_extractor._requires_grad = False
        if checkpointing:
            _keep_less(self.network)

    def forward(self, wav_BT: Tensor, mask_BT: Tensor | None) -> list[Tensor]:
        return list(
            self.network(wav_BT, attention_mask=mask_BT, output_hidden_states=True).hidden_states
        )


class TorchaudioEncoder(Encoder):
    """An encoder of ``torchaudio``; with masks for WavLM too, for which only its layers take them."""

    def __init__(self, shape: dict, dropout: float, checkpointing: bool):
        super().__init__()
        try:
            models = importlib.import_module("torchaudio.models")
        except (ImportError, OSError, RuntimeError) as error:
            raise InputError(
                f"no transformers, and torchaudio can't be imported: {error}"
            ) from error
        self.stable, self.gated = shape["do_stable_layer_norm"], shape["model_type"] == "wavlm"
        convolutions = list(zip(shape["conv_dim"], shape["conv_kernel"], shape["conv_stride"]))
        outside = (
            f"{shape['feat_extract_norm']}_norm",
            convolutions,
            shape["conv_bias"],
            shape["hidden_size"],
            dropout,
        )
        names = [
            "num_conv_pos_embeddings",
            "num_conv_pos_embedding_groups",
            "num_hidden_layers",
            "num_attention_heads",
        ]
        sizes = [
            shape[name] for name in names + ["num_buckets", "max_bucket_distance"] * self.gated
        ]
        inside = dropout, shape["intermediate_size"], 0.0, dropout, self.stable, 0.0, None
        made = (models.wavlm_model if self.gated else models.wav2vec2_model)(
            *outside, *sizes, *inside
        )
        self.network = nn.Module()
        self.network.feature_extractor = made.feature_extractor
        self.network.feature_projection = made.encoder.feature_projection
        self.network.encoder = made.encoder.transformer
        for layer in made.encoder.transformer.layers if self.gated else ():
            layer.attention.register_load_state_dict_pre_hook(_join_projections)
            layer.attention.register_state_dict_post_hook(_split_projections)
        self.frame_lengths = partial(frame_lengths, shape)
        if checkpointing:
            _keep_less(self.network)

    def forward(self, wav_BT: Tensor, mask_BT: Tensor | None) -> list[Tensor]:
        encoder, options = self.network.encoder, {}
        state_BFH = self.network.feature_projection(self.network.feature_extractor(wav_BT, None)[0])
        if mask_BT is not None:
            valid_BF = valid_mask(self.frame_lengths(mask_BT.sum(1)), state_BFH.shape[1])
            state_BFH = state_BFH * valid_BF[..., None]
            attention_B1FF = valid_BF[:, None, None].expand(-1, -1, state_BFH.shape[1], -1)
            options = (
                {"key_padding_mask": ~valid_BF}
                if self.gated
                else {"attention_mask": attention_B1FF}
            )
        state_BFH = state_BFH + encoder.pos_conv_embed(state_BFH)
        states, bias = (
            [encoder.dropout(state_BFH if self.stable else encoder.layer_norm(state_BFH))],
            None,
        )
        for layer in encoder.layers:
            state_BFH, bias = layer(states[-1], position_bias=bias, **options)
            states.append(state_BFH)
        return states


def _join_projections(attention: nn.Module, state: dict[str, Tensor], prefix: str, *_) -> None:
    """The hub's weights of WavLM's attention as torchaudio has them."""
    for kind in ("weight", "bias"):
        if f"{prefix}q_proj.{kind}" in state:
            parts = [state.pop(f"{prefix}{part}_proj.{kind}") for part in "qkv"]
            state[f"{prefix}attention.in_proj_{kind}"] = torch.cat(parts)
            state[f"{prefix}attention.out_proj.{kind}"] = state.pop(f"{prefix}out_proj.{kind}")


def _split_projections(attention: nn.Module, state: dict[str, Tensor], prefix: str, _) -> None:
    """And back, so that checkpoints have the hub's names whichever library wrote them."""
    for kind in ("weight", "bias"):
        parts = state.pop(f"{prefix}attention.in_proj_{kind}").chunk(3)
        state |= {f"{prefix}{part}_proj.{kind}": value for part, value in zip("qkv", parts)}
        state[f"{prefix}out_proj.{kind}"] = state.pop(f"{prefix}attention.out_proj.{kind}")


def _keep_less(network: nn.Module) -> None:
    """Checkpoint the layers, and the convolutions of each utterance, whose memory is what is left without layers."""
    for layer in network.encoder.layers:
        layer.forward = partial(_recomputed, layer, layer.forward)
    extractor = network.feature_extractor
    extractor.forward = partial(_one_by_one, extractor, extractor.forward)


def _recomputed(module: nn.Module, forward: Callable, *inputs, **options):
    if not module.training:
        return forward(*inputs, **options)
    return checkpoint(forward, *inputs, use_reentrant=False, **options)


def _one_by_one(module: nn.Module, forward: Callable, wav_BT: Tensor, *rest):
    """In training, what a module gives for a batch from what it gives for each utterance: a tensor, or one and None."""
    if not module.training:
        return forward(wav_BT, *rest)
    found = [_recomputed(module, forward, wav_1T, *rest) for wav_1T in wav_BT.split(1)]
    return (
        torch.cat(found)
        if isinstance(found[0], Tensor)
        else (torch.cat([value for value, _ in found]), None)
    )


def import_transformers() -> ModuleType:
    """``transformers``, which can't do with a torchaudio that was built for another torch, but without one.

    Raises:
        InputError: it isn't installed, or so old that the last state of its encoders is another one.
    """
    try:
        importlib.import_module("torchaudio")
    except (ImportError, OSError, RuntimeError):
        sys.modules["torchaudio"] = None
    try:
        library = importlib.import_module("transformers")
    except ImportError as error:
        raise InputError(f"transformers can't be imported ({error}): {INSTALL}") from error
    if tuple(map(int, library.__version__.split(".")[:2])) < OLDEST:
        raise InputError(
            f"transformers is {library.__version__}, expected {OLDEST[0]}.{OLDEST[1]} or newer: {INSTALL}"
        )
    return library


def build_encoder(shape: dict, dropout: float, checkpointing: bool) -> Encoder:
    """An encoder with random weights, of ``transformers`` where that is installed, else of ``torchaudio``.

    Raises:
        InputError: neither is installed.
    """
    for library, kind in {
        "transformers": TransformersEncoder,
        "torchaudio": TorchaudioEncoder,
    }.items():
        if importlib.util.find_spec(library):
            return kind(shape, dropout, checkpointing)
    raise InputError(f"SSL needs transformers or torchaudio, and neither is there: {INSTALL}")


def find_architecture(model: str) -> dict:
    """What a model's ``config.json`` says of its shape."""
    path = find_file(model, ("config.json",))
    return architecture(read_json(path), path)


def architecture(config: Mapping, path: str | Path) -> dict:
    """What a ``config.json`` says of the shape of an encoder, which is the base model's where it says nothing.

    Raises:
        InputError: a part that encoders don't have here; names ``path``, where the words are from.
    """
    for name, expected in FIXED.items():
        if (found := config.get(name, expected)) != expected:
            raise InputError(f"{path}: {name} is {found}, expected {expected}")
    config = BASE | {"model_type": "none"} | config
    return {name: config[name] for name in BASE}


def find_file(model: str, names: tuple[str, ...]) -> Path:
    """The first of some files of a model: in ``$WEDEFENSE_MODELS``, in the user's cache, or on the hub.

    ``HF_HUB_OFFLINE=1``, or ``--offline``, keeps off the network.

    Raises:
        InputError: there is none, or the name is a path; says where to put it.
    """
    if (path := Path(model)).is_absolute() or model.startswith("."):
        meant = f"WEDEFENSE_MODELS={path.resolve().parent} and {path.resolve().name}"
        raise InputError(
            f"{model}: a path, expected a name, so that the experiment can be handed on: {meant}"
        )
    root, reason = os.environ.get("WEDEFENSE_MODELS"), "huggingface_hub isn't installed"
    folder = Path(root or "FOLDER", model)
    if root and (there := [folder / name for name in names if (folder / name).is_file()]):
        return there[0]
    for name in names if importlib.util.find_spec("huggingface_hub") else ():
        try:
            return Path(importlib.import_module("huggingface_hub").hf_hub_download(model, name))
        except Exception as error:  # its network's errors are of no common kind
            offline = os.environ.get("HF_HUB_OFFLINE") == "1"
            reason = "offline, and not in the cache" if offline else str(error).split("\n")[0]
    near = "".join(
        f"; or is it {name}?" for name in get_close_matches(model, KNOWN.keys() - {model}, 1, 0.9)
    )
    missing = f"{model}: no {' or '.join(names)} ({reason}{near})"
    raise InputError(
        f"{missing}: put it at {folder / names[0]}, and set WEDEFENSE_MODELS={root or 'FOLDER'}"
    )


def read_weights(path: Path) -> dict[str, Tensor]:
    """Weights of an encoder in the hub's format, without those of what stands on it in pretraining.

    Raises:
        InputError: a damaged file.
    """
    try:
        read_pickle = partial(torch.load, map_location="cpu", weights_only=True)
        load = safetensors.torch.load_file if path.suffix == ".safetensors" else read_pickle
        state = load(path)
    except (OSError, RuntimeError, pickle.UnpicklingError, safetensors.SafetensorError) as error:
        raise InputError(f"{path}: damaged weights: {str(error).splitlines()[0]}") from error
    bare = {re.sub(f"^({'|'.join(FAMILIES)})[.]", "", name): value for name, value in state.items()}
    parts = ("feature_extractor.", "feature_projection.", "encoder.")
    return {name: value for name, value in bare.items() if name.startswith(parts)}
