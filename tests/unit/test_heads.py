"""Heads: the losses by hand, the prior they saw, and what they do at the edges."""

import math

import pytest
import torch
import yaml

from wedefense_lite.files import InputError
from wedefense_lite.heads import (
    AAM,
    AMSoftmax,
    ASoftmax,
    CrossEntropy,
    Focal,
    OCSoftmax,
    P2SGrad,
    WithTriplet,
)
from wedefense_lite.labels import BONAFIDE, SPOOF
from wedefense_lite.systems.experiment import load_experiment

torch.set_num_threads(1)
ANGULAR = [AAM, AMSoftmax, ASoftmax, P2SGrad, OCSoftmax]
CLASSES = [SPOOF, BONAFIDE]


def linear_head(kind=CrossEntropy, **options):
    """Logits are the two values of the embedding."""
    head = kind(2, **options)
    torch.nn.init.eye_(head.linear.weight)
    torch.nn.init.zeros_(head.linear.bias)
    return head


def angular_head(kind, **options):
    """The vector of spoof points right, that of bona fide up."""
    head = kind(2, **options)
    head.weight.data = 7 * torch.eye(2)[-len(head.weight) :]
    return head


def at(degrees: float, length: float = 2.0) -> torch.Tensor:
    """An embedding so many degrees away from the vector of spoof, towards that of bona fide."""
    angle = math.radians(degrees)
    return torch.tensor([[length * math.cos(angle), length * math.sin(angle)]])


def losses(head, embedding: torch.Tensor) -> list[float]:
    """The loss of an embedding as spoof, and as bona fide."""
    head.eval()
    return [head.loss(embedding, torch.tensor([label]))[0].item() for label in CLASSES]


def by_hand(*logits: tuple[float, float]) -> list[float]:
    """Cross-entropies of pairs ``(true class, other class)``."""
    return pytest.approx([math.log1p(math.exp(other - true)) for true, other in logits], abs=1e-6)


EMBEDDINGS = torch.tensor([[0.0, 0.0], [math.log(3), 0.0]])
LABELS = torch.tensor([BONAFIDE, SPOOF])
COS30 = math.sqrt(3) / 2


def test_cross_entropy_by_hand():
    loss, logits = linear_head().loss(EMBEDDINGS, LABELS)
    torch.testing.assert_close(logits, EMBEDDINGS)
    assert loss.item() == pytest.approx((math.log(2) + math.log(4 / 3)) / 2)


def test_class_weights_by_hand():
    loss, _ = linear_head(class_weights=(1, 9)).loss(EMBEDDINGS, LABELS)
    assert loss.item() == pytest.approx((9 * math.log(2) + 1 * math.log(4 / 3)) / 10)


def test_focal_by_hand():
    """Probabilities of the true classes are 1/2 and 3/4."""
    loss, _ = linear_head(Focal).loss(EMBEDDINGS, LABELS)
    assert loss.item() == pytest.approx((math.log(2) / 4 + math.log(4 / 3) / 16) / 2)
    loss, _ = linear_head(Focal, gamma=1.0, class_weights=(1, 9)).loss(EMBEDDINGS, LABELS)
    assert loss.item() == pytest.approx((9 * math.log(2) / 2 + 1 * math.log(4 / 3) / 4) / 10)


def test_focal_without_focus_is_cross_entropy():
    head = linear_head(Focal, gamma=0.0)
    assert losses(head, EMBEDDINGS[1:]) == pytest.approx(losses(linear_head(), EMBEDDINGS[1:]))
    assert head.has_posterior and not Focal(2).has_posterior


def test_focal_has_a_slope_where_all_is_certain():
    embeddings = torch.tensor([[90.0, 0.0]]).requires_grad_()
    linear_head(Focal, gamma=0.5).loss(embeddings, torch.tensor([SPOOF]))[0].backward()
    assert embeddings.grad.isfinite().all()


def test_am_softmax_by_hand():
    head = angular_head(AMSoftmax, scale=2.0, margin=0.25)
    torch.testing.assert_close(head(at(30)), torch.tensor([[2 * COS30, 1.0]]))
    assert losses(head, at(30)) == by_hand((2 * COS30 - 0.5, 1), (1 - 0.5, 2 * COS30))


def test_aam_by_hand():
    """30 degrees more: cosines of 30 and 60 degrees become those of 60 and 90."""
    head = angular_head(AAM, scale=2.0, margin=math.pi / 6)
    assert losses(head, at(30)) == by_hand((1, 1), (0, 2 * COS30))


def test_aam_falls_without_a_jump_where_the_angle_would_pass_180_degrees():
    head = angular_head(AAM, margin=math.pi / 6)
    asked = head.harder(
        torch.tensor([math.cos(math.radians(angle)) for angle in (149.9, 150.1, 180)])
    )
    assert asked.tolist() == pytest.approx([-1, -1, -2 + COS30], abs=1e-3)


def test_a_softmax_by_hand():
    """Four times 30 degrees are 120, of 60 degrees 240: psi is cos(120) and -cos(240) - 2; lambda
    is 5.
    """
    head = angular_head(ASoftmax)
    head.steps += 10**6
    torch.testing.assert_close(head(at(30)), torch.tensor([[2 * COS30, 1.0]]))
    asked = [2 * (-0.5 + 5 * COS30) / 6, 2 * (-1.5 + 5 * 0.5) / 6]
    assert losses(head, at(30)) == by_hand((asked[0], 1), (asked[1], 2 * COS30))


def test_a_softmax_begins_near_the_softmax():
    easing = 1000 / 1.12
    asked = [2 * (-0.5 + easing * COS30) / (1 + easing), 2 * (-1.5 + easing * 0.5) / (1 + easing)]
    assert losses(angular_head(ASoftmax), at(30)) == by_hand((asked[0], 1), (asked[1], 2 * COS30))


@pytest.mark.parametrize("margin", [1, 2, 3, 4, 5])
def test_psi_falls_all_the_way_from_1_to_its_end(margin):
    head = angular_head(ASoftmax, margin=margin)
    head.steps += 10**6
    psi = (
        6 * head.harder(torch.linspace(0, math.pi, 200).cos())
        - 5 * torch.linspace(0, math.pi, 200).cos()
    )
    assert (psi.diff() < 1e-4).all()
    assert psi[[0, -1]].tolist() == pytest.approx([1, 1 - 2 * margin], abs=1e-4)


def test_p2sgrad_by_hand():
    head = angular_head(P2SGrad)
    torch.testing.assert_close(head(at(30)), torch.tensor([[COS30, 0.5]]))
    assert losses(head, at(30)) == pytest.approx([((1 - COS30) ** 2 + 0.25) / 2, (0.75 + 0.25) / 2])


def test_oc_softmax_by_hand():
    """The score is the cosine; bona fide shall be above 0.9 and spoof below 0.2."""
    head = angular_head(OCSoftmax)
    logits = head(at(30))
    torch.testing.assert_close(logits, torch.tensor([[-0.25, 0.25]]))
    assert losses(head, at(30)) == by_hand((0, 20 * (0.5 - 0.2)), (0, 20 * (0.9 - 0.5)))


def test_the_triplet_term_by_hand():
    """Distances of 3 to the centre of spoof and 4 to that of bona fide."""
    head = WithTriplet(
        2, lambda dim: CrossEntropy(dim, class_weights=(1, 3)), weight=10.0, margin=2.0
    )
    head.centers.data = torch.tensor([[0.0, 0.0], [3.0, 4.0]])
    embeddings = torch.tensor([[3.0, 0.0], [3.0, 0.0]])
    labels = torch.tensor(CLASSES)
    plain, logits = head.head.loss(embeddings, labels)
    loss, same = head.loss(embeddings, labels)
    assert loss.item() - plain.item() == pytest.approx(10 * (1 * 1 + 3 * 3) / 2)
    assert torch.equal(logits, same) and torch.equal(head(embeddings), same)
    assert head.seen_prior([0.5, 0.5]) == [0.25, 0.75]


def test_a_triplet_far_enough_apart_costs_nothing():
    head = WithTriplet(2, margin=2.0)
    head.centers.data = torch.tensor([[0.0, 0.0], [30.0, 40.0]])
    for label in CLASSES:
        embeddings = head.centers[[label]].detach().clone().requires_grad_()
        loss, _ = head.loss(embeddings, torch.tensor([label]))
        loss.backward()
        assert loss == head.head.loss(embeddings, torch.tensor([label]))[0]
        assert embeddings.grad.isfinite().all() and head.centers.grad.isfinite().all()


def test_a_triplet_term_stands_beside_any_head(tmp_path):
    aam = {
        "class_path": "AAM",
        "init_args": {"margin": 0.3, "warmup_steps": 10, "class_weights": [1, 9]},
    }
    system = {
        "frontend": {"class_path": "Fbank"},
        "model": {"class_path": "ResNet", "init_args": {"channels": 4}},
        "head": {"class_path": "WithTriplet", "init_args": {"head": aam, "margin": 3.0}},
    }
    config = {
        "system": {"class_path": "Detection", "init_args": system},
        "training": {"optimizer": {"class_path": "Adam"}},
    }
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(config))
    head = load_experiment(tmp_path / "c.yaml").system.head
    assert (type(head.head), head.head.final_margin, head.head.warmup_steps, head.margin) == (
        AAM,
        0.3,
        10,
        3.0,
    )
    assert head.seen_prior([0.9, 0.1]) == pytest.approx([0.5, 0.5])
    assert not head.has_posterior and WithTriplet(2).has_posterior


@pytest.mark.parametrize("kind", [AAM, AMSoftmax])
def test_the_margin_grows_over_training_batches_only_and_goes_on_after_a_resume(kind):
    head, labels = kind(2, margin=0.8, warmup_steps=3), torch.tensor([SPOOF])
    margins = []
    for _ in range(2):
        margins.append(head.margin.item())
        head.train().loss(at(30), labels)
        head.eval().loss(at(30), labels)
    resumed = kind(2, margin=0.8, warmup_steps=3)
    resumed.load_state_dict(head.state_dict())
    for _ in range(3):
        margins.append(resumed.margin.item())
        resumed.train().loss(at(30), labels)
    assert margins == pytest.approx([0.2, 0.4, 0.6, 0.8, 0.8])
    assert kind(2, margin=0.8).margin.item() == pytest.approx(0.8)


@pytest.mark.parametrize("kind", ANGULAR)
def test_slopes_are_finite_along_the_vectors_and_at_zero(kind):
    head = angular_head(kind)
    embeddings = torch.cat([at(0), at(90), at(180), at(270), torch.zeros(1, 2)]).requires_grad_()
    for label in CLASSES:
        head.loss(embeddings, torch.full((5,), label))[0].backward()
    assert embeddings.grad.isfinite().all() and head.weight.grad.isfinite().all()


@pytest.mark.parametrize("kind", ANGULAR)
def test_cosines_are_exact_under_autocast(kind):
    head = angular_head(kind)
    with torch.autocast("cpu", torch.bfloat16):
        found = head(at(31))
    assert found.dtype == torch.float32 and torch.equal(found, head(at(31)))


@pytest.mark.parametrize("kind", [kind for kind in ANGULAR if kind is not ASoftmax])
def test_the_length_of_an_embedding_does_not_matter(kind):
    head = angular_head(kind)
    torch.testing.assert_close(head(at(31, length=1)), head(at(31, length=50)))
    assert not head.has_posterior


def test_the_prior_that_the_loss_saw():
    """LA 2019: nine spoofs a bona fide; weights of 1 and 9 make that one to one."""
    assert linear_head().seen_prior([0.9, 0.1]) == [0.9, 0.1]
    for kind in (CrossEntropy, Focal, AAM, AMSoftmax, ASoftmax):
        assert kind(2, class_weights=(1.0, 9.0)).seen_prior([0.9, 0.1]) == pytest.approx([0.5, 0.5])
        assert kind(2, class_weights=(1.0, 3.0)).seen_prior([0.6, 0.4]) == pytest.approx(
            [1 / 3, 2 / 3]
        )


@pytest.mark.parametrize("weights", [(0.0, 1.0), (1.0, -2.0), (1.0, math.nan)])
def test_weights_that_are_not_positive_are_refused(weights):
    with pytest.raises(InputError, match="class_weights"):
        CrossEntropy(2, class_weights=weights)


def test_class_weights_are_not_part_of_the_weights_saved():
    assert set(linear_head(class_weights=(1.0, 9.0)).state_dict()) == {
        "linear.weight",
        "linear.bias",
    }


def test_logits_need_no_label_and_come_out_of_the_loss_too():
    head, embeddings = CrossEntropy(5), torch.rand(3, 5)
    assert torch.equal(head(embeddings), head.loss(embeddings, torch.tensor([0, 1, 1]))[1])
