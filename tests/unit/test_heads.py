"""Heads: the loss by hand, the prior it saw, and which way is up."""

import math

import pytest
import torch

from wedefense_lite.files import InputError
from wedefense_lite.heads import CrossEntropy
from wedefense_lite.labels import BONAFIDE, SPOOF

torch.set_num_threads(1)


def fixed_head(**options) -> CrossEntropy:
    """Logits are the two values of the embedding."""
    head = CrossEntropy(2, **options)
    torch.nn.init.eye_(head.linear.weight)
    torch.nn.init.zeros_(head.linear.bias)
    return head


EMBEDDINGS = torch.tensor([[0.0, 0.0], [math.log(3), 0.0]])
LABELS = torch.tensor([BONAFIDE, SPOOF])


def test_cross_entropy_by_hand():
    loss, logits = fixed_head().loss(EMBEDDINGS, LABELS)
    torch.testing.assert_close(logits, EMBEDDINGS)
    assert loss.item() == pytest.approx((math.log(2) + math.log(4 / 3)) / 2)


def test_class_weights_by_hand():
    loss, _ = fixed_head(class_weights=(1, 9)).loss(EMBEDDINGS, LABELS)
    assert loss.item() == pytest.approx((9 * math.log(2) + 1 * math.log(4 / 3)) / 10)


def test_the_prior_that_the_loss_saw():
    """LA 2019: nine spoofs a bona fide; weights of 1 and 9 make that one to one."""
    assert fixed_head().seen_prior([0.9, 0.1]) == [0.9, 0.1]
    assert fixed_head(class_weights=(1.0, 9.0)).seen_prior([0.9, 0.1]) == pytest.approx([0.5, 0.5])
    assert fixed_head(class_weights=(1.0, 3.0)).seen_prior([0.6, 0.4]) == pytest.approx([1 / 3, 2 / 3])


@pytest.mark.parametrize("weights", [(0.0, 1.0), (1.0, -2.0), (1.0, math.nan)])
def test_weights_that_are_not_positive_are_refused(weights):
    with pytest.raises(InputError, match="class_weights"):
        CrossEntropy(2, class_weights=weights)


def test_class_weights_are_not_part_of_the_weights_saved():
    assert set(fixed_head(class_weights=(1.0, 9.0)).state_dict()) == {"linear.weight", "linear.bias"}


def test_logits_need_no_label_and_come_out_of_the_loss_too():
    head, embeddings = CrossEntropy(5), torch.rand(3, 5)
    assert torch.equal(head(embeddings), head.loss(embeddings, torch.tensor([0, 1, 1]))[1])
