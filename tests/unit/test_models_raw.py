"""Raw-waveform systems: filters and graph layers worked out by hand, published sizes, any
length.
"""

import math

import numpy as np
import pytest
import torch

from wedefense_lite.files import InputError
from wedefense_lite.frontends import SpecAugment
from wedefense_lite.frontends.raw import Raw, Sinc
from wedefense_lite.heads import CrossEntropy
from wedefense_lite.models.aasist import AASIST, GraphAttention, GraphPool, MixedLayer
from wedefense_lite.models.raw_cnn import RawCNN
from wedefense_lite.models.rawnet2 import FeatureMapScaling, RawNet2
from wedefense_lite.systems.batch import Batch
from wedefense_lite.systems.tasks import Detection

torch.set_num_threads(1)
RATE = 16000
AASIST_L = {"node_dim": 24, "pool_ratios": (0.4, 0.5, 0.7)}


def noise(batch: int, samples: int) -> torch.Tensor:
    return torch.randn(batch, samples, generator=torch.Generator().manual_seed(0)) * 0.1


def system(frontend, model, **options) -> Detection:
    torch.manual_seed(0)
    return Detection(frontend, lambda dim: model(dim, **options), CrossEntropy).eval()


@pytest.mark.parametrize(("filters", "kernel"), [(70, 129), (20, 1025)])
def test_a_sinc_filter_is_a_difference_of_windowed_low_passes(filters, kernel):
    """By hand for one filter of each bank: edges in mel, numpy.sinc, a Hamming window."""
    number, top = 7, 2595 * math.log10(1 + 8000 / 700)
    low, high = (700 * (10 ** (top * edge / filters / 2595) - 1) for edge in (number, number + 1))
    time = np.arange(kernel) - kernel // 2
    band = 2 * high / RATE * np.sinc(2 * high / RATE * time) - 2 * low / RATE * np.sinc(
        2 * low / RATE * time
    )
    window = 0.54 - 0.46 * np.cos(2 * np.pi * np.arange(kernel) / (kernel - 1))
    found = Sinc(filters, kernel).filters_D1W
    assert found.shape == (filters, 1, kernel)
    np.testing.assert_allclose(found[number, 0].numpy(), band * window, rtol=0, atol=1e-7)


def test_a_tone_comes_out_of_the_filter_that_it_lies_in():
    sinc = Sinc(20, 1025)
    frames, lengths = sinc(
        torch.sin(2 * torch.pi * 1100 / RATE * torch.arange(RATE))[None], torch.tensor([RATE])
    )
    assert frames.shape == (1, RATE - 1024, 20) and lengths.tolist() == [RATE - 1024]
    power = frames[0].square().mean(0)
    # 1100 Hz are 1064 mel, and each of the 20 filters is 142 mel wide.
    assert power.argmax() == 7
    assert power[7] == pytest.approx(0.5, rel=0.05)
    assert sinc(torch.ones(1, 1025), torch.tensor([1025]))[0].shape == (1, 1, 20)


def test_filters_are_no_parameters_and_not_in_the_state():
    assert not list(Sinc().parameters()) and not Sinc().state_dict()


@pytest.mark.parametrize("frontend", [Raw(), Raw(0.97), Sinc(5, 129)])
def test_padding_changes_nothing(frontend):
    wav, lengths = noise(3, 1000), torch.tensor([1000, 500, 129])
    wav *= torch.arange(1000) < lengths[:, None]
    frames, frame_lengths = frontend(wav, lengths)
    for row, length, frame, frame_length in zip(wav, lengths, frames, frame_lengths):
        alone, _ = frontend(row[None, :length], length[None])
        torch.testing.assert_close(frame[:frame_length], alone[0])
        assert (frame[frame_length:] == 0).all()


def test_the_raw_waveform_and_its_pre_emphasis():
    wav, lengths = torch.tensor([[1.0, 2.0, 4.0]]), torch.tensor([3])
    assert Raw()(wav, lengths)[0].tolist() == [[[1.0], [2.0], [4.0]]]
    torch.testing.assert_close(Raw(0.5)(wav, lengths)[0][..., 0], torch.tensor([[1.0, 1.5, 3.0]]))


def test_sinc_stays_in_float32_under_autocast_and_refuses_what_is_too_short():
    wav, lengths = noise(1, 400), torch.tensor([400])
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(Sinc()(wav, lengths)[0], Sinc()(wav, lengths)[0].float())
        assert Sinc()(wav, lengths)[0].dtype == torch.float32
    with pytest.raises(ValueError, match="128 samples are too short .* 129"):
        Sinc()(wav, torch.tensor([128]))


def test_models_get_the_filter_outputs_without_a_copy():
    frames, _ = Sinc()(noise(2, 400), torch.tensor([400, 400]))
    assert frames.transpose(1, 2).is_contiguous()


def test_masked_sinc_bands_are_neighbours_and_each_utterances_own():
    torch.manual_seed(0)
    frames = torch.rand(200, 3, 70) + 1
    masked = (SpecAugment(p=1.0, time_masks=0, max_bins=20).train()(frames) != frames).all(1)
    widths = masked.sum(1)
    assert widths.min() == 0 and widths.max() == 20
    assert ((masked[:, 1:] & ~masked[:, :-1]).sum(1) <= 1).all()
    assert len(torch.unique(masked, dim=0)) > 150


@pytest.mark.parametrize(
    ("model", "published", "unused"),
    [
        (lambda: system(Sinc(), AASIST), 297_866, 512),
        (lambda: system(Sinc(), AASIST, **AASIST_L), 85_306, 272),
        (lambda: system(Sinc(20, 1025), RawNet2), 17_621_410, 848),
        (lambda: system(Raw(), RawCNN), 37_184 + 258, 0),
    ],
)
def test_systems_have_their_published_sizes(model, published, unused):
    """The official code has batch norms besides that reach no output: weight and bias of the inputs
    of every block but the first, 2 x (2 x 32 + 3 x 64), 2 x (2 x 32 + 3 x 24) and 2 x (2 x 20 + 3 x
    128)."""
    assert sum(parameter.numel() for parameter in model().parameters()) == published - unused


@pytest.mark.parametrize(
    ("frontend", "model", "options"),
    [
        (Sinc(9, 65), AASIST, {"channels": 4, "node_dim": 8}),
        (Sinc(4, 65), RawNet2, {"channels": 6, "embed_dim": 8}),
    ],
)
def test_models_of_samples_take_2187_frames_and_name_what_is_shorter(frontend, model, options):
    def batch(frames: int) -> Batch:
        samples = frames + 64
        return Batch(
            ["one", "two"], noise(2, samples), torch.full((2,), samples), torch.tensor([0, 1])
        )

    task = system(frontend, model, **options)
    assert task.embed(batch(2187)).isfinite().all()
    with pytest.raises(
        InputError, match=rf"one, two: 2186 frames, but {model.__name__} needs at least 2187"
    ):
        task.embed(batch(2186))


@pytest.mark.parametrize("samples", [1, 31, 160, 1601])
def test_the_raw_cnn_takes_any_length_and_leaves_padding_out(samples):
    task = system(Raw(), RawCNN).model
    frames, padded = noise(1, samples)[..., None], torch.zeros(1, samples + 4000, 1)
    padded[:, :samples] = frames
    alone = task(frames, torch.tensor([samples]))
    assert alone.isfinite().all()
    torch.testing.assert_close(task(padded, torch.tensor([samples])), alone)


def test_rawnet2_ends_at_each_utterances_last_frame():
    """With the scaling of the maps held still, only convolutions at the end hear of what comes
    after.
    """
    model = system(Sinc(4, 65), RawNet2, channels=6, embed_dim=8).model
    for block in model.blocks:
        torch.nn.init.zeros_(block[1].linear.weight)
    frames = noise(1, 8 * 2187 * 4).reshape(1, -1, 4)
    lengths = torch.tensor([4 * 2187]), torch.tensor([8 * 2187])
    alone = model(frames[:, : 4 * 2187], lengths[0])
    near, far = ((model(frames, length) - alone).norm() for length in lengths)
    assert near < 0.3 * far


def test_feature_map_scaling_multiplies_and_adds():
    scaling = FeatureMapScaling(1)
    torch.nn.init.constant_(scaling.linear.weight, math.log(3))
    torch.nn.init.zeros_(scaling.linear.bias)
    maps = torch.tensor([[[0.0, 2.0]]])  # mean 1, scale 3 / 4
    torch.testing.assert_close(scaling(maps), torch.tensor([[[0.75, 2.25]]]))


def plain_attention(kinds: int = 1, temperature: float = 1.0) -> GraphAttention:
    """One value a node, score weights 1, 2 and 3 for the kinds; what is attended times 10, itself
    times 1.
    """
    attention = GraphAttention(1, 1, temperature, kinds)
    with torch.no_grad():
        for layer, weight in [
            ("att_proj", 1.0),
            ("proj_with_att", 10.0),
            ("proj_without_att", 1.0),
        ]:
            getattr(attention, layer).weight.fill_(weight)
            getattr(attention, layer).bias.zero_()
        for kind, weight in enumerate(attention.att_weights):
            weight.fill_(kind + 1.0)
    return attention


def test_attention_by_hand():
    nodes = torch.tensor([[[1.0], [2.0]]])
    scores = np.tanh([[1.0, 2.0], [2.0, 4.0]]) / 2
    shares = np.exp(scores) / np.exp(scores).sum(1, keepdims=True)
    expected = 10 * shares @ [1.0, 2.0] + [1.0, 2.0]
    found = plain_attention(temperature=2.0)(nodes, nodes)
    np.testing.assert_allclose(found[0, :, 0].detach().numpy(), expected, rtol=1e-6)


def test_each_kind_of_pair_has_scores_of_its_own():
    nodes = torch.tensor([[[1.0], [2.0]]])
    scores = np.tanh([[1.0, 2.0], [2.0, 4.0]]) * [[1, 2], [2, 3]]
    shares = np.exp(scores) / np.exp(scores).sum(1, keepdims=True)
    expected = 10 * shares @ [1.0, 2.0] + [1.0, 2.0]
    found = plain_attention(kinds=3)(nodes, nodes, torch.tensor([[0, 1], [1, 2]]))
    np.testing.assert_allclose(found[0, :, 0].detach().numpy(), expected, rtol=1e-6)


def test_a_mixed_layer_tells_the_two_kinds_apart():
    layer = MixedLayer(4, 4).eval()
    first, second, master = (
        noise(2, 12).reshape(2, 3, 4),
        noise(2, 20).reshape(2, 5, 4),
        noise(1, 4)[None],
    )
    found = layer(first, second, master)
    assert [tuple(part.shape) for part in found] == [(2, 3, 4), (2, 5, 4), (2, 1, 4)]
    seen = []
    layer.attention.register_forward_hook(
        lambda _module, inputs, _output: seen.append(inputs[2].tolist())
    )
    layer(first[:, :1], second[:, :2], master)
    assert seen == [[[0, 1, 1], [1, 2, 2], [1, 2, 2]]]


def test_graph_pooling_keeps_the_highest_scores_times_themselves():
    pool = GraphPool(1, 0.7).eval()
    torch.nn.init.ones_(pool.proj.weight)
    torch.nn.init.zeros_(pool.proj.bias)
    nodes = torch.tensor([[[1.0], [-1.0], [3.0], [2.0]]])
    expected = nodes.sigmoid() * nodes
    torch.testing.assert_close(pool(nodes), expected[:, [2, 3]])  # int(4 x 0.7) = 2
    assert pool(nodes[:, :1]).shape == (1, 1, 1)
