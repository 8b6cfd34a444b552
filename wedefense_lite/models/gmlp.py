"""gMLP over frames at several resolutions.

Tensor suffixes: B utterances of a batch, F frames of the front end, D features of a frame, G rows
with a decision each (frames of one resolution), E features of a row.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from jsonargparse.typing import NonNegativeInt
from torch import Tensor, nn

from wedefense_lite.audio.tracks import by_overlap
from wedefense_lite.files import InputError
from wedefense_lite.frontends.base import valid_mask
from wedefense_lite.heads import CrossEntropy, Head
from wedefense_lite.models.base import Encoder, FrameBackbone, Frames, masked_loss


class GatedMLP(nn.Module):
    """A layer of gMLP, with a convolution as its gate.

    Source: Liu et al., "Pay attention to MLPs" (NeurIPS 2021), figure 1. Their gate is a square
    matrix over time, which ties a model to one length. Here the gate is a depthwise convolution
    over time, as in Sakuma et al., "MLP-based architecture with variable length input for automatic
    speech recognition" (2021).

    Args:
        dim: features of a row.
        kernel: rows that a gate sees, an odd number.
    """

    def __init__(self, dim: int, kernel: int):
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.gate_norm = nn.LayerNorm(dim)
        self.expand = nn.Linear(dim, 2 * dim)
        self.reduce = nn.Linear(dim, dim)
        self.gate = nn.Conv1d(dim, dim, kernel, padding=kernel // 2, groups=dim)
        # A gate begins as nearly 1, so that a new layer passes its input on (section 2.1 of gMLP).
        nn.init.uniform_(self.gate.weight, -0.01, 0.01)
        nn.init.ones_(self.gate.bias)

    def forward(self, frames_BGE: Tensor, mask_BG1: Tensor) -> Tensor:
        expanded_BGE = F.gelu(self.expand(self.norm(frames_BGE)))
        content_BGE, context_BGE = expanded_BGE.chunk(2, -1)
        # Layer norm gives padded rows its bias: zeros again, or the convolution would read them.
        context_BGE = self.gate_norm(context_BGE) * mask_BG1
        gate_BGE = self.gate(context_BGE.transpose(1, 2)).transpose(1, 2)
        return frames_BGE + self.reduce(content_BGE * gate_BGE)


class SpatialMLP(nn.Module):
    """A layer of gMLP as published: its gate is a square matrix over time, cut to the rows there.

    Source: Liu et al., "Pay attention to MLPs" (NeurIPS 2021), figure 1.

    Args:
        dim: features of a row.
        max_rows: rows of the matrix.
        attention: builder, from the sizes of its input and output, of a layer whose output is added
            to the gate; it takes rows and their mask. None for none.
    """

    def __init__(
        self,
        dim: int,
        max_rows: int,
        attention: Callable[[int, int], nn.Module] | None = None,
    ):
        super().__init__()
        half = max(1, dim // 4)
        self.norm = nn.LayerNorm(dim)
        self.expand = nn.Linear(dim, 2 * half)
        self.gate_norm = nn.LayerNorm(half)
        # A gate begins as nearly 1, so that a new layer passes its input on (section 2.1).
        self.weight_GG = nn.Parameter(torch.empty(max_rows, max_rows).uniform_(-0.01, 0.01))
        self.bias_G = nn.Parameter(torch.ones(max_rows))
        self.attention = None if attention is None else attention(2 * half, half)
        self.reduce = nn.Linear(half, dim)

    def forward(self, frames_BGE: Tensor, mask_BG1: Tensor) -> Tensor:
        """Rows after the layer.

        Raises:
            InputError: more rows than the matrix has.
        """
        rows = frames_BGE.shape[1]
        if rows > len(self.bias_G):
            raise InputError(f"{rows} frames, expected at most {len(self.bias_G)}, as in the gates")
        expanded_BGE = F.gelu(self.expand(self.norm(frames_BGE)))
        content_BGE, context_BGE = expanded_BGE.chunk(2, -1)
        # Layer norm gives padded rows its bias: zeros again, or the gate would read them.
        context_BGE = self.gate_norm(context_BGE) * mask_BG1
        gate_BGE = self.weight_GG[:rows, :rows] @ context_BGE + self.bias_G[:rows, None]
        if self.attention is not None:
            gate_BGE = gate_BGE + self.attention(expanded_BGE, mask_BG1)
        return frames_BGE + self.reduce(content_BGE * gate_BGE)


class ResolutionBranch(nn.Module):
    """gMLP layers at one resolution, and a linear layer to half the width.

    Args:
        dim: features of a row.
        layers: layers of gMLP.
        kernel: rows that a gate sees, an odd number.
    """

    def __init__(self, dim: int, layers: int, kernel: int):
        super().__init__()
        self.layers = nn.ModuleList(GatedMLP(dim, kernel) for _ in range(layers))
        self.embed = nn.Linear(dim, dim // 2, bias=False)

    def forward(self, frames_BGE: Tensor, lengths_B: Tensor) -> Tensor:
        mask_BG1 = valid_mask(lengths_B, frames_BGE.shape[1])[..., None]
        for layer in self.layers:
            frames_BGE = layer(frames_BGE, mask_BG1)
        return self.embed(frames_BGE)


class GMLP(FrameBackbone):
    """gMLP at one resolution, with coarser resolutions beside it in training.

    Source: the countermeasure of PartialSpoof (Zhang et al., "The PartialSpoof database and
    countermeasures for the detection of short fake speech segments embedded in an utterance",
    IEEE/ACM TASLP 2023, https://arxiv.org/abs/2204.05177), in a form for any length, with layers
    four times as wide; ``wedefense_lite.models.partialspoof.PartialSpoofGMLP`` is that of the
    official code. From one resolution to the next there are maxima over two frames and two
    features, and a linear layer. Each resolution has a branch of gMLP layers and a head. Its branch
    for the utterance is missing here: pooled frame scores decide instead.

    Args:
        input_dim: features of a frame.
        encoder: layers before this model; by default none.
        width: features of a frame at the finest resolution, halved from each to the next.
        layers: layers of gMLP in a branch.
        coarser: resolutions beside the finest one, each half as fine; their losses are added to
            the loss of the finest.
        kernel: frames that a gate sees, an odd number.
        head: head and loss of each coarser resolution.
    """

    def __init__(
        self,
        input_dim: int,
        encoder: Encoder = Frames,
        width: int = 1024,
        layers: int = 5,
        coarser: NonNegativeInt = 5,
        kernel: int = 63,
        head: Callable[[int], Head] = CrossEntropy,
    ):
        super().__init__()
        self.encoder = encoder(input_dim)
        self.stride = self.encoder.stride
        self.min_frames = self.encoder.min_frames
        self.embed_dim = width // 2
        widths = [width >> halvings for halvings in range(coarser + 1)]
        # Maxima over two features leave half of a width: what the next resolution begins with.
        in_dims = [self.encoder.embed_dim, *widths[1:]]
        self.enter = nn.ModuleList()
        for in_dim, dim in zip(in_dims, widths):
            self.enter.append(nn.Linear(in_dim, dim))
        self.branches = nn.ModuleList(ResolutionBranch(dim, layers, kernel) for dim in widths)
        self.heads = nn.ModuleList(head(dim // 2) for dim in widths[1:])

    def forward(self, frames_BFD: Tensor, frame_lengths_B: Tensor) -> tuple[Tensor, Tensor]:
        frames_BGE, lengths_B = self.encoder(frames_BFD, frame_lengths_B)
        frames_BGE = self.enter[0](frames_BGE)
        return self.branches[0](frames_BGE, lengths_B), lengths_B

    def embed_with_loss(self, frames_BFD: Tensor, frame_lengths_B: Tensor, labels: Tensor) -> tuple:
        encoded, loss = self.encoder.embed_with_loss(frames_BFD, frame_lengths_B, labels)
        frames_BGE, lengths_B = encoded
        frames_BGE = self.enter[0](frames_BGE)
        finest = self.branches[0](frames_BGE, lengths_B), lengths_B
        for enter, branch, head in zip(self.enter[1:], self.branches[1:], self.heads):
            # Two dimensions at once: pairs of rows, and pairs of features of a row. ``ceil_mode``
            # keeps a last row without a partner, as ``by_overlap`` keeps its label.
            pooled_BGE = F.max_pool2d(frames_BGE, 2, ceil_mode=True)
            frames_BGE = enter(pooled_BGE)
            labels = by_overlap(labels, 2)
            lengths_B = torch.div(lengths_B + 1, 2, rounding_mode="floor")
            branch_loss, *_ = masked_loss(head, branch(frames_BGE, lengths_B), labels)
            loss = loss + branch_loss
        return finest, loss
