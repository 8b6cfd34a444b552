"""Self-supervised front ends: wav2vec 2.0, XLS-R, HuBERT and WavLM."""

import logging
from functools import partial
from math import prod
from typing import Literal

import torch
from jsonargparse.typing import ClosedUnitInterval, NonNegativeFloat, PositiveInt
from torch import Tensor, nn

from wedefense_lite.files import InputError
from wedefense_lite.frontends import encoders
from wedefense_lite.frontends.base import Frontend, valid_mask


class SSL(Frontend):
    """The layers of a self-supervised encoder, a frame of 25 ms every 20 ms.

    wav2vec 2.0 (https://arxiv.org/abs/2006.11477), XLS-R (https://arxiv.org/abs/2111.09296), HuBERT
    (https://arxiv.org/abs/2106.07447) and WavLM (https://arxiv.org/abs/2110.13900), by ``transformers`` or, without
    that, by ``torchaudio``. :meth:`load_pretrained` takes on what the encoder was published with; training calls it
    when it starts. Checkpoints hold all weights, frozen ones too, so later stages need no other file.

    Models whose convolutions have layer norm (XLS-R, WavLM large) were pretrained with masks on the padding and on
    waveforms of unit variance, and get both; there a padded batch gives the frames of its utterances. The base models
    have a group norm over the whole length instead, were pretrained without either, and get neither.

    In bf16 or fp16 the encoder runs in the trainer's autocast. Attention is torch's own, fused where the device has a
    kernel for it, but in training on a GPU, where that would not repeat its bits; for the gated position bias of WavLM
    ``transformers`` has none.

    Args:
        model: name as on the hub, such as facebook/wav2vec2-xls-r-300m, and no path: files are looked for in the
            folder of that name in ``$WEDEFENSE_MODELS``, in the user's cache, and on the hub.
        architecture: sizes that are to be others than the model's, in the words of its ``config.json``. Of a model that
            isn't known here they are read from there, and are kept with the experiment.
        layers: last, the encoder's output with its final norm; all, what enters the first layer and the output of
            each, the last without the final norm; or the outputs of so many last layers, without it too. A frame has
            them one after the other: ``frames_BFD.unflatten(2, (num_layers, -1))`` gives them back.
        trained: what is fine-tuned: all, so many of the last layers, or none, a frozen encoder, which stays in
            evaluation mode.
        freeze_extractor: keep the convolutions as they are, whatever ``trained`` says.
        rate_factor: learning rate of the encoder, a factor of the training's.
        layer_decay: learning rate of a layer, a factor of that of the layer above.
        gradient_factor: factor of the gradient that comes back into the encoder, and into what stands before it. The
            steps of Adam don't depend on it, but for gradients that are clipped.
        checkpointing: compute layers a second time on the way back instead of keeping what is inside them.
        dropout: of layers, attention and projection in training.
        layer_drop: chance that a layer in training passes its input on. It is computed all the same, so that every
            parameter has a gradient, which training on several processes needs.
        normalize: bring waveforms to zero mean and unit variance; by default as in pretraining.
        mask: keep attention off the padding; by default as in pretraining.

    Attributes:
        num_layers: layers in a frame.
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
    ):
        super().__init__()
        if architecture is None and model not in encoders.KNOWN:
            architecture = encoders.find_architecture(model)
            self.resolved = {"architecture": architecture}
        shape = encoders.BASE | encoders.KNOWN.get(model, {}) | (architecture or {})
        if unknown := ", ".join(sorted(shape.keys() - encoders.BASE.keys())):
            raise InputError(
                f"{model}: architecture has {unknown}, expected some of {', '.join(encoders.BASE)}"
            )
        depth, self.stable = shape["num_hidden_layers"], shape["do_stable_layer_norm"]
        self.num_layers = {"last": 1, "all": depth + 1}.get(layers, layers)
        if shape["model_type"] not in encoders.FAMILIES:
            raise InputError(
                f"{model}: {shape['model_type']}, expected {' or '.join(encoders.FAMILIES)}"
            )
        for option, asked, most in (("layers", layers, depth + 1), ("trained", trained, depth)):
            if not isinstance(asked, str) and asked > most:
                raise InputError(f"{model}: {option} is {asked}, expected at most {most}")
        self.model, self.layers, self.trained = model, layers, trained
        self.rate_factor, self.layer_decay, self.gradient_factor = (
            rate_factor,
            layer_decay,
            gradient_factor,
        )
        self.frame_lengths = partial(encoders.frame_lengths, shape)
        self.dim, self.sample_rate = self.num_layers * shape["hidden_size"], 16000
        self.hop_seconds = prod(shape["conv_stride"]) / self.sample_rate
        usual = shape["feat_extract_norm"] == "layer"
        self.normalize, self.mask = (
            usual if asked is None else asked for asked in (normalize, mask)
        )
        self.encoder = encoders.build_encoder(shape, dropout, checkpointing)
        self._freeze(freeze_extractor)
        for layer in self.network.encoder.layers if layer_drop else ():
            layer.register_forward_hook(partial(_pass_on, layer_drop))

    def forward(self, wav_BT: Tensor, lengths_B: Tensor) -> tuple[Tensor, Tensor]:
        shortest, frame_lengths_B = int(lengths_B.min()), self.frame_lengths(lengths_B)
        if int(frame_lengths_B.min()) < 1:
            raise ValueError(f"{shortest} samples are too short for a frame of {self.model}")
        padded, mask_BT = shortest < wav_BT.shape[1], valid_mask(lengths_B, wav_BT.shape[1])
        if self.normalize:
            centred_BT = (wav_BT - wav_BT.sum(1, keepdim=True) / lengths_B[:, None]) * mask_BT
            variance_B1 = centred_BT.square().sum(1, keepdim=True) / lengths_B[:, None]
            wav_BT = centred_BT / (variance_B1 + 1e-7).sqrt()
        states = self.encoder(wav_BT, mask_BT if padded and self.mask else None)
        if self.stable and self.layers == "last":
            states.append(self.network.encoder.layer_norm(states[-1]))
        frames_BFD = torch.cat(states[-self.num_layers :], 2).float()
        if padded:
            frames_BFD = frames_BFD * valid_mask(frame_lengths_B, frames_BFD.shape[1])[..., None]
        if frames_BFD.requires_grad and self.gradient_factor != 1:
            frames_BFD.register_hook(lambda gradient: gradient * self.gradient_factor)
        return frames_BFD, frame_lengths_B

    @property
    def network(self) -> nn.Module:
        """The encoder's parts, by the hub's names."""
        return self.encoder.network

    def train(self, mode: bool = True) -> "SSL":
        """As of every module, but a frozen encoder has no training mode."""
        return super().train(mode and self.trained != "none")

    def rate_factors(self) -> dict[nn.Parameter, float]:
        return {
            value: self.rate_factor * self.layer_decay**depth
            for value, depth in self._depths().items()
        }

    def load_pretrained(self) -> None:
        """Take on the weights that the model was published with.

        Raises:
            InputError: there are none, they are damaged, or they aren't the model's.
        """
        path = encoders.find_file(self.model, encoders.WEIGHTS)
        logging.info("%s: weights of %s", self.model, path)
        try:
            self.network.load_state_dict(encoders.read_weights(path), strict=True)
        except RuntimeError as error:
            differ = "; ".join(line.strip() for line in str(error).splitlines()[:3])
            raise InputError(
                f"{path}: weights of another model than {self.model}: {differ}"
            ) from error

    def _depths(self) -> dict[nn.Parameter, int]:
        """How many layers there are above each parameter."""
        encoder = self.network.encoder
        depths = dict.fromkeys(self.parameters(), len(encoder.layers))
        for depth, layer in enumerate(reversed(encoder.layers)):
            depths |= dict.fromkeys(layer.parameters(), depth)
        return depths | dict.fromkeys(encoder.layer_norm.parameters(), 0) if self.stable else depths

    def _freeze(self, freeze_extractor: bool) -> None:
        depths = self._depths()
        trained = {"all": len(depths), "none": 0}.get(self.trained, self.trained)
        for value, depth in depths.items():
            value.requires_grad_(depth < trained)
        if freeze_extractor:
            self.network.feature_extractor.requires_grad_(False)
        if self.stable and self.layers != "last":  # nothing depends on it
            self.network.encoder.layer_norm.requires_grad_(False)


def _pass_on(
    chance: float, layer: nn.Module, inputs: tuple, output: Tensor | tuple
) -> Tensor | tuple:
    """The output of a layer, or by chance what it would be without the layer (https://arxiv.org/abs/1909.11556)."""
    if not layer.training or torch.rand(()) >= chance:
        return output
    if isinstance(output, tuple):
        return inputs[0] + 0 * output[0], *output[1:]
    return inputs[0] + 0 * output
