"""Adapters of frozen encoders, as ``peft`` computes them: LoRA and (IA)^3."""

import importlib
from collections.abc import Iterable, Mapping
from types import ModuleType

from torch import Tensor, nn

from wedefense_lite.files import InputError

INSTALL = "pip install 'wedefense_lite[lora]'"
ATTENTION = ("q_proj", "k_proj", "v_proj", "out_proj")
FEED_FORWARD = ("intermediate_dense", "output_dense")
# Parts of the names of what peft adds.
ADDED = (".lora_", ".ia3_l")
# What peft puts before the names of the weights that it adapts.
BASE_LAYER = ".base_layer"


def add_matrices(
    network: nn.Module, model_type: str, rank: int, alpha: float, targets: Iterable[str]
) -> None:
    """Put a trained matrix of low rank beside each of some frozen ones.

    Source: Hu et al., "LoRA: low-rank adaptation of large language models" (ICLR 2022,
    https://arxiv.org/abs/2106.09685). The second of its two factors begins as zero, so that the
    encoder gives what it gave before.

    Args:
        network: encoder, all of which is frozen afterwards but for the new matrices.
        model_type: family of the encoder.
        rank: rank of each matrix.
        alpha: the matrix is multiplied by this over the rank.
        targets: linear layers of each transformer layer, of ``ATTENTION`` and ``FEED_FORWARD``.

    Raises:
        InputError: ``peft`` is missing, or a layer that can't be adapted.
    """
    _check_targets(model_type, "lora_targets", targets)
    library = import_peft("lora_rank")
    config = library.LoraConfig(r=rank, lora_alpha=alpha, target_modules=list(targets))
    library.inject_adapter_in_model(config, network)


def add_scales(network: nn.Module, model_type: str, targets: Iterable[str]) -> None:
    """Multiply what some frozen layers give by trained vectors; of output_dense, what it gets.

    Source: Liu et al., "Few-shot parameter-efficient fine-tuning is better and cheaper than
    in-context learning" (NeurIPS 2022, https://arxiv.org/abs/2205.05638), where the vectors are
    those of keys, values and the inner features of feed-forward layers. They begin as ones, so that
    the encoder gives what it gave before.

    Args:
        network: encoder, all of which is frozen afterwards but for the new vectors.
        model_type: family of the encoder.
        targets: linear layers of each transformer layer, of ``ATTENTION`` and ``FEED_FORWARD``.

    Raises:
        InputError: ``peft`` is missing, or a layer that can't be adapted.
    """
    _check_targets(model_type, "ia3_targets", targets)
    library = import_peft("ia3_targets")
    inner = [target for target in targets if target == "output_dense"]
    config = library.IA3Config(target_modules=list(targets), feedforward_modules=inner)
    library.inject_adapter_in_model(config, network)


def _check_targets(model_type: str, option: str, targets: Iterable[str]) -> None:
    # WavLM's attention takes the weights of these layers and doesn't call them.
    possible = FEED_FORWARD if model_type == "wavlm" else ATTENTION + FEED_FORWARD
    for target in targets:
        if target not in possible:
            expected = ", ".join(possible)
            raise InputError(f"{model_type}: {option} has {target}, expected some of {expected}")


def import_peft(option: str) -> ModuleType:
    """The module ``peft``.

    Args:
        option: what needs it, for messages.

    Raises:
        InputError: it isn't installed.
    """
    try:
        return importlib.import_module("peft")
    except ImportError as error:
        raise InputError(f"{option}: peft can't be imported ({error}): {INSTALL}") from error


def merge_adapters(network: nn.Module) -> None:
    """Make matrices and vectors a part of the weights beside them, and take them away."""
    for module in list(network.modules()):
        for name, child in list(module.named_children()):
            if hasattr(child, "lora_A") or hasattr(child, "ia3_l"):
                child.merge()
                setattr(module, name, child.get_base_layer())


def with_adapters(weights: Mapping[str, Tensor], network: nn.Module) -> dict[str, Tensor]:
    """Weights of an encoder under the names of one with adapters, whose own are added."""
    named = dict(weights)
    for name, value in network.state_dict().items():
        if any(part in name for part in ADDED):
            named[name] = value
        elif BASE_LAYER in name:
            published = name.replace(BASE_LAYER, "")
            if published in named:
                named[name] = named.pop(published)
    return named
