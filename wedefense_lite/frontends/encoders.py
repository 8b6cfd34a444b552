"""Self-supervised encoders of ``transformers``: their architectures, their files, their memory.

Letters: B utterances of a batch, T samples, F frames, D features of a frame.
"""

import importlib.util
import os
import re
import sys
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
from wedefense_lite.frontends.fairseq import hub_weights, remarks_for_options
from wedefense_lite.weights import check_content, check_tensors

FAMILIES = ("wav2vec2", "hubert", "wavlm")
WEIGHT_FILES = ("model.safetensors", "pytorch_model.bin")
# The same weights as published with fairseq, and with the code of WavLM.
FAIRSEQ_FILES = {
    "facebook/wav2vec2-base": "wav2vec_small.pt",
    "facebook/wav2vec2-large-xlsr-53": "xlsr_53_56k.pt",
    "facebook/wav2vec2-xls-r-300m": "xlsr2_300m.pt",
    "facebook/wav2vec2-xls-r-1b": "xlsr2_960m_1000k.pt",
    "facebook/wav2vec2-xls-r-2b": "xlsr2_2B_1000k.pt",
    "facebook/mms-300m": "base_300m.pt",
    "facebook/mms-1b": "base_1b.pt",
    "facebook/hubert-base-ls960": "hubert_base_ls960.pt",
    "microsoft/wavlm-base": "WavLM-Base.pt",
    "microsoft/wavlm-base-plus": "WavLM-Base+.pt",
    "microsoft/wavlm-large": "WavLM-Large.pt",
}
# Since this version the last of the hidden states has no final norm (see SSL.forward).
OLDEST_TRANSFORMERS = (5, 23)
INSTALL = "pip install 'wedefense_lite[ssl]'"

# The architecture of the base models, in the words of the hub's config.json.
BASE = {
    "model_type": "wav2vec2",
    "hidden_size": 768,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "intermediate_size": 3072,
    "conv_dim": [512] * 7,
    "conv_kernel": [10, 3, 3, 3, 3, 2, 2],
    "conv_bias": False,
    "conv_stride": [5, 2, 2, 2, 2, 2, 2],
    "feat_extract_norm": "group",
    "do_stable_layer_norm": False,
    "num_conv_pos_embeddings": 128,
    "num_conv_pos_embedding_groups": 16,
    "num_buckets": 320,
    "max_bucket_distance": 800,
}
# What the large models have instead.
LARGE = {
    "hidden_size": 1024,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "intermediate_size": 4096,
    "feat_extract_norm": "layer",
    "do_stable_layer_norm": True,
}
XLSR = LARGE | {"conv_bias": True}
XLSR_1B = XLSR | {"hidden_size": 1280, "intermediate_size": 5120, "num_hidden_layers": 48}
XLSR_2B = XLSR | {"hidden_size": 1920, "intermediate_size": 7680, "num_hidden_layers": 48}
# Options of config.json that change the network without changing its weights' names. No published
# model of the three families has other values, so other values are refused.
FIXED = {
    "hidden_act": "gelu",
    "feat_extract_activation": "gelu",
    "layer_norm_eps": 1e-5,
    "add_adapter": False,
    "adapter_attn_dim": None,
    "conv_pos_batch_norm": False,
    "feat_proj_layer_norm": True,
}
# Published models that can be built without their config.json: what differs from BASE.
PUBLISHED = {
    "facebook/wav2vec2-base": {},
    "facebook/wav2vec2-large-lv60": XLSR,
    "facebook/wav2vec2-large-robust": XLSR,
    "facebook/wav2vec2-large-xlsr-53": XLSR,
    "facebook/wav2vec2-xls-r-300m": XLSR,
    "facebook/wav2vec2-xls-r-1b": XLSR_1B,
    "facebook/wav2vec2-xls-r-2b": XLSR_2B,
    "facebook/mms-300m": XLSR,
    "facebook/mms-1b": XLSR_1B,
    "facebook/hubert-base-ls960": {"model_type": "hubert"},
    "utter-project/mHuBERT-147": {"model_type": "hubert"},
    "microsoft/wavlm-base": {"model_type": "wavlm"},
    "microsoft/wavlm-base-plus": {"model_type": "wavlm"},
    "microsoft/wavlm-large": LARGE | {"model_type": "wavlm"},
}


def frame_lengths(shape: Mapping, lengths_B: Tensor) -> Tensor:
    """Number of frames of each waveform.

    Args:
        shape: architecture in the words of ``config.json``.
        lengths_B: samples of each waveform.

    Returns:
        Frames of each waveform; 0 or less where it is too short for one.
    """
    for kernel, stride in zip(shape["conv_kernel"], shape["conv_stride"]):
        lengths_B = torch.div(lengths_B - kernel, stride, rounding_mode="floor") + 1
    return lengths_B


def count_layers(layers: str | int, depth: int) -> int:
    """Layers in a frame, for the option ``layers`` and an encoder of ``depth`` layers."""
    if isinstance(layers, int):
        return layers
    return 1 if layers == "last" else depth + 1


def check_at_most(model: str, option: str, value: str | int, limit: int) -> None:
    """Refuse a number of layers that a model doesn't have.

    Raises:
        InputError: the value is a number over the limit.
    """
    if isinstance(value, int) and value > limit:
        raise InputError(f"{model}: {option} is {value}, expected at most {limit}")


class TransformersEncoder(nn.Module):
    """An encoder of ``transformers`` with random weights; its output is all hidden states.

    Args:
        shape: complete architecture in the words of ``config.json``.
        dropout: probability in layers, attention and projection.
        checkpointing: save memory by recomputing activations in the backward pass.

    Attributes:
        network: the model of ``transformers``; its submodules ``feature_extractor``,
            ``feature_projection`` and ``encoder`` hold the weights under the hub's names.

    Raises:
        InputError: ``transformers`` is missing or too old.
    """

    def __init__(self, shape: Mapping, dropout: float, checkpointing: bool):
        super().__init__()
        library = import_transformers()
        config = library.AutoConfig.for_model(
            **shape,
            hidden_dropout=dropout,
            attention_dropout=dropout,
            feat_proj_dropout=dropout,
            activation_dropout=0.0,
            # SSL drops layers itself: the library skips their computation, so that their
            # parameters would have no gradient.
            layerdrop=0.0,
            # No masks as in pretraining: the vector that replaces masked frames isn't kept.
            mask_time_prob=0.0,
            mask_feature_prob=0.0,
        )
        self.network = library.AutoModel.from_config(config)
        # transformers sets requires_grad on the input when this flag is set; off, so that frozen
        # convolutions keep no activations.
        self.network.feature_extractor._requires_grad = False
        if checkpointing:
            _checkpoint(self.network)

    def forward(self, wav_BT: Tensor, mask_BT: Tensor | None) -> list[Tensor]:
        """Hidden states of a batch.

        Args:
            wav_BT: waveforms, normalised if the encoder was pretrained so.
            mask_BT: True at samples of the utterance, False at padding that attention must not
                see; None: attention sees everything.

        Returns:
            ``state_BFD`` at the input of the first layer and at the output of each layer, without
            the norm behind the last.
        """
        output = self.network(wav_BT, attention_mask=mask_BT, output_hidden_states=True)
        return list(output.hidden_states)


def _checkpoint(network: nn.Module) -> None:
    """Recompute layers and convolutions in the backward pass instead of keeping activations.

    The convolutions are recomputed an utterance at a time: with the layers recomputed, they set the
    peak of the memory.
    """
    # Partials, not closures: deepcopy (for a moving average of the weights) copies the modules that
    # a partial holds, but a closure would go on calling the original's.
    for layer in network.encoder.layers:
        layer.forward = partial(_recompute, layer, layer.forward)
    extractor = network.feature_extractor
    extractor.forward = partial(_recompute_by_utterance, extractor, extractor.forward)


def _recompute(module: nn.Module, forward: Callable, *inputs, **options):
    """Output of ``forward``, whose activations are computed again in the backward pass."""
    if not module.training:
        return forward(*inputs, **options)
    return checkpoint(forward, *inputs, use_reentrant=False, **options)


def _recompute_by_utterance(module: nn.Module, forward: Callable, wav_BT: Tensor) -> Tensor:
    """Output of ``forward`` for a batch, in training from one call for each utterance."""
    if not module.training:
        return forward(wav_BT)
    outputs = []
    for wav_1T in wav_BT.split(1):
        outputs.append(_recompute(module, forward, wav_1T))
    return torch.cat(outputs)


def import_transformers() -> ModuleType:
    """The module ``transformers``.

    Raises:
        InputError: it isn't installed, or so old that its last hidden state is another one.
    """
    # transformers imports torchaudio where that is installed, and fails if it was built for another
    # torch. None in sys.modules makes it look absent, which transformers accepts.
    try:
        importlib.import_module("torchaudio")
    except (ImportError, OSError, RuntimeError):
        sys.modules["torchaudio"] = None
    try:
        library = importlib.import_module("transformers")
    except ImportError as error:
        raise InputError(f"SSL: transformers can't be imported ({error}): {INSTALL}") from error
    major, minor = library.__version__.split(".")[:2]
    if (int(major), int(minor)) < OLDEST_TRANSFORMERS:
        expected = ".".join(map(str, OLDEST_TRANSFORMERS))
        raise InputError(
            f"transformers is {library.__version__}, expected {expected} or newer: {INSTALL}"
        )
    return library


def find_architecture(model: str) -> dict:
    """The architecture in a model's ``config.json``.

    Raises:
        InputError: no such file, or an architecture that isn't supported.
    """
    path = find_file(model, ("config.json",))
    return parse_architecture(read_json(path), path)


def parse_architecture(config: Mapping, path: str | Path) -> dict:
    """The keys of ``BASE`` in a ``config.json``; where one is missing, the base model's value.

    Args:
        config: contents of ``config.json``.
        path: file or model that they are from, for the error.

    Raises:
        InputError: an option of ``FIXED`` with another value.
    """
    for name, expected in FIXED.items():
        value = config.get(name, expected)
        if value != expected:
            raise InputError(f"{path}: {name} is {value}, expected {expected}")
    # A file without model_type is none of the three families, so the base model's isn't assumed.
    config = BASE | {"model_type": "none"} | config
    return {name: config[name] for name in BASE}


def find_file(model: str, names: tuple[str, ...]) -> Path:
    """The first file of a model that exists: in ``$WEDEFENSE_MODELS``, in the cache, on the hub.

    ``HF_HUB_OFFLINE=1``, or ``--offline``, keeps off the network.

    Args:
        model: name as on the hub.
        names: file names, in order of preference.

    Raises:
        InputError: none exists, or the name is a path; says where to put it.
    """
    path = Path(model)
    if path.is_absolute() or model.startswith("."):
        path = path.resolve()
        raise InputError(
            f"{model}: a path, expected a name, so that the experiment can be handed on: "
            f"WEDEFENSE_MODELS={path.parent} and {path.name}"
        )
    if ".." in path.parts or "\0" in model:
        raise InputError(f"{model!r}: expected the name of a model as on the hub")
    root = os.environ.get("WEDEFENSE_MODELS")
    folder = Path(root or "FOLDER", model)
    if root:
        for name in names:
            if (folder / name).is_file():
                return folder / name
    reason = "huggingface_hub isn't installed"
    if importlib.util.find_spec("huggingface_hub"):
        for name in names:
            try:
                hub = importlib.import_module("huggingface_hub")
                return Path(hub.hf_hub_download(model, name))
            except Exception as error:  # errors of its network libraries share no base class
                reason = str(error).split("\n")[0]
                if os.environ.get("HF_HUB_OFFLINE") == "1":
                    reason = "offline, and not in the cache"
    similar = get_close_matches(model, PUBLISHED.keys() - {model}, n=1, cutoff=0.9)
    hint = f"; or is it {similar[0]}?" if similar else ""
    raise InputError(
        f"{model}: no {' or '.join(names)} ({reason}{hint}): "
        f"put it at {folder / names[0]}, and set WEDEFENSE_MODELS={root or 'FOLDER'}"
    )


def find_weights(model: str) -> Path:
    """The file of a model's weights: as ``find_file``, or that of fairseq where there is none else.

    The latter is looked for in ``$WEDEFENSE_MODELS`` and in the folder of the model there.

    Args:
        model: name as on the hub.

    Raises:
        InputError: as ``find_file``.
    """
    root = os.environ.get("WEDEFENSE_MODELS")
    file_name = FAIRSEQ_FILES.get(model)
    if root and file_name:
        folder = Path(root, model)
        is_of_hub = any((folder / name).is_file() for name in WEIGHT_FILES)
        for path in (folder / file_name, Path(root, file_name)):
            if path.is_file() and not is_of_hub:
                return path
    return find_file(model, WEIGHT_FILES)


def read_state(path: Path) -> Mapping:
    """Content of a file of weights.

    Args:
        path: ``.safetensors``, or a state dict that ``torch.save`` wrote.

    Raises:
        InputError: a damaged file, tensors that are no plain numbers, or a file of something else.
    """
    try:
        if path.suffix == ".safetensors":
            state = safetensors.torch.load_file(path)
        else:
            check_content(path, path)
            with remarks_for_options(path):
                state = torch.load(path, map_location="cpu", weights_only=True)
    except InputError:
        raise
    # Any bytes may come, and the readers have no list of the errors that they end with.
    except Exception as error:
        lines = str(error).splitlines() or [type(error).__name__]
        raise InputError(f"{path}: damaged weights: {lines[0]}") from error
    if not isinstance(state, Mapping):
        raise InputError(
            f"{path}: it holds a {type(state).__name__}, expected weights by their names"
        )
    check_tensors(path, state)
    return state


def read_weights(path: Path) -> dict[str, Tensor]:
    """Weights of an encoder in the hub's format or fairseq's, without layers of pretraining alone.

    Args:
        path: as for ``read_state``.

    Raises:
        InputError: as ``read_state``.
    """
    state = read_state(path)
    if isinstance(state.get("model"), Mapping):
        # As fairseq saves it, beside options.
        state = hub_weights(state["model"])
    # Models with a head on top, as in pretraining, have their family's name before the encoder's.
    prefix = re.compile(f"^({'|'.join(FAMILIES)})[.]")
    submodules = ("feature_extractor.", "feature_projection.", "encoder.")
    encoder_state = {}
    for name, value in state.items():
        name = prefix.sub("", str(name))
        if name.startswith(submodules):
            if not isinstance(value, Tensor):
                raise InputError(f"{path}: {name} is a {type(value).__name__}, expected a tensor")
            encoder_state[name] = value
    return encoder_state
