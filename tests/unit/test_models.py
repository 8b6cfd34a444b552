"""Backbones: published sizes, and pooling worked out by hand."""

import pytest
import torch

from wedefense_lite.models import LCNN, ResNet
from wedefense_lite.models.lcnn import MaxFeatureMap
from wedefense_lite.models.pooling import as_maps, halved, statistics_pooling

torch.set_num_threads(1)


def parameters(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def test_resnet18_has_its_published_size():
    """WeSpeaker's ResNet18 on 80 filterbanks: 4.105 M parameters."""
    assert round(parameters(ResNet(80)) / 1e6, 3) == 4.105


def test_lcnn_layers_have_their_published_sizes():
    """Table 3 of the STC paper: parameters of the convolutions, in thousands, in order."""
    convolutions = [module for module in LCNN(257).modules() if isinstance(module, torch.nn.Conv2d)]
    thousands = [round(parameters(conv) / 1000, 1) for conv in convolutions]
    assert thousands == [1.7, 2.1, 27.7, 4.7, 55.4, 8.3, 36.9, 2.1, 18.5]


def test_statistics_by_hand():
    maps = torch.tensor([[[[1.0, 3.0, 8.0]]], [[[5.0, 5.0, 5.0]]]])
    expected = torch.tensor([[4.0, 13**0.5], [5.0, 1e-7**0.5]])
    torch.testing.assert_close(statistics_pooling(maps, torch.tensor([3, 3])), expected)


def test_statistics_leave_padding_out():
    maps = torch.rand(3, 2, 4, 9)
    lengths = torch.tensor([9, 4, 1])
    pooled = statistics_pooling(maps, lengths)
    assert pooled.shape == (3, 16)
    for row, length, found in zip(maps, lengths, pooled):
        torch.testing.assert_close(
            found, statistics_pooling(row[None, ..., :length], length[None])[0]
        )
    assert pooled.isfinite().all()


def test_statistics_name_means_first():
    maps = torch.rand(1, 2, 3, 50)
    pooled = statistics_pooling(maps, torch.tensor([50]))[0]
    torch.testing.assert_close(pooled[:6], maps[0].mean(2).flatten())
    torch.testing.assert_close(pooled[6:], maps[0].std(2).flatten())


def test_statistics_of_equal_frames_have_a_finite_gradient():
    maps = torch.ones(1, 1, 1, 5, requires_grad=True)
    statistics_pooling(maps, torch.tensor([5])).sum().backward()
    assert maps.grad.isfinite().all()


@pytest.mark.parametrize("frames", [1, 2, 7, 8, 9, 31])
@pytest.mark.parametrize("model", [ResNet(9, channels=4), LCNN(9, channels=4)])
def test_lengths_shrink_as_the_maps_do(model, frames):
    maps = as_maps(torch.rand(1, frames, 9))
    layers = model.layers if isinstance(model, LCNN) else model.stages
    maps = maps if isinstance(model, LCNN) else model.conv1(maps)
    shape = layers.eval()(maps).shape
    assert (shape[2], shape[3]) == (halved(9, model.halvings), halved(frames, model.halvings))


def test_maps_hold_features_by_frames():
    frames = torch.rand(2, 5, 3)
    maps = as_maps(frames)
    assert maps.shape == (2, 1, 3, 5)
    assert maps[1, 0, 2, 4] == frames[1, 4, 2]


def test_max_feature_map_takes_the_larger_half():
    assert MaxFeatureMap()(torch.tensor([[1.0, -2.0, 0.5, 3.0]])).tolist() == [[1.0, 3.0]]
