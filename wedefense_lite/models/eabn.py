"""Attention branch network: a small network weights the spectrogram for a large one.

Letters: B utterances, F frames, D features of a frame, P channels.
"""

from collections.abc import Callable

from jsonargparse.typing import NonNegativeInt
from torch import Tensor, nn

from wedefense_lite.heads.cross_entropy import CrossEntropy
from wedefense_lite.models.base import Backbone
from wedefense_lite.models.blocks import conv_norm
from wedefense_lite.models.pooling import as_maps, mean_over_time
from wedefense_lite.models.res2net import SERes2Net
from wedefense_lite.models.resnet import BasicBlock
from wedefense_lite.models.slices import embed_slices

WIDTHS = (2, 4, 8, 12, 16)  # channels of the branch, of the official code


class EABN(Backbone):
    """Trunk on frames that are multiplied by 1 + a mask in (0, 1), which a branch computes.

    The branch has a classifier of its own. Training adds the weighted cross-entropy of that
    classifier to the loss; scores don't depend on it. Published EERs on ASVspoof 2019 eval: 1.89 %
    on LA with LFCC and ``SERes2Net``, 0.86 % on PA with log-power spectra and ``EfficientNetA0``.

    Source: Rostami et al., "Efficient Attention Branch Network with Combined Loss Function for
    Automatic Speaker Verification Spoof Detection" (https://arxiv.org/abs/2109.02051); widths and
    weights of its official code.

    Args:
        input_dim: features of a frame.
        trunk: model that makes the embedding of the weighted frames.
        branch_weight: factor of the loss of the branch.
        class_weights: weights ``[spoof, bonafide]`` in the loss of the branch.
        slice_frames: in scoring, the embedding is the mean of those of slices of so many frames,
            which overlap by half, as the official code has 400; 0: it is that of all frames.
    """

    def __init__(
        self,
        input_dim: int,
        trunk: Callable[[int], Backbone] = SERes2Net,
        branch_weight: float = 0.1,
        class_weights: tuple[float, float] | None = None,
        slice_frames: NonNegativeInt = 0,
    ):
        super().__init__()
        self.slice_frames = slice_frames
        self.trunk = trunk(input_dim)
        self.embed_dim = self.trunk.embed_dim
        blocks = [BasicBlock(narrow, wide, stride=1) for narrow, wide in zip(WIDTHS, WIDTHS[1:])]
        self.branch = nn.Sequential(
            conv_norm(1, WIDTHS[0], 3), *blocks, conv_norm(WIDTHS[-1], WIDTHS[-1])
        )
        self.mask = conv_norm(WIDTHS[-1], 1, activation=nn.Sigmoid)
        self.classifier = CrossEntropy(WIDTHS[-1], class_weights)
        self.branch_weight = branch_weight

    def _weight_frames(self, frames_BFD: Tensor) -> tuple[Tensor, Tensor]:
        """Weighted frames, and ``maps_BPDF`` of the branch."""
        maps_BPDF = self.branch(as_maps(frames_BFD))
        mask_BFD = self.mask(maps_BPDF)[:, 0].transpose(1, 2)
        return frames_BFD * (1 + mask_BFD), maps_BPDF

    def forward(self, frames_BFD: Tensor, frame_lengths_B: Tensor) -> Tensor:
        if self.slice_frames and not self.training:
            return embed_slices(self._embed, frames_BFD, frame_lengths_B, self.slice_frames)
        return self._embed(frames_BFD, frame_lengths_B)

    def _embed(self, frames_BFD: Tensor, frame_lengths_B: Tensor) -> Tensor:
        weighted_BFD, _ = self._weight_frames(frames_BFD)
        return self.trunk(weighted_BFD, frame_lengths_B)

    def embed_with_loss(
        self, frames_BFD: Tensor, frame_lengths_B: Tensor, labels_B: Tensor
    ) -> tuple[Tensor, Tensor]:
        weighted_BFD, maps_BPDF = self._weight_frames(frames_BFD)
        pooled_BP = mean_over_time(maps_BPDF.mean(2), frame_lengths_B)
        loss, _ = self.classifier.loss(pooled_BP, labels_B)
        return self.trunk(weighted_BFD, frame_lengths_B), self.branch_weight * loss
