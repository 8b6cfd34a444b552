"""Attention branch network: a small network marks the spectrogram, a large one judges it."""

from collections.abc import Callable

from torch import Tensor, nn

from wedefense_lite.heads.cross_entropy import CrossEntropy
from wedefense_lite.models.base import Backbone
from wedefense_lite.models.blocks import conv_norm
from wedefense_lite.models.pooling import as_maps, mean_over_time
from wedefense_lite.models.res2net import SERes2Net
from wedefense_lite.models.resnet import BasicBlock

WIDTHS = (2, 4, 8, 12, 16)


class EABN(Backbone):
    """Frames times one plus a mask in (0, 1), which a branch with a classifier of its own computes.

    Rostami et al., "Efficient Attention Branch Network with Combined Loss Function for Automatic Speaker
    Verification Spoof Detection" (https://arxiv.org/abs/2109.02051), widths and weights from its official
    code. Published EER on ASVspoof 2019 eval: LA 1.89 % with LFCC and :class:`SERes2Net`, PA 0.86 %
    with log-power spectra and :class:`EfficientNetA0`. The branch adds the weighted cross-entropy of
    its classifier to the loss in training and has no say in the score.

    Args:
        input_dim: features of a frame.
        trunk: judges the marked frames, and gives the embedding.
        branch_weight: of the branch's loss.
        class_weights: ``[spoof, bonafide]`` in the branch's loss, as :class:`CrossEntropy` has them.
    """

    def __init__(
        self,
        input_dim: int,
        trunk: Callable[[int], Backbone] = SERes2Net,
        branch_weight: float = 0.1,
        class_weights: tuple[float, float] | None = None,
    ):
        super().__init__()
        self.trunk = trunk(input_dim)
        self.embed_dim = self.trunk.embed_dim
        blocks = [BasicBlock(narrow, wide, stride=1) for narrow, wide in zip(WIDTHS, WIDTHS[1:])]
        self.branch = nn.Sequential(
            conv_norm(1, WIDTHS[0], 3), *blocks, conv_norm(WIDTHS[-1], WIDTHS[-1])
        )
        self.mask = conv_norm(WIDTHS[-1], 1, activation=nn.Sigmoid)
        self.classifier = CrossEntropy(WIDTHS[-1], class_weights)
        self.branch_weight = branch_weight

    def _marked(self, frames_BFD: Tensor) -> tuple[Tensor, Tensor]:
        """The marked frames, and ``maps_BCDF`` of the branch."""
        maps_BCDF = self.branch(as_maps(frames_BFD))
        return frames_BFD * (1 + self.mask(maps_BCDF)[:, 0].transpose(1, 2)), maps_BCDF

    def forward(self, frames_BFD: Tensor, frame_lengths_B: Tensor) -> Tensor:
        return self.trunk(self._marked(frames_BFD)[0], frame_lengths_B)

    def embed_with_loss(
        self, frames_BFD: Tensor, frame_lengths_B: Tensor, labels_B: Tensor
    ) -> tuple[Tensor, Tensor]:
        marked_BFD, maps_BCDF = self._marked(frames_BFD)
        pooled_BC = mean_over_time(maps_BCDF.mean(2), frame_lengths_B)
        loss, _ = self.classifier.loss(pooled_BC, labels_B)
        return self.trunk(marked_BFD, frame_lengths_B), self.branch_weight * loss
