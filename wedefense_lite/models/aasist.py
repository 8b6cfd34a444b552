"""AASIST: graph attention between parts of the spectrum and parts of the utterance.

Letters: B utterances, F frames, D bands, P channels, V nodes of a graph, U nodes that attend, R
relations of pairs, I and O input and output features of a layer.
"""

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wedefense_lite.models.base import Backbone
from wedefense_lite.models.pooling import as_maps
from wedefense_lite.models.rawnet2 import PooledResidual

# Of the softmax over nodes, in the official configuration.
GRAPH_TEMPERATURE = 2.0
MIXED_TEMPERATURE = 100.0


def block(in_channels: int, channels: int, pool: int) -> PooledResidual:
    """Residual block over bands and time that keeps one frame of ``pool``."""
    is_same = in_channels == channels
    return PooledResidual(
        nn.Conv2d(in_channels, channels, (2, 3), padding=(1, 1)),
        nn.BatchNorm2d(channels),
        nn.SELU(inplace=True),
        nn.Conv2d(channels, channels, (2, 3), padding=(0, 1)),
        nn.Identity() if is_same else nn.Conv2d(in_channels, channels, (1, 3), padding=(0, 1)),
        nn.MaxPool2d((1, pool)),
    )


class GraphAttention(nn.Module):
    """Attention of queries to nodes, by the product of a query and a node.

    Args:
        in_dim: size of queries and nodes (I).
        dim: size of the output (O).
        temperature: divisor of the scores before their softmax over the nodes.
        relations: number of relations of pairs (R), each with scores of its own.
    """

    def __init__(self, in_dim: int, dim: int, temperature: float, relations: int = 1):
        super().__init__()
        self.temperature = temperature
        self.att_proj = nn.Linear(in_dim, dim)
        weights = [nn.init.xavier_normal_(torch.empty(dim, 1)) for _ in range(relations)]
        self.att_weights = nn.ParameterList(weights)
        self.proj_with_att = nn.Linear(in_dim, dim)
        self.proj_without_att = nn.Linear(in_dim, dim)

    def forward(
        self, query_BUI: Tensor, nodes_BVI: Tensor, relation_UV: Tensor | None = None
    ) -> Tensor:
        """``output_BUO``.

        Args:
            query_BUI: nodes that attend.
            nodes_BVI: nodes that are attended to.
            relation_UV: number of the relation of each pair; None: all have relation 0.
        """
        hidden_BUVO = torch.tanh(self.att_proj(query_BUI[:, :, None] * nodes_BVI[:, None]))
        score_BUVR = hidden_BUVO @ torch.cat(tuple(self.att_weights), 1)
        if relation_UV is not None:
            relation_BUV = relation_UV.expand(len(nodes_BVI), -1, -1)
            score_BUVR = score_BUVR.gather(3, relation_BUV[..., None])
        share_BUV = (score_BUVR[..., 0] / self.temperature).softmax(2)
        gathered_BUI = share_BUV @ nodes_BVI
        return self.proj_with_att(gathered_BUI) + self.proj_without_att(query_BUI)


class GraphLayer(nn.Module):
    """Nodes of one graph attend to each other (Veličković et al., ICLR 2018)."""

    def __init__(self, in_dim: int, dim: int):
        super().__init__()
        self.drop = nn.Dropout(0.2)
        self.attention = GraphAttention(in_dim, dim, GRAPH_TEMPERATURE)
        self.bn = nn.BatchNorm1d(dim)

    def forward(self, nodes_BVI: Tensor) -> Tensor:
        nodes_BVI = self.drop(nodes_BVI)
        return _normalise(self.bn, self.attention(nodes_BVI, nodes_BVI))


class MixedLayer(nn.Module):
    """Nodes of two graphs attend to each other, and a master node to all: HS-GAL of the paper."""

    def __init__(self, in_dim: int, dim: int):
        super().__init__()
        self.proj_type1 = nn.Linear(in_dim, in_dim)
        self.proj_type2 = nn.Linear(in_dim, in_dim)
        self.drop = nn.Dropout(0.2)
        self.attention = GraphAttention(in_dim, dim, MIXED_TEMPERATURE, relations=3)
        self.to_master = GraphAttention(in_dim, dim, MIXED_TEMPERATURE)
        self.bn = nn.BatchNorm1d(dim)

    def forward(self, first_BVI: Tensor, second_BVI: Tensor, master_B1I: Tensor) -> list[Tensor]:
        """Nodes of both graphs ``BVO``, and the master node ``B1O``."""
        counts = [first_BVI.shape[1], second_BVI.shape[1]]
        projected = torch.cat((self.proj_type1(first_BVI), self.proj_type2(second_BVI)), 1)
        nodes_BVI = self.drop(projected)
        # Relations: 0 within the first graph, 1 between the graphs, 2 within the second.
        is_second_V = (torch.arange(sum(counts), device=nodes_BVI.device) >= counts[0]).long()
        relation_UV = is_second_V[:, None] + is_second_V
        attended_BVO = self.attention(nodes_BVI, nodes_BVI, relation_UV)
        master_B1O = self.to_master(master_B1I, nodes_BVI)
        first_BVO, second_BVO = _normalise(self.bn, attended_BVO).split(counts, 1)
        return [first_BVO, second_BVO, master_B1O]


def _normalise(norm: nn.BatchNorm1d, nodes_BVO: Tensor) -> Tensor:
    return F.selu(norm(nodes_BVO.transpose(1, 2)).transpose(1, 2))


class GraphPool(nn.Module):
    """Share of the nodes with the highest scores, each times its score (Gao and Ji, ICML 2019)."""

    def __init__(self, dim: int, ratio: float):
        super().__init__()
        self.ratio = ratio
        self.drop = nn.Dropout(0.3)
        self.proj = nn.Linear(dim, 1)

    def forward(self, nodes_BVD: Tensor) -> Tensor:
        score_BV1 = self.proj(self.drop(nodes_BVD)).sigmoid()
        num_nodes, dim = nodes_BVD.shape[1:]
        num_kept = max(1, int(num_nodes * self.ratio))
        kept = score_BV1.topk(num_kept, 1).indices
        return (nodes_BVD * score_BV1).gather(1, kept.expand(-1, -1, dim))


class GraphBranch(nn.Module):
    """Two mixed layers with pooling between them, and a shortcut around the second one."""

    def __init__(self, in_dim: int, dim: int, ratio: float):
        super().__init__()
        self.master = nn.Parameter(torch.randn(1, 1, in_dim))
        self.layer1 = MixedLayer(in_dim, dim)
        self.layer2 = MixedLayer(dim, dim)
        self.pool_T = GraphPool(dim, ratio)
        self.pool_S = GraphPool(dim, ratio)
        self.drop = nn.Dropout(0.2)

    def forward(self, temporal_BVI: Tensor, spectral_BVI: Tensor) -> list[Tensor]:
        """Temporal nodes, spectral nodes and the master node."""
        temporal, spectral, master = self.layer1(temporal_BVI, spectral_BVI, self.master)
        temporal = self.pool_T(temporal)
        spectral = self.pool_S(spectral)
        inputs = [temporal, spectral, master]
        outputs = self.layer2(temporal, spectral, master)
        return [self.drop(before + after) for before, after in zip(inputs, outputs)]


class AASIST(Backbone):
    """Spectro-temporal graph attention over band-passed samples.

    The number of bands is fixed at construction; the number of frames is free. With the head,
    AASIST has 297,866 parameters in the official code, 512 of them in layers without use that are
    left out here, and a published EER of 0.83 % on ASVspoof 2019 LA eval. AASIST-L (``node_dim``
    24, ``pool_ratios`` 0.4, 0.5 and 0.7) has 85,306 and 272, and 0.99 %. Both EERs are of the best
    run and the best epoch on eval.

    Source: Jung et al., "AASIST: Audio Anti-Spoofing using Integrated Spectro-Temporal Graph
    Attention Networks" (ICASSP 2022); it agrees with https://github.com/clovaai/aasist and its
    weights.

    Args:
        input_dim: filters of the front end.
        channels: channels of the first two residual blocks.
        node_dim: channels of the last four blocks, and size of the nodes of the first graphs.
        graph_dim: size of the nodes of the branches; the embedding is five times as large.
        pool_ratios: share of nodes that pooling keeps in the spectral graph, in the temporal graph,
            and in the branches.
    """

    min_frames = 3**7  # one pooling by three, and six blocks
    block_pool = 3

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
        blocks = []
        for in_width, width in pairwise(widths):
            blocks.append(block(in_width, width, self.block_pool))
        self.encoder = nn.Sequential(*blocks)
        self.position = nn.Parameter(torch.randn(1, input_dim // 3, node_dim))
        spectral_ratio, temporal_ratio, branch_ratio = pool_ratios
        self.spectral = nn.Sequential(
            GraphLayer(node_dim, node_dim), GraphPool(node_dim, spectral_ratio)
        )
        self.temporal = nn.Sequential(
            GraphLayer(node_dim, node_dim), GraphPool(node_dim, temporal_ratio)
        )
        self.branch1 = GraphBranch(node_dim, graph_dim, branch_ratio)
        self.branch2 = GraphBranch(node_dim, graph_dim, branch_ratio)
        self.drop = nn.Dropout(0.5)

    def forward(self, frames_BFD: Tensor, frame_lengths_B: Tensor) -> Tensor:
        maps_B1DF = F.max_pool2d(as_maps(frames_BFD).abs(), 3)
        maps_BPDF = self.encoder(F.selu(self.first_bn(maps_B1DF), inplace=True)).abs()
        return self.join_graphs(maps_BPDF.amax(3), maps_BPDF.amax(2))

    def join_graphs(self, bands_BPD: Tensor, frames_BPF: Tensor) -> Tensor:
        """``embedding_BE`` of nodes of the spectrum, which are bands, and of time, which are
        frames.
        """
        spectral = self.spectral(bands_BPD.transpose(1, 2) + self.position)
        temporal = self.temporal(frames_BPF.transpose(1, 2))
        first = self.branch1(temporal, spectral)
        second = self.branch2(temporal, spectral)
        temporal = torch.maximum(first[0], second[0])
        spectral = torch.maximum(first[1], second[1])
        master = torch.maximum(first[2], second[2])
        pooled = [
            temporal.abs().amax(1),
            temporal.mean(1),
            spectral.abs().amax(1),
            spectral.mean(1),
            master[:, 0],
        ]
        return self.drop(torch.cat(pooled, 1))
