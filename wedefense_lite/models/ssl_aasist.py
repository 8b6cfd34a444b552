"""AASIST on the frames of a self-supervised encoder."""

import torch.nn.functional as F
from torch import Tensor, nn

from wedefense_lite.models.aasist import AASIST
from wedefense_lite.models.pooling import as_maps


class SSLAASIST(AASIST):
    """AASIST over frames that a linear layer reduces, whose blocks keep all of them.

    Tak et al., "Automatic speaker verification spoofing and deepfake detection using wav2vec 2.0 and data
    augmentation" (Odyssey 2022, https://arxiv.org/abs/2202.12233), agreeing with
    https://github.com/TakHemlata/SSL_Anti-spoofing. What differs from AASIST: nodes are means over time and over
    the spectrum with learned weights, not the largest values, and there are batch norm and SELU behind the
    blocks. On the 1024 features of XLS-R, with the head, 447,242 parameters, 512 of them in layers that the
    official code never uses and that are left out here. 4 s of audio make 42 x 67 maps; time is free.
    Published, best (mean): 0.82 % (1.00 %) EER on ASVspoof 2021 LA, 2.85 % (3.69 %) on DF.

    Args:
        input_dim: features of a frame.
        projected_dim: what they are reduced to; a third of it is the number of spectral nodes.
        channels: channels of the first two residual blocks.
        node_dim: channels of the last four, and size of the nodes of the first graphs.
        graph_dim: size of the nodes behind those; the embedding is five times as large.
        pool_ratios: shares of nodes that are kept of the spectral graph, of the temporal graph and of
            each in the branches that join them.
    """

    min_frames, block_pool = 3, 1

    def __init__(
        self,
        input_dim: int,
        projected_dim: int = 128,
        channels: int = 32,
        node_dim: int = 64,
        graph_dim: int = 32,
        pool_ratios: tuple[float, float, float] = (0.5, 0.5, 0.5),
    ):
        super().__init__(projected_dim, channels, node_dim, graph_dim, pool_ratios)
        self.project, self.last_bn = nn.Linear(input_dim, projected_dim), nn.BatchNorm2d(node_dim)
        wide = nn.Conv2d(node_dim, 2 * node_dim, 1)
        narrow = nn.Conv2d(2 * node_dim, node_dim, 1)
        self.attention = nn.Sequential(
            wide, nn.SELU(inplace=True), nn.BatchNorm2d(2 * node_dim), narrow
        )

    def forward(self, frames_BFD: Tensor, frame_lengths_B: Tensor) -> Tensor:
        maps_B1DF = F.max_pool2d(as_maps(self.project(frames_BFD)), 3)
        maps_BCDF = F.selu(self.last_bn(self.encoder(F.selu(self.first_bn(maps_B1DF)))))
        scores_BCDF = self.attention(maps_BCDF)
        bands_BCD, moments_BCF = (
            (maps_BCDF * scores_BCDF.softmax(axis)).sum(axis) for axis in (3, 2)
        )
        return self.joined(bands_BCD, moments_BCF)
