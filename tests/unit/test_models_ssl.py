"""Back ends on the frames of self-supervised encoders: published sizes, blocks worked out by hand,
any length.
"""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from wedefense_lite.files import InputError
from wedefense_lite.models.mhfa import MHFA, FrameMHFA
from wedefense_lite.models.nes2net import Nes2Net, Nes2NetX, Stack
from wedefense_lite.models.sls import SLS
from wedefense_lite.models.spectra import Spectra
from wedefense_lite.models.ssl_aasist import SSLAASIST
from wedefense_lite.models.utterance_gmlp import UtteranceGMLP
from wedefense_lite.models.weighted_sum import LayerSum, WeightedSum

torch.set_num_threads(1)
LAYERS, HIDDEN = 3, 16
LAYERED = [
    lambda: WeightedSum(LAYERS * HIDDEN, LAYERS, 8),
    lambda: WeightedSum(LAYERS * HIDDEN, LAYERS, 8, "statistics"),
    lambda: MHFA(LAYERS * HIDDEN, LAYERS, heads=4, compressed_dim=6, embed_dim=8),
    lambda: SLS(LAYERS * HIDDEN, LAYERS, embed_dim=8, pooled_frames=5),
    lambda: UtteranceGMLP(LAYERS * HIDDEN, LAYERS, width=16, blocks=2, kernel=5),
]
ALL = [
    *LAYERED,
    lambda: Nes2Net(LAYERS * HIDDEN, scale=4),
    lambda: Nes2NetX(LAYERS * HIDDEN, scale=4),
    lambda: SSLAASIST(LAYERS * HIDDEN, 12, channels=4, node_dim=8, graph_dim=4),
    lambda: Spectra(LAYERS * HIDDEN, channels=8, joined_channels=12, scale=2),
]


def random(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def filled(module: nn.Module, **values) -> nn.Module:
    """The module in evaluation mode, with parameters of it set to numbers, under their names with
    ``__`` for dots.
    """
    for name, value in values.items():
        nn.init.constant_(module.get_parameter(name.replace("__", ".")), value)
    return module.eval()


@pytest.mark.parametrize(
    ("model", "with_head", "published", "unused"),
    [
        (lambda: MHFA(13 * 768, 13), False, 1_249_850, 0),
        (lambda: MHFA(25 * 1024, 25), False, 1_315_410, 0),
        (lambda: SLS(25 * 1024), True, 23_399_429, 0),
        (lambda: Nes2NetX(1024), True, 512_039, 0),
        (lambda: Nes2Net(1024), True, 512_039 - 7 * sum(range(2, 9)), 0),
        (lambda: SSLAASIST(1024), True, 447_242, 512),
    ],
)
def test_back_ends_have_their_published_sizes(model, with_head, published, unused):
    """Published are 1.25 M, 23,399 k, 511 k and 447 k; Nes2Net lacks seven times seven lists of
    weights. The official AASIST has batch norms besides that reach no output, of 32, 32, 64, 64 and
    64 channels."""
    with torch.device("meta"):
        model = model()
    count = sum(parameter.numel() for parameter in model.parameters()) + with_head * 2 * (
        model.embed_dim + 1
    )
    assert count == published - unused


def test_layers_count_by_the_softmax_of_their_weights():
    layers = LayerSum(6, 3)
    frames = torch.tensor([[[1.0, 2.0, 10.0, 20.0, 100.0, 200.0]]])
    torch.testing.assert_close(layers(frames), torch.tensor([[[37.0, 74.0]]]))
    with torch.no_grad():
        layers.weights_L.copy_(torch.tensor([1.0, 2.0, 5.0]).log())
    torch.testing.assert_close(layers(frames), torch.tensor([[[521 / 8, 1042 / 8]]]))


@pytest.mark.parametrize("cls", [WeightedSum, MHFA, SLS, UtteranceGMLP])
def test_features_of_other_layers_are_refused(cls):
    with pytest.raises(
        InputError, match="num_layers is 25, but a frame has 9984 features, no multiple of it"
    ):
        cls(13 * 768)


def test_features_that_make_no_groups_of_groups_are_refused():
    with pytest.raises(
        InputError, match="a frame has 80 features, expected a multiple of 64: scale is 8"
    ):
        Nes2NetX(80)
    with pytest.raises(InputError, match="12 channels, expected a multiple of the scale, 8"):
        Spectra(80, channels=12)


def test_a_weighted_sum_is_pooled_over_its_own_frames():
    frames, lengths = torch.tensor([[[1.0, 3.0], [3.0, 5.0], [0.0, 0.0]]]), torch.tensor([2])
    options = {"project__weight": 2.0, "project__bias": 1.0}
    assert filled(WeightedSum(2, 2, 1), **options)(frames, lengths).tolist() == [[7.0]]
    found = filled(WeightedSum(2, 2, 1, "statistics"), **options)(frames, lengths)
    torch.testing.assert_close(found, torch.tensor([[7.0, 8**0.5]]))  # of 5 and 9


def test_mhfa_by_hand():
    """Softmax over time of each head's scores on the keys, times values, then a linear layer."""
    model, frames = MHFA(6, 3, heads=2, compressed_dim=4, embed_dim=5).eval(), random(1, 7, 6)
    with torch.no_grad():
        model.key[0].weights_L.copy_(torch.tensor([5.0, 0.0, 0.0]))
        model.value[0].weights_L.copy_(torch.tensor([0.0, 0.0, 5.0]))
        found = model(frames, torch.tensor([5]))[0].numpy()
    weights = {name: value.numpy() for name, value in model.state_dict().items()}
    layers = frames[0, :5].numpy().reshape(5, 3, 2)

    def through(values, name):
        return values @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]

    def compressed(name):
        shares = np.exp(weights[f"{name}.0.weights_L"])
        return through((layers * (shares / shares.sum())[:, None]).sum(1), f"{name}.1")

    scores = np.exp(through(compressed("key"), "attention"))
    pooled = (scores / scores.sum(0)).T @ compressed("value")
    np.testing.assert_allclose(found, through(pooled.reshape(-1), "embed"), rtol=1e-5, atol=1e-6)


def test_frames_of_mhfa_add_up_to_its_mean_over_the_heads():
    frames_BFD = random(2, 7, 6)
    lengths_B = torch.tensor([7, 4])
    whole = MHFA(6, 3, heads=2, compressed_dim=4, embed_dim=5).eval()
    model = FrameMHFA(6, 3, heads=2, compressed_dim=4).eval()
    state = whole.state_dict()
    model.load_state_dict({name: state[name] for name in model.state_dict()})
    embedding_BGE, _ = model(frames_BFD, lengths_B)
    weights_BHF, values_BFO = whole.attend(frames_BFD, lengths_B)
    expected_BE = (weights_BHF @ values_BFO).mean(1)
    torch.testing.assert_close(embedding_BGE.sum(1), expected_BE)
    assert (embedding_BGE[1, 4:] == 0).all()


def test_sls_is_the_official_one_where_that_works():
    """201 frames: the sum of gated layers, maxima over 3 x 3, flattened frame by frame."""
    model, frames, lengths = (
        SLS(2 * 10, 2, embed_dim=4).eval(),
        random(2, 201, 20),
        torch.tensor([201, 201]),
    )
    seen = []
    model.embed.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    found = model(frames, lengths)
    layers = frames.unflatten(2, (2, 10)).transpose(1, 2)
    gates = torch.sigmoid(layers.mean(2) @ model.gate.weight[0] + model.gate.bias)
    maps = F.selu(model.norm((layers * gates[..., None, None]).sum(1)[:, None]))
    torch.testing.assert_close(seen[0], F.max_pool2d(maps, 3).flatten(1))
    assert seen[0].shape == (2, 67 * 3)
    torch.testing.assert_close(found, F.selu(model.embed(seen[0])))


def test_a_stack_by_hand():
    """The middle tap of each convolution is one, and batch norm does nothing: what is left are
    weighted sums.
    """
    stack, frames = (
        Stack(4, dilation=2, scale=4).eval(),
        torch.tensor([[[1.0, 2.0], [4.0, 1.0], [7.0, 0.0], [3.0, 6.0]]]),
    )
    for branch in stack.branches:
        branch[2].eps = 0.0
        nn.init.zeros_(branch[0].bias)
        nn.init.constant_(branch[0].weight, 0.0)
        branch[0].weight.data[:, :, 1] = 1.0
    expected = torch.tensor([[[2.0, 4.0], [8 / 3, 3.0], [15 / 4, 9 / 4], [3.0, 6.0]]])
    torch.testing.assert_close(stack(frames), expected)
    stack.branches[0][0].weight.data[:, :, 1] = (
        2.0  # what is in the stack is convolved at each further group, too
    )
    expected = torch.tensor([[[4.0, 8.0], [4.0, 17 / 3], [19 / 4, 17 / 4], [3.0, 6.0]]])
    torch.testing.assert_close(stack(frames), expected)


@pytest.mark.parametrize("cls", [Nes2Net, Nes2NetX])
def test_nes2net_nests_without_a_projection(cls):
    """Blocks that double what they get: each group has the result of the group before it added."""
    model, frames = cls(16, scale=4).eval(), random(1, 3, 16)
    for branch in model.layers[0].branches:
        branch[0] = nn.Upsample(scale_factor=1)
        branch[2].eps = 0.0
    model.layers[1].eps = 0.0
    first, second, third, last = frames[0].T.split(4)
    first = F.relu(first)
    second = F.relu(first + second)
    expected = torch.cat((first, second, F.relu(second + third), F.relu(last))).mean(1)
    torch.testing.assert_close(model(frames, torch.tensor([3]))[0], expected)


def test_nodes_of_ssl_aasist_are_weighted_means_of_the_published_map(monkeypatch):
    model, seen = SSLAASIST(20).eval(), {}
    model.encoder.register_forward_hook(lambda _, __, maps: seen.update(maps=maps))
    monkeypatch.setattr(model, "join_graphs", lambda *nodes: seen.update(nodes=nodes))
    frames, lengths = random(1, 201, 20), torch.tensor([201])
    nn.init.zeros_(model.attention[3].weight)
    nn.init.zeros_(model.attention[3].bias)
    model(frames, lengths)
    assert seen["maps"].shape == (1, 64, 42, 67)
    maps = F.selu(model.last_bn(seen["maps"]))
    torch.testing.assert_close(seen["nodes"], (maps.mean(3), maps.mean(2)))
    model.attention[3].reset_parameters()
    model(frames, lengths)
    weights = model.attention(maps).exp()
    expected = [(maps * weights).sum(axis) / weights.sum(axis) for axis in (3, 2)]
    torch.testing.assert_close(seen["nodes"], tuple(expected))


def test_blocks_of_spectra_see_the_sum_of_all_before(monkeypatch):
    model, seen = Spectra(5, channels=2, joined_channels=3, scale=1).eval(), []
    model.blocks = nn.ModuleList(nn.Conv1d(2, 2, 1, bias=False) for _ in range(4))
    for block in model.blocks:
        block.weight.data = 2 * torch.eye(2)[..., None]
    model.first.register_forward_hook(lambda _, __, frames: seen.append(frames))
    model.join.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    model(random(1, 4, 5), torch.tensor([4]))
    torch.testing.assert_close(
        seen[1], torch.cat([factor * seen[0] for factor in (2, 6, 18, 54)], 1)
    )


@pytest.mark.parametrize("seconds", [1, 10])
@pytest.mark.parametrize("build", ALL)
def test_any_length_works_and_a_batch_is_its_utterances(build, seconds):
    torch.manual_seed(0)
    model, count = build().eval(), 50 * seconds - 1
    frames = random(3, count, LAYERS * HIDDEN)
    found = model(frames, torch.full((3,), count))
    assert found.shape == (3, model.embed_dim) and found.isfinite().all()
    singles = [model(frame[None], torch.tensor([count])) for frame in frames]
    torch.testing.assert_close(torch.cat(singles), found, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("build", LAYERED)
def test_padding_changes_nothing(build):
    torch.manual_seed(0)
    model, frames = build().eval(), random(2, 30, LAYERS * HIDDEN)
    frames[1, 20:] = 0
    alone = model(frames[1:, :20], torch.tensor([20]))
    torch.testing.assert_close(
        model(frames, torch.tensor([30, 20]))[1:], alone, rtol=1e-5, atol=1e-5
    )
