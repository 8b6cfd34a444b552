"""Tables of names of weights in official code, and what the tables of several systems share.

Letters: C classes [spoof, bonafide].
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

# Utterances of ASVspoof 2019 LA train, [spoof, bonafide], and the same times the usual weights.
LA_2019 = (22800, 2580)
WEIGHTED_LA_2019 = (22800 * 0.1, 2580 * 0.9)

Patterns = Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Importer:
    """Official checkpoint: how its weights become those of a system here.

    Attributes:
        names: patterns on official names and their replacements, applied one after the other. A
            name that becomes empty is left out: the official code never uses the output of that
            layer, or it belongs to the training of the encoder.
        encoder: pattern on what stands before the names of an encoder of fairseq, or of the hub.
        changes: changes of values, by patterns on the names here.
        trained_on: what the loss saw, ``[spoof, bonafide]`` in any unit; None where it isn't known.
        forms: other importers, by a pattern that only the names of their weights match.
        classifier: pattern on the official names of a classifier that is left out where it has
            other than two classes, such as speakers; the head here then begins anew.
        optional: pattern on the names here of weights that are left out where the system of the
            configuration has none.
        training_only: pattern on the names here of weights that no score depends on and that
            official checkpoints lack; they begin anew.
    """

    names: Patterns
    encoder: str | None = None
    changes: Sequence[tuple[str, Callable[[Tensor], Tensor]]] = ()
    trained_on: tuple[float, float] | None = None
    forms: Mapping[str, str] = field(default_factory=dict)
    classifier: str | None = None
    optional: str | None = None
    training_only: str | None = None


def stages(blocks: tuple[int, ...], trunk: str = "") -> list[tuple[str, str]]:
    """Patterns for blocks that are numbered through here, and within a stage in official code."""
    patterns = []
    number = 0
    start = re.escape(trunk)
    for stage, count in enumerate(blocks, 1):
        for block in range(count):
            patterns.append((rf"^{start}layer{stage}\.{block}\.", f"{trunk}stages.{number}."))
            number += 1
    return patterns


def se_res2net50(trunk: str) -> list[tuple[str, str]]:
    """Patterns for SE-Res2Net50, whose names begin with ``trunk``, a dot at its end included."""
    start = re.escape(trunk)
    return [
        (rf"^{start}conv1\.0\.", f"{trunk}stem.0.0."),
        (rf"^{start}conv1\.1\.", f"{trunk}stem.0.1."),
        (rf"^{start}conv1\.3\.", f"{trunk}stem.1.0."),
        (rf"^{start}conv1\.4\.", f"{trunk}stem.1.1."),
        (rf"^{start}conv1\.6\.", f"{trunk}stem.2.0."),
        (rf"^{start}bn1\.", f"{trunk}stem.2.1."),
        *stages((3, 4, 6, 3), trunk),
        (r"(stages\.\d+)\.conv1\.", r"\1.layers.0.0."),
        (r"(stages\.\d+)\.bn1\.", r"\1.layers.0.1."),
        (r"(stages\.\d+)\.convs\.(\d)\.", r"\1.layers.1.branches.\2.0."),
        (r"(stages\.\d+)\.bns\.(\d)\.", r"\1.layers.1.branches.\2.1."),
        (r"(stages\.\d+)\.conv3\.", r"\1.layers.2.0."),
        (r"(stages\.\d+)\.bn3\.", r"\1.layers.2.1."),
        (r"(stages\.\d+)\.se\.fc\.", r"\1.layers.3.layers."),
        (r"(stages\.\d+)\.downsample\.1\.", r"\1.shortcut.1.0."),
        (r"(stages\.\d+)\.downsample\.2\.", r"\1.shortcut.1.1."),
    ]


RAWNET2 = [
    (r"^block(\d)\.0\.", r"blocks.\1.0."),
    (r"\.conv_downsample\.", ".shortcut."),
    (r"^fc_attention(\d)\.0\.", r"blocks.\1.1.linear."),
    (r"^fc1_gru\.", "embed."),
    (r"^fc2_gru\.", "head.linear."),
]
AASIST = [
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
]
# Blocks of ECAPA-TDNN, with the squeeze-and-excitation of TaoRuijie's code.
SE_RES2 = [
    (r"layers\.conv1\.", "layers.0.0."),
    (r"layers\.bn1\.", "layers.0.2."),
    (r"layers\.convs\.(\d)\.", r"layers.1.branches.\1.0."),
    (r"layers\.bns\.(\d)\.", r"layers.1.branches.\1.2."),
    (r"layers\.conv3\.", "layers.2.0."),
    (r"layers\.bn3\.", "layers.2.2."),
    (r"se\.se\.1\.", "3.layers.0."),
    (r"se\.se\.3\.", "3.layers.2."),
]
# Numbers of the layers of LCNN there, and here.
LCNN_LAYERS = {
    0: "0.0",
    3: "2.0",
    5: "3",
    6: "4.0",
    9: "6",
    10: "7.0",
    12: "8",
    13: "9.0",
    16: "11.0",
    18: "12",
    19: "13.0",
    21: "14",
    22: "15.0",
    24: "16",
    25: "17.0",
}
NII_LCNN = [
    (r"^(input|output)_(mean|std)$", ""),
    (r"^m_frontend\..*", ""),
    *((rf"^m_transform\.0\.{there}\.", f"layers.0.{here}.") for there, here in LCNN_LAYERS.items()),
    (r"^m_before_pooling\.0\.(\d)\.l_blstm\.(.*)_l0(.*)$", r"lstm.\2_l\1\3"),
]
# Layers of gMLP.
GATED = [
    (r"\.proj1\.", ".expand."),
    (r"\.proj2\.", ".reduce."),
    (r"\.sgu\.norm\.", ".gate_norm."),
    (r"\.sgu\.weight$", ".weight_GG"),
    (r"\.sgu\.bias$", ".bias_G"),
]
SOFTMAX_PROJECTION = [
    (r"^projection\.trans\.0\.", "head.norm."),
    (r"^projection\.trans\.2\.", "head.linear."),
]


def reversed_rows(value: Tensor) -> Tensor:
    """Classes in our order, of a layer that has bona fide first."""
    return value.flip(0)


def without_last_axis(value: Tensor) -> Tensor:
    """Weights of a linear layer, which were those of a convolution over one frame."""
    return value.squeeze(-1)


def without_inner_axes(value: Tensor) -> Tensor:
    """Weights of a linear layer, which were those of a convolution over one point."""
    return value.flatten(1)


def without_first_axis(value: Tensor) -> Tensor:
    """Values that had an axis for the utterances."""
    return value.squeeze(0)


def flat(value: Tensor) -> Tensor:
    """Values without axes of size 1."""
    return value.flatten()


def transposed(value: Tensor) -> Tensor:
    """Kernels over features and frames, which were over frames and features; or rows of columns."""
    return value.transpose(-1, -2)


def centred_rows(value: Tensor) -> Tensor:
    """Weights of a linear layer that doesn't see the mean over its features."""
    return value - value.mean(1, keepdim=True)


def of_25_layers(value: Tensor) -> Tensor:
    """Weights of the states of a large encoder, where there are more."""
    return value[:25]


def difference_rows(value: Tensor) -> Tensor:
    """A layer with a logit of bona fide speech alone, with a row of zeros for the spoof logit."""
    return torch.cat((torch.zeros_like(value), value))
