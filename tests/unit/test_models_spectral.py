"""Blocks and backbones on spectra: sizes from their papers' tables, and what is special worked out
by hand.
"""

import math
from functools import partial

import pytest
import torch
from torch import nn

from wedefense_lite.files import InputError
from wedefense_lite.frontends import Fbank
from wedefense_lite.heads import CrossEntropy
from wedefense_lite.models.blocks import Res2, SqueezeExcitation
from wedefense_lite.models.eabn import EABN
from wedefense_lite.models.ecapa import ECAPA
from wedefense_lite.models.efficientnet import A0, STEM, TOP, EfficientNetA0
from wedefense_lite.models.lcnn import LCNNLSTM
from wedefense_lite.models.pooling import AttentiveStatistics, as_maps, halved, mean_over_time
from wedefense_lite.models.res2net import SERes2Net
from wedefense_lite.models.resnet import ResNet
from wedefense_lite.systems.batch import Batch
from wedefense_lite.systems.tasks import Detection

torch.set_num_threads(1)


def parameters(make, *arguments, **options) -> int:
    with torch.device("meta"):  # sizes without weights
        return sum(parameter.numel() for parameter in make(*arguments, **options).parameters())


class Times(nn.Module):
    """Multiplies by a number: a layer whose results can be followed."""

    def __init__(self, factor: float):
        super().__init__()
        self.factor = factor

    def forward(self, values):
        return values * self.factor


def small_trunk(dim: int) -> ResNet:
    return ResNet(dim, channels=4, blocks=(1, 1), embed_dim=6)


# Sizes


def test_published_sizes():
    """In millions: NII's LCNN-LSTM (with its output layer of one logit) and WeSpeaker's
    ECAPA-TDNN-512.
    """
    assert round((parameters(LCNNLSTM, 60) + 96 + 1) / 1e6, 3) == 0.270
    assert round(parameters(ECAPA, 80) / 1e6, 2) == 6.19
    assert round(parameters(ECAPA, 80, global_context=False) / 1e6, 2) == 5.80


def test_se_res2net50_has_the_size_of_its_official_layers():
    def norm(channels):
        return 2 * channels

    count = 9 * (16 + 2 * 16 * 16) + 3 * norm(16)
    before = 16
    for planes, width, blocks in [(16, 6, 3), (32, 13, 4), (64, 26, 6), (128, 52, 3)]:
        out = 2 * planes
        count += before * out + norm(out)  # shortcut
        for _ in range(blocks):
            count += before * 4 * width + norm(4 * width) + 3 * (9 * width**2 + norm(width))
            count += 4 * width * out + norm(out) + 2 * out * (out // 16)
            before = out
    assert parameters(SERes2Net, 60) == count


def test_squeeze_and_excitation_adds_its_layers_to_every_block_of_resnet18():
    added = [2 * width * (width // 16) + width // 16 + width for width in (32, 64, 128, 256)]
    assert parameters(ResNet, 80, se_ratio=16) - parameters(ResNet, 80) == 2 * sum(added)


def test_efficientnet_a0_is_b0_scaled():
    """Width 0.25 and depth 0.2, rounded as EfficientNet does."""

    def width(channels):
        rounded = max(8, int(channels * 0.25 + 4) // 8 * 8)
        return rounded + 8 if rounded < 0.9 * channels * 0.25 else rounded

    b0 = [(1, 1, 16, 3, 1), (2, 6, 24, 3, 2), (2, 6, 40, 5, 2), (3, 6, 80, 3, 2)]
    b0 += [(3, 6, 112, 5, 1), (4, 6, 192, 5, 2), (1, 6, 320, 3, 1)]
    scaled = [
        (math.ceil(0.2 * repeats), expansion, width(out), *rest)
        for repeats, expansion, out, *rest in b0
    ]
    assert scaled == [(1, *block) for block in A0]
    assert (width(32), width(1280)) == (STEM, TOP)


def test_initial_weights_of_res2net_by_the_outputs_of_a_convolution():
    torch.manual_seed(0)
    model = SERes2Net(60, kaiming=True)
    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Conv2d) and module.weight.numel() > 4000:
            outputs = module.out_channels * module.kernel_size[0] * module.kernel_size[1]
            deviation = float(module.weight.detach().std())
            assert deviation == pytest.approx((2 / outputs) ** 0.5, rel=0.05), name


@pytest.mark.parametrize("frames", [1, 2, 31, 33])
@pytest.mark.parametrize("model", [SERes2Net(9, channels=4), EfficientNetA0(9)])
def test_lengths_shrink_as_the_maps_do(model, frames):
    layers = (
        model.layers
        if isinstance(model, EfficientNetA0)
        else nn.Sequential(model.stem, model.stages)
    )
    shape = layers.eval()(as_maps(torch.rand(1, frames, 9))).shape
    assert (shape[2], shape[3]) == (halved(9, model.halvings), halved(frames, model.halvings))


def test_maps_are_pooled_over_valid_frames():
    """With averages in the place of all layers, which look across no edge."""
    res2net, efficientnet = SERes2Net(20, channels=4), EfficientNetA0(20)
    res2net.stem, res2net.stages = nn.Identity(), nn.AvgPool2d((1, 8), ceil_mode=True)
    efficientnet.layers, efficientnet.embed = nn.AvgPool2d((1, 32), ceil_mode=True), nn.Identity()
    frames, lengths = torch.rand(2, 96, 20), torch.tensor([96, 32])
    for model in (res2net, efficientnet):
        found = model(frames, lengths)
        torch.testing.assert_close(found[1], model(frames[1:, :32], lengths[1:])[0])
        torch.testing.assert_close(
            found[:, 0], torch.stack([frames[0].mean(), frames[1, :32].mean()])
        )


# Blocks


@pytest.mark.parametrize("name", ["SERes2Net", "EABN"])
def test_slices_in_scoring_by_hand(name):
    """10 frames in slices of 4: 12 frames, the last two of which are the first ones again."""
    trunk = partial(SERes2Net, channels=4, scale=2)
    make = trunk if name == "SERes2Net" else partial(EABN, trunk=trunk)
    torch.manual_seed(0)
    model = make(12, slice_frames=4).eval()
    frames_BFD = torch.randn(2, 14, 12)
    lengths_B = torch.tensor([10, 14])
    embedding_BE = model(frames_BFD, lengths_B)
    frames_FD = torch.cat((frames_BFD[0, :10], frames_BFD[0, :2]))
    model.slice_frames = 0
    slices = []
    for first in (0, 2, 4, 6, 8):
        slice_1FD = frames_FD[None, first : first + 4]
        slices.append(model(slice_1FD, torch.tensor([4])))
    torch.testing.assert_close(embedding_BE[:1], torch.stack(slices).mean(0))
    model.slice_frames = 4
    whole_BE = model.train()(frames_BFD, lengths_B)
    model.slice_frames = 0
    torch.testing.assert_close(whole_BE, model(frames_BFD, lengths_B))


def test_gates_by_hand_for_maps_and_for_frames():
    gates = SqueezeExcitation(2, 1)
    with torch.no_grad():
        for layer, weight, bias in [
            (gates.layers[0], [[1.0, 2.0]], [1.0]),
            (gates.layers[2], [[0.5], [-1.0]], [0, 1]),
        ]:
            layer.weight.copy_(torch.tensor(weight))
            layer.bias.copy_(torch.tensor(bias))
    frames = torch.tensor([[[1.0, 3.0], [0.0, -1.0]]])  # means 2 and -0.5, hidden 2 - 1 + 1 = 2
    expected = frames * torch.tensor([[[1.0], [-1.0]]]).sigmoid()
    torch.testing.assert_close(gates(frames), expected)
    torch.testing.assert_close(gates(frames[..., None, :]), expected[..., None, :])
    torch.testing.assert_close(gates(frames[..., None]), expected[..., None])


def test_hierarchy_by_hand():
    values = torch.tensor([[[1.0], [2.0], [3.0], [4.0]]])
    branches = [Times(10.0) for _ in range(3)]
    assert Res2(branches, nn.Identity())(values).flatten().tolist() == [10, 120, 1230, 4]
    assert Res2(branches, Times(-1.0), cascade=False)(values).flatten().tolist() == [10, 20, 30, -4]


def test_only_the_first_block_of_a_stage_has_no_cascade():
    blocks = SERes2Net(20, channels=4).stages
    expected = [number > 0 for count in (3, 4, 6, 3) for number in range(count)]
    assert [block.layers[1].cascade for block in blocks] == expected
    assert [isinstance(block.layers[1].last, nn.Identity) for block in blocks] == expected


def test_attentive_statistics_by_hand():
    pool = AttentiveStatistics(1, global_context=False)
    pool.attention = nn.Identity()  # frames are their own logits: weights 1/4 and 3/4
    high = math.log(3)
    found = pool(torch.tensor([[[0.0, high, 9.0]]]), torch.tensor([2]))
    torch.testing.assert_close(found, torch.tensor([[0.75 * high, (0.25 * 0.75) ** 0.5 * high]]))


def test_attention_sees_mean_and_deviation_of_valid_frames():
    pool, seen = AttentiveStatistics(1), []
    pool.attention.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    pool(torch.tensor([[[1.0, 3.0, 99.0]]]), torch.tensor([2]))
    expected = torch.tensor([[[1.0, 3.0, 99.0], [2.0] * 3, [2**0.5] * 3]])
    torch.testing.assert_close(seen[0], expected)


def test_attentive_statistics_of_equal_frames_have_a_finite_gradient():
    frames = torch.ones(1, 2, 5, requires_grad=True)
    AttentiveStatistics(2)(frames, torch.tensor([5])).sum().backward()
    assert frames.grad.isfinite().all()


def test_channels_that_make_no_groups_are_refused():
    with pytest.raises(InputError, match="12 channels, expected a multiple of the scale, 8"):
        ECAPA(20, channels=12)


# LCNN-LSTM


def leakless(input_dim: int = 32) -> LCNNLSTM:
    """One channel, and layers that don't look across the edge of 16 frames."""
    torch.manual_seed(0)
    model = LCNNLSTM(input_dim, channels=1)
    model.layers = nn.AvgPool2d(16)
    return model


def test_lstm_reads_valid_frames_only():
    model, frames = leakless(), torch.randn(3, 80, 32)
    lengths = torch.tensor([80, 40, 16])
    found = model(frames * (torch.arange(80) < lengths[:, None])[..., None], lengths)
    for row, length, expected in zip(frames, lengths, found):
        torch.testing.assert_close(model(row[None, :length], length[None])[0], expected)


def test_lstm_has_a_shortcut_around_it_and_a_mean_over_time_after_it():
    model, frames = leakless(), torch.randn(2, 48, 32)
    for parameter in model.lstm.parameters():
        nn.init.zeros_(parameter)
    torch.testing.assert_close(
        model(frames, torch.tensor([48, 48])), frames.unflatten(2, (2, 16)).mean((1, 3))
    )


def test_lcnn_lstm_takes_few_frames_and_refuses_few_features():
    assert LCNNLSTM(60).eval()(torch.randn(1, 3, 60), torch.tensor([3])).isfinite().all()
    with pytest.raises(InputError, match="LCNNLSTM got frames of 13 features, expected 16 or more"):
        LCNNLSTM(13)


# Attention branch


def neutral(model: EABN) -> EABN:
    """With a mask of a half everywhere and a classifier that knows nothing."""
    norm = model.mask[1]
    for parameter in (norm.weight, norm.bias, *model.classifier.parameters()):
        nn.init.zeros_(parameter)
    return model.eval()


def test_mask_is_added_to_one():
    model, frames, lengths = (
        neutral(EABN(8, small_trunk)),
        torch.randn(2, 20, 8),
        torch.tensor([20, 20]),
    )
    torch.testing.assert_close(model(frames, lengths), model.trunk(1.5 * frames, lengths))
    model.mask[1].bias.data.fill_(-100)
    torch.testing.assert_close(model(frames, lengths), model.trunk(frames, lengths))


def test_branch_loss_is_its_weighted_cross_entropy():
    frames, lengths = torch.randn(2, 20, 8), torch.tensor([20, 20])
    model = neutral(EABN(8, small_trunk, branch_weight=0.1, class_weights=(0.1, 0.9)))
    labels = torch.tensor([0, 1])
    embedding, loss = model.embed_with_loss(frames, lengths, labels)
    torch.testing.assert_close(embedding, model(frames, lengths))
    assert loss.item() == pytest.approx(0.1 * math.log(2))
    model.classifier.linear.bias.data[1] = math.log(
        3
    )  # bona fide has 3/4: -log is log 4 and log 4/3
    loss = model.embed_with_loss(frames, lengths, labels)[1]
    assert loss.item() == pytest.approx(0.1 * (0.1 * math.log(4) + 0.9 * math.log(4 / 3)))


def test_branch_pools_valid_frames():
    model, frames = EABN(8, small_trunk).eval(), torch.randn(1, 20, 8)
    maps = model.branch(as_maps(frames))
    expected, _ = model.classifier.loss(
        mean_over_time(maps.mean(2), torch.tensor([7])), torch.tensor([1])
    )
    found = model.embed_with_loss(frames, torch.tensor([7]), torch.tensor([1]))[1]
    torch.testing.assert_close(found, 0.1 * expected)
    torch.testing.assert_close(
        mean_over_time(maps.mean(2), torch.tensor([7])), maps[..., :7].mean((2, 3))
    )


def batch() -> Batch:
    return Batch(["a", "b"], torch.randn(2, 3200), torch.tensor([3200, 3200]), torch.tensor([0, 1]))


def test_training_adds_the_models_loss_to_the_heads():
    torch.manual_seed(0)
    task, given = (
        Detection(Fbank(8), lambda dim: EABN(dim, small_trunk), CrossEntropy).eval(),
        batch(),
    )
    loss, logits, _ = task(given)
    added = task.model.embed_with_loss(
        *task.frontend(given.wav_BT, given.lengths_B), given.labels_B
    )[1]
    head_loss, head_logits = task.head.loss(task.embed(given), given.labels_B)
    torch.testing.assert_close((loss, logits), (head_loss + added, head_logits))
    loss.backward()
    assert task.model.classifier.linear.weight.grad.any() and task.model.mask[0].weight.grad.any()


def test_a_model_without_a_loss_adds_nothing():
    task, given = Detection(Fbank(8), small_trunk, CrossEntropy).eval(), batch()
    assert task(given)[0] == task.head.loss(task.embed(given), given.labels_B)[0]
