"""Self-supervised front ends: wav2vec 2.0, XLS-R, HuBERT and WavLM.

Letters: B utterances of a batch, T samples, F frames, D features of a frame.
"""

import logging
from collections.abc import Mapping
from functools import partial
from math import prod
from typing import Any, Literal

import torch
from jsonargparse.typing import (
    ClosedUnitInterval,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
)
from torch import Tensor, nn

from wedefense_lite.files import InputError
from wedefense_lite.frontends import encoders
from wedefense_lite.frontends.adapters import (
    add_matrices,
    add_scales,
    merge_adapters,
    with_adapters,
)
from wedefense_lite.frontends.base import Frontend, is_exporting, length_range, valid_mask
from wedefense_lite.weights import load_state


class SSL(Frontend):
    """Layers of a self-supervised encoder: a frame of 25 ms every 20 ms.

    wav2vec 2.0 (https://arxiv.org/abs/2006.11477), XLS-R (https://arxiv.org/abs/2111.09296), HuBERT
    (https://arxiv.org/abs/2106.07447) and WavLM (https://arxiv.org/abs/2110.13900), as
    ``transformers`` computes them; MMS (https://arxiv.org/abs/2305.13516) has XLS-R's networks, and
    mHuBERT-147 (https://arxiv.org/abs/2406.06371) HuBERT's. ``load_pretrained`` loads the published
    weights; training calls it when it starts. Checkpoints hold all weights, frozen ones too, so
    later stages need no other file.

    XLS-R and WavLM-large were pretrained with padding masks and normalised waveforms; both are
    applied, so a padded batch gives the same frames as single utterances. The base models have a
    group norm over the whole length instead and were pretrained without masks and normalisation;
    neither is applied, and padding changes their frames.

    Under bf16 or fp16 the encoder runs in the trainer's autocast. Attention is PyTorch's own, fused
    where the device has a kernel. Training on a GPU doesn't use the fused kernels, which are not
    deterministic. ``transformers`` has no fused attention for WavLM's gated position bias.

    Args:
        model: name as on the hub, such as facebook/wav2vec2-xls-r-300m, not a path. Files are
            looked for in the folder of that name in ``$WEDEFENSE_MODELS``, in the user's cache, and
            on the hub; weights also as fairseq's file in ``$WEDEFENSE_MODELS``.
        architecture: changes to the model's sizes, in the words of its ``config.json``. Sizes of a
            model that isn't built in are read from that file and kept with the experiment.
        layers: ``last``: final output (with norm). ``all``: the input of layer 1 and every layer's
            output. An integer N: the last N layer outputs. A frame is their concatenation;
            ``frames_BFD.unflatten(2, (num_layers, -1))`` separates them.
        norm_last: give the last of these outputs the final norm of encoders that have one (XLS-R
            and WavLM-large), as s3prl does, and so WeDefense, PartialSpoof and BAM. ``last`` has it
            in any case.
        trained: what is fine-tuned: ``all``, ``none`` or the last N layers. With ``none`` the
            encoder stays in evaluation mode.
        freeze_extractor: keep the convolutions fixed, whatever ``trained`` says.
        rate_factor: learning rate of the last layer, as a multiple of the training's.
        layer_decay: learning rate of each layer, as a multiple of that of the layer above.
        gradient_factor: factor on the gradient that enters the encoder. It changes nothing under
            Adam, whose steps don't depend on the scale of gradients, unless gradients are clipped.
        checkpointing: save memory by recomputing activations in the backward pass.
        dropout: probability in layers, attention and projection in training.
        layer_drop: probability that a layer is skipped in training. It is computed nevertheless,
            so that every parameter has a gradient, as training on several processes needs.
        normalize: scale each waveform to zero mean and unit variance; by default as in pretraining.
        lora_rank: rank of trained matrices beside frozen ones of each layer (LoRA), with
            ``trained`` none; 0 adds none. A bundle has their sum, and needs no ``peft``.
        lora_alpha: factor of these matrices, over their rank.
        lora_targets: linear layers that have one: q_proj, k_proj, v_proj, out_proj,
            intermediate_dense, output_dense, of WavLM the last two alone; None: q_proj and v_proj.
        ia3_targets: linear layers, of the same ones, whose output is multiplied by a trained
            vector ((IA)^3), of output_dense its input, with ``trained`` none; None adds none. The
            paper has k_proj, v_proj and output_dense. A bundle has them in the weights.
        normalize_floor: added to the variance; 1e-7 in transformers, 1e-5 in fairseq and s3prl.
        mask: keep attention off the padding; by default as in pretraining.

    Attributes:
        num_layers: layers in a frame.

    Raises:
        InputError: unknown model or option, or ``transformers`` is missing.
    """

    def __init__(
        self,
        model: str,
        architecture: dict | None = None,
        layers: Literal["last", "all"] | PositiveInt = "last",
        trained: Literal["all", "none"] | PositiveInt = "all",
        freeze_extractor: bool = False,
        rate_factor: NonNegativeFloat = 1.0,
        layer_decay: NonNegativeFloat = 1.0,
        gradient_factor: NonNegativeFloat = 1.0,
        checkpointing: bool = False,
        dropout: ClosedUnitInterval = 0.1,
        layer_drop: ClosedUnitInterval = 0.0,
        normalize: bool | None = None,
        mask: bool | None = None,
        norm_last: bool = False,
        normalize_floor: PositiveFloat = 1e-7,
        lora_rank: NonNegativeInt = 0,
        lora_alpha: PositiveFloat = 16.0,
        lora_targets: list[str] | None = None,
        ia3_targets: list[str] | None = None,
    ):
        super().__init__()
        if architecture is None and model not in encoders.PUBLISHED:
            architecture = encoders.find_architecture(model)
            self.resolved = {"architecture": architecture}
        shape = encoders.BASE | encoders.PUBLISHED.get(model, {}) | (architecture or {})
        depth = shape["num_hidden_layers"]
        _check_architecture(model, shape)
        encoders.check_at_most(model, "layers", layers, depth + 1)
        encoders.check_at_most(model, "trained", trained, depth)
        self.model = model
        self.shape = shape
        self.layers = layers
        self.trained = trained
        self.rate_factor = rate_factor
        self.layer_decay = layer_decay
        self.gradient_factor = gradient_factor
        # "Stable": layer norm before attention and not behind it, so that the last layer's output
        # needs a norm of its own.
        self.stable = shape["do_stable_layer_norm"]
        self.num_layers = encoders.count_layers(layers, depth)
        self.dim = self.num_layers * shape["hidden_size"]
        self.sample_rate = 16000
        self.hop_seconds = prod(shape["conv_stride"]) / self.sample_rate
        # The published models with layer norm in their convolutions had both in pretraining.
        in_pretraining = shape["feat_extract_norm"] == "layer"
        self.normalize = in_pretraining if normalize is None else normalize
        self.normalize_floor = normalize_floor
        self.norm_last = self.stable and (norm_last or layers == "last")
        self.mask = in_pretraining if mask is None else mask
        self.encoder = encoders.TransformersEncoder(shape, dropout, checkpointing)
        self._freeze(freeze_extractor)
        self.has_adapters = lora_rank > 0 or ia3_targets is not None
        if self.has_adapters and trained != "none":
            option = f"lora_rank is {lora_rank}" if lora_rank else f"ia3_targets is {ia3_targets}"
            raise InputError(f"{model}: {option}, expected trained: none")
        if lora_rank and ia3_targets is not None:
            raise InputError(f"{model}: lora_rank and ia3_targets, expected one of them")
        if lora_rank:
            targets = lora_targets or ["q_proj", "v_proj"]
            add_matrices(self.network, shape["model_type"], lora_rank, lora_alpha, targets)
        elif ia3_targets is not None:
            add_scales(self.network, shape["model_type"], ia3_targets)
        if layer_drop:
            for layer in self.network.encoder.layers:
                layer.register_forward_hook(partial(_drop_layer, layer_drop))

    def forward(self, wav_BT: Tensor, lengths_B: Tensor) -> tuple[Tensor, Tensor]:
        shortest, _ = length_range(lengths_B, wav_BT.shape[1])
        frame_lengths_B = encoders.frame_lengths(self.shape, lengths_B)
        if not is_exporting() and int(frame_lengths_B.min()) < 1:
            raise ValueError(f"{shortest} samples are too short for a frame of {self.model}")
        is_padded = not is_exporting() and shortest < wav_BT.shape[1]
        mask_BT = valid_mask(lengths_B, wav_BT.shape[1])
        if self.normalize:
            wav_BT = _normalize(wav_BT, lengths_B, mask_BT, self.normalize_floor)
        # Without padding there is nothing to mask.
        states = self.encoder(wav_BT, mask_BT if is_padded and self.mask else None)
        if self.norm_last:
            states[-1] = self.network.encoder.layer_norm(states[-1])
        frames_BFD = torch.cat(states[-self.num_layers :], 2).float()
        if is_padded:
            frames_BFD = frames_BFD * valid_mask(frame_lengths_B, frames_BFD.shape[1])[..., None]
        if frames_BFD.requires_grad and self.gradient_factor != 1:
            frames_BFD.register_hook(lambda gradient: gradient * self.gradient_factor)
        return frames_BFD, frame_lengths_B

    @property
    def network(self) -> nn.Module:
        """The encoder's submodules under the hub's names."""
        return self.encoder.network

    def train(self, mode: bool = True) -> "SSL":
        """Training or evaluation mode; a frozen encoder is always in evaluation mode."""
        is_frozen = self.trained == "none" and not self.has_adapters
        return super().train(mode and not is_frozen)

    def merge_adapters(self) -> dict[str, Any]:
        if not self.has_adapters:
            return {}
        merge_adapters(self.network)
        self.has_adapters = False
        return {"lora_rank": 0, "ia3_targets": None}

    def blocks(self) -> list[nn.Module]:
        return list(self.network.encoder.layers)

    def rate_factors(self) -> dict[nn.Parameter, float]:
        factors = {}
        for parameter, depth in self._depths().items():
            factors[parameter] = self.rate_factor * self.layer_decay**depth
        return factors

    def load_pretrained(self) -> None:
        """Load the weights that the model was published with.

        Raises:
            InputError: no weights, damaged ones, or those of another model.
        """
        path = encoders.find_weights(self.model)
        logging.info("%s: weights of %s", self.model, path)
        weights = with_adapters(encoders.read_weights(path), self.network)
        load_state(self.network, weights, path, self.model)

    def _depths(self) -> dict[nn.Parameter, int]:
        """The number of layers above each parameter."""
        encoder = self.network.encoder
        depths = dict.fromkeys(self.parameters(), len(encoder.layers))
        for depth, layer in enumerate(reversed(encoder.layers)):
            depths |= dict.fromkeys(layer.parameters(), depth)
        if self.stable:
            # Its norm stands behind the last layer; in the other models, before the first.
            depths |= dict.fromkeys(encoder.layer_norm.parameters(), 0)
        return depths

    def _freeze(self, freeze_extractor: bool) -> None:
        """Switch off the gradients of parameters that training must not change."""
        depths = self._depths()
        if isinstance(self.trained, int):
            num_trained = self.trained
        else:
            # More than any depth: below the first layer there are the projection and convolutions.
            num_trained = len(depths) if self.trained == "all" else 0
        for parameter, depth in depths.items():
            parameter.requires_grad_(depth < num_trained)
        if freeze_extractor:
            self.network.feature_extractor.requires_grad_(False)
        if self.stable and not self.norm_last:
            # The norm is not applied, so its parameters would have no gradient.
            self.network.encoder.layer_norm.requires_grad_(False)


def _check_architecture(model: str, shape: Mapping) -> None:
    unknown = ", ".join(sorted(shape.keys() - encoders.BASE.keys()))
    if unknown:
        raise InputError(
            f"{model}: architecture has {unknown}, expected some of {', '.join(encoders.BASE)}"
        )
    if shape["model_type"] not in encoders.FAMILIES:
        families = " or ".join(encoders.FAMILIES)
        raise InputError(f"{model}: {shape['model_type']}, expected {families}")


def _normalize(wav_BT: Tensor, lengths_B: Tensor, mask_BT: Tensor, floor: float) -> Tensor:
    """Waveforms of zero mean and unit variance, with statistics over their own samples."""
    centred_BT = (wav_BT - wav_BT.sum(1, keepdim=True) / lengths_B[:, None]) * mask_BT
    variance_B1 = centred_BT.square().sum(1, keepdim=True) / lengths_B[:, None]
    return centred_BT / (variance_B1 + floor).sqrt()


def _drop_layer(
    probability: float, layer: nn.Module, inputs: tuple, output: Tensor | tuple
) -> Tensor | tuple:
    """Forward hook that replaces a layer's output by its input with some probability.

    Source: Fan et al., "Reducing transformer depth on demand with structured dropout", ICLR 2020,
    https://arxiv.org/abs/1909.11556.
    """
    if not layer.training or torch.rand(()) >= probability:
        return output
    # Zero times the output keeps the layer in the graph: its parameters get gradients of zero
    # instead of none, which DDP would wait for.
    if isinstance(output, tuple):
        return inputs[0] + 0 * output[0], *output[1:]
    return inputs[0] + 0 * output
