"""AASIST: graph attention between the parts of the spectrum and the parts of the utterance."""

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wedefense_lite.models.base import Backbone
from wedefense_lite.models.pooling import as_maps
from wedefense_lite.models.rawnet2 import PooledResidual

GRAPH_TEMPERATURE, MIXED_TEMPERATURE = 2.0, 100.0


def block(in_channels: int, channels: int, pool: int) -> PooledResidual:
    """A residual block over bands and time that keeps one frame of ``pool``."""
    is_same = in_channels == channels
    return PooledResidual(
        nn.Conv2d(in_channels, channels, (2, 3), padding=(1, 1)),
        nn.BatchNorm2d(channels),
        nn.SELU(inplace=True),
        nn.Conv2d(channels, channels, (2, 3), padding=(0, 1)),
        nn.Identity() if is_same else nn.Conv2d(in_channels, channels, (1, 3), padding=(0, 1)),
        nn.MaxPool2d((1, pool)),
    )


class Attention(nn.Module):
    """Every query gathers from the nodes, by the product with each of them.

    Args:
        in_dim: size of queries and nodes (I).
        dim: size of what comes out (O).
        temperature: divides the scores before their softmax over the nodes.
        kinds: kinds of pairs (K), each with scores of its own.
    """

    def __init__(self, in_dim: int, dim: int, temperature: float, kinds: int = 1):
        super().__init__()
        self.temperature = temperature
        self.att_proj = nn.Linear(in_dim, dim)
        weights = [nn.init.xavier_normal_(torch.empty(dim, 1)) for _ in range(kinds)]
        self.att_weights = nn.ParameterList(weights)
        self.proj_with_att, self.proj_without_att = nn.Linear(in_dim, dim), nn.Linear(in_dim, dim)

    def forward(
        self, query_BQI: Tensor, nodes_BNI: Tensor, kind_QN: Tensor | None = None
    ) -> Tensor:
        """``B Q O``; ``kind_QN`` numbers the kind of each pair, 0 where it is not given."""
        hidden_BQNO = torch.tanh(self.att_proj(query_BQI[:, :, None] * nodes_BNI[:, None]))
        score_BQNK = hidden_BQNO @ torch.cat(tuple(self.att_weights), 1)
        if kind_QN is not None:
            score_BQNK = score_BQNK.gather(3, kind_QN.expand(len(nodes_BNI), -1, -1)[..., None])
        share_BQN = (score_BQNK[..., 0] / self.temperature).softmax(2)
        return self.proj_with_att(share_BQN @ nodes_BNI) + self.proj_without_att(query_BQI)


class GraphLayer(nn.Module):
    """Nodes of one kind attend to each other (Veličković et al., ICLR 2018)."""

    def __init__(self, in_dim: int, dim: int):
        super().__init__()
        self.drop = nn.Dropout(0.2)
        self.attention = Attention(in_dim, dim, GRAPH_TEMPERATURE)
        self.bn = nn.BatchNorm1d(dim)

    def forward(self, nodes_BNI: Tensor) -> Tensor:
        nodes_BNI = self.drop(nodes_BNI)
        return _normalised(self.bn, self.attention(nodes_BNI, nodes_BNI))


class MixedLayer(nn.Module):
    """Nodes of two kinds attend to each other, and a master node to all of them: the paper's HS-GAL."""

    def __init__(self, in_dim: int, dim: int):
        super().__init__()
        self.proj_type1, self.proj_type2 = nn.Linear(in_dim, in_dim), nn.Linear(in_dim, in_dim)
        self.drop = nn.Dropout(0.2)
        self.attention = Attention(in_dim, dim, MIXED_TEMPERATURE, kinds=3)
        self.to_master = Attention(in_dim, dim, MIXED_TEMPERATURE)
        self.bn = nn.BatchNorm1d(dim)

    def forward(self, first_BNI: Tensor, second_BNI: Tensor, master_B1I: Tensor) -> list[Tensor]:
        """The nodes of both kinds and the master node, ``B N O`` and ``B 1 O``."""
        counts = [first_BNI.shape[1], second_BNI.shape[1]]
        nodes_BNI = self.drop(
            torch.cat((self.proj_type1(first_BNI), self.proj_type2(second_BNI)), 1)
        )
        is_second_N = (torch.arange(sum(counts), device=nodes_BNI.device) >= counts[0]).long()
        found_BNO = self.attention(nodes_BNI, nodes_BNI, is_second_N[:, None] + is_second_N)
        master_B1O = self.to_master(master_B1I, nodes_BNI)
        return [*_normalised(self.bn, found_BNO).split(counts, 1), master_B1O]


def _normalised(norm: nn.BatchNorm1d, nodes_BNO: Tensor) -> Tensor:
    return F.selu(norm(nodes_BNO.transpose(1, 2)).transpose(1, 2))


class GraphPool(nn.Module):
    """The share of nodes with the highest scores, each times its score (Gao and Ji, ICML 2019)."""

    def __init__(self, dim: int, ratio: float):
        super().__init__()
        self.ratio = ratio
        self.drop = nn.Dropout(0.3)
        self.proj = nn.Linear(dim, 1)

    def forward(self, nodes_BND: Tensor) -> Tensor:
        score_BN1 = self.proj(self.drop(nodes_BND)).sigmoid()
        kept_BK1 = score_BN1.topk(max(1, int(nodes_BND.shape[1] * self.ratio)), 1).indices
        return (nodes_BND * score_BN1).gather(1, kept_BK1.expand(-1, -1, nodes_BND.shape[2]))


class Branch(nn.Module):
    """Two mixed layers with pooling between them and a shortcut around the second."""

    def __init__(self, in_dim: int, dim: int, ratio: float):
        super().__init__()
        self.master = nn.Parameter(torch.randn(1, 1, in_dim))
        self.layer1, self.layer2 = MixedLayer(in_dim, dim), MixedLayer(dim, dim)
        self.pool_T, self.pool_S = GraphPool(dim, ratio), GraphPool(dim, ratio)
        self.drop = nn.Dropout(0.2)

    def forward(self, temporal_BNI: Tensor, spectral_BNI: Tensor) -> list[Tensor]:
        """Temporal nodes, spectral nodes and the master node."""
        temporal, spectral, master = self.layer1(temporal_BNI, spectral_BNI, self.master)
        found = self.pool_T(temporal), self.pool_S(spectral), master
        return [self.drop(before + after) for before, after in zip(found, self.layer2(*found))]


class AASIST(Backbone):
    """Spectro-temporal graph attention over band-passed samples.

    Jung et al., "AASIST: Audio Anti-Spoofing using Integrated Spectro-Temporal Graph Attention
    Networks" (ICASSP 2022), agreeing with https://github.com/clovaai/aasist and its weights. With the
    head AASIST has 297,866 parameters, 512 of them in layers that its code never uses and that are left
    out here, and 0.83 % EER on ASVspoof 2019 LA eval; AASIST-L (``node_dim`` 24, ``pool_ratios`` 0.4,
    0.5 and 0.7) has 85,306 and 272, and 0.99 %. Both EERs are of the best run and the best epoch on
    eval. Bands are fixed at construction; time is free.

    Args:
        input_dim: filters of the front end.
        channels: channels of the first two residual blocks.
        node_dim: channels of the last four, and size of the nodes of the first graphs.
        graph_dim: size of the nodes behind those; the embedding is five times as large.
        pool_ratios: shares of nodes that are kept of the spectral graph, of the temporal graph and of
            each in the branches that join them.
    """

    min_frames, block_pool = 3**7, 3

    def __init__(
        self,
        input_dim: int,
        channels: int = 32,
        node_dim: int = 64,
        graph_dim: int = 32,
        pool_ratios: tuple[float, float, float] = (0.5, 0.7, 0.5),
    ):
        super().__init__()
        self.embed_dim = 5 * graph_dim
        widths = [1] + [channels] * 2 + [node_dim] * 4
        self.first_bn = nn.BatchNorm2d(1)
        self.encoder = nn.Sequential(*(block(*pair, self.block_pool) for pair in pairwise(widths)))
        self.position = nn.Parameter(torch.randn(1, input_dim // 3, node_dim))
        self.spectral, self.temporal = (
            nn.Sequential(GraphLayer(node_dim, node_dim), GraphPool(node_dim, ratio))
            for ratio in pool_ratios[:2]
        )
        self.branch1, self.branch2 = (Branch(node_dim, graph_dim, pool_ratios[2]) for _ in range(2))
        self.drop = nn.Dropout(0.5)

    def forward(self, frames_BFD: Tensor, frame_lengths_B: Tensor) -> Tensor:
        maps_B1DF = F.max_pool2d(as_maps(frames_BFD).abs(), 3)
        maps_BCDF = self.encoder(F.selu(self.first_bn(maps_B1DF), inplace=True)).abs()
        return self.joined(maps_BCDF.amax(3), maps_BCDF.amax(2))

    def joined(self, bands_BCD: Tensor, frames_BCF: Tensor) -> Tensor:
        """``embedding_BE`` of the nodes of both kinds: bands of the spectrum, and moments."""
        spectral = self.spectral(bands_BCD.transpose(1, 2) + self.position)
        temporal = self.temporal(frames_BCF.transpose(1, 2))
        branches = zip(self.branch1(temporal, spectral), self.branch2(temporal, spectral))
        temporal, spectral, master = (torch.maximum(first, second) for first, second in branches)
        parts = [
            part for nodes in (temporal, spectral) for part in (nodes.abs().amax(1), nodes.mean(1))
        ]
        return self.drop(torch.cat([*parts, master[:, 0]], 1))
