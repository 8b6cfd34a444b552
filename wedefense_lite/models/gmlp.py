"""gMLP over frames at several resolutions."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from jsonargparse.typing import NonNegativeInt
from torch import Tensor, nn

from wedefense_lite.audio.tracks import by_overlap
from wedefense_lite.frontends.base import valid_mask
from wedefense_lite.heads import CrossEntropy, Head
from wedefense_lite.models.base import Encoder, FrameBackbone, Frames, masked_loss


class GatedMLP(nn.Module):
    """A layer of gMLP (Liu et al., "Pay attention to MLPs", NeurIPS 2021, figure 1).

    Their gate is a square matrix over time, which ties a model to a length. Here it is a depthwise
    convolution over time, as in Sakuma et al., "MLP-based architecture with variable length input for automatic
    speech recognition" (2021); it too begins as nearly 1.
    """

    def __init__(self, dim: int, kernel: int):
        super().__init__()
        self.norm, self.gate_norm = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.expand, self.reduce = nn.Linear(dim, 2 * dim), nn.Linear(dim, dim)
        self.gate = nn.Conv1d(dim, dim, kernel, padding=kernel // 2, groups=dim)
        nn.init.uniform_(self.gate.weight, -0.01, 0.01)
        nn.init.ones_(self.gate.bias)

    def forward(self, frames_BGE: Tensor, mask_BG1: Tensor) -> Tensor:
        kept_BGE, gating_BGE = F.gelu(self.expand(self.norm(frames_BGE))).chunk(2, -1)
        gate_BGE = self.gate((self.gate_norm(gating_BGE) * mask_BG1).transpose(1, 2)).transpose(
            1, 2
        )
        return frames_BGE + self.reduce(kept_BGE * gate_BGE)


class Branch(nn.Module):
    """gMLP layers at one resolution, and a linear layer to half the width."""

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
    """gMLP at one resolution, and in training at coarser ones beside it: PartialSpoof's countermeasure.

    Zhang et al., "The PartialSpoof database and countermeasures for the detection of short fake speech segments
    embedded in an utterance" (IEEE/ACM TASLP 2023, https://arxiv.org/abs/2204.05177), in the form of the
    official code: from one resolution to the next, maxima over two frames and two features, and a linear
    layer; a branch of gMLP layers and a head of its own at each. There it stands on fine-tuned wav2vec 2.0
    frames of 20 ms, with resolutions to 640 ms and one more branch for the utterance, which has the pooled
    frame scores here; the head is P2SGrad.

    Args:
        input_dim: features of a frame.
        encoder: what is done to the frames before; by default nothing.
        width: features of a frame at the finest resolution, halved from each to the next.
        layers: of gMLP in a branch.
        coarser: resolutions beside the finest one, each half as fine; their losses are added to its.
        kernel: frames that a gate sees, an odd number.
        head: of the coarser resolutions, and what gives their loss.
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
        self.stride, self.min_frames, self.embed_dim = (
            self.encoder.stride,
            self.encoder.min_frames,
            width // 2,
        )
        widths = [width >> halvings for halvings in range(coarser + 1)]
        self.enter = nn.ModuleList(
            nn.Linear(*pair) for pair in zip([self.encoder.embed_dim, *widths[1:]], widths)
        )
        self.branches = nn.ModuleList(Branch(dim, layers, kernel) for dim in widths)
        self.heads = nn.ModuleList(head(dim // 2) for dim in widths[1:])

    def forward(self, frames_BFD: Tensor, frame_lengths_B: Tensor) -> tuple[Tensor, Tensor]:
        frames_BGE, lengths_B = self.encoder(frames_BFD, frame_lengths_B)
        return self.branches[0](self.enter[0](frames_BGE), lengths_B), lengths_B

    def embed_with_loss(self, frames_BFD: Tensor, frame_lengths_B: Tensor, labels: Tensor) -> tuple:
        (frames_BGE, lengths_B), loss = self.encoder.embed_with_loss(
            frames_BFD, frame_lengths_B, labels
        )
        frames_BGE = self.enter[0](frames_BGE)
        finest = self.branches[0](frames_BGE, lengths_B), lengths_B
        for enter, branch, head in zip(self.enter[1:], self.branches[1:], self.heads):
            frames_BGE = enter(F.max_pool2d(frames_BGE, 2, ceil_mode=True))
            labels, lengths_B = (
                by_overlap(labels, 2),
                torch.div(lengths_B + 1, 2, rounding_mode="floor"),
            )
            loss = loss + masked_loss(head, branch(frames_BGE, lengths_B), labels)[0]
        return finest, loss
