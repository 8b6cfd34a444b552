"""What every front end, backbone, head and augmentation promises, whoever wrote it."""

import copy
import inspect

import components
import numpy as np
import pytest
import torch
import yaml
from components import AUGMENTS, BACKBONES, FRAME_BACKBONES, FRONTENDS, HEADS, RATE, build, small

from wedefense_lite.labels import BONAFIDE, SPOOF
from wedefense_lite.systems.experiment import load_experiment

DIM, EMBED = 20, 8
MODELS = [*BACKBONES, *FRAME_BACKBONES]
MODULES = [*FRONTENDS, *MODELS, *HEADS]


def wavs(batch: int, seconds: float, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    samples = round(seconds * RATE)
    noise = torch.randn(batch, samples, generator=torch.Generator().manual_seed(seed)) * 0.1
    return noise, torch.full((batch,), samples)


def frames(cls: type, batch: int, count: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """So many frames of 10 ms, or samples of as many seconds for a backbone that is made for
    samples.
    """
    count *= 160 if cls.min_frames > count else 1
    values = torch.randn(batch, count, DIM, generator=torch.Generator().manual_seed(seed))
    return values, torch.full((batch,), count)


def embeddings(batch: int) -> torch.Tensor:
    return torch.randn(batch, EMBED, generator=torch.Generator().manual_seed(0))


def instance(cls: type, seed: int = 0):
    first = () if cls in FRONTENDS else (DIM,) if cls in MODELS else (EMBED,)
    return build(cls, *first, seed=seed)


def output(cls: type, module=None, batch: int = 3) -> torch.Tensor:
    module = module or instance(cls)
    if cls in FRONTENDS:
        return module(*wavs(batch, 1))[0]
    if cls in FRAME_BACKBONES:
        return module(*frames(cls, batch, 98))[0]
    return module(*frames(cls, batch, 98)) if cls in BACKBONES else module(embeddings(batch))


def test_the_walk_finds_components():
    assert {"Fbank", "LFCC", "LogSpectrogram"} <= {cls.__name__ for cls in FRONTENDS}
    assert {"ResNet", "LCNN"} <= {cls.__name__ for cls in BACKBONES}
    assert "CrossEntropy" in {cls.__name__ for cls in HEADS}
    assert "WhiteNoise" in {cls.__name__ for cls in AUGMENTS}


@pytest.mark.parametrize("seconds", [1, 10])
@pytest.mark.parametrize("cls", FRONTENDS)
def test_front_ends_give_frames_for_short_and_long_audio(cls, seconds):
    frontend = instance(cls)
    found, lengths = frontend(*wavs(2, seconds))
    assert found.shape == (2, lengths[0], frontend.dim)
    assert lengths.shape == (2,) and not lengths.is_floating_point()
    assert lengths[0] * frontend.hop_seconds == pytest.approx(seconds, abs=0.05)
    assert found.dtype == torch.float32 and found.isfinite().all()


@pytest.mark.parametrize("cls", FRONTENDS)
def test_front_ends_survive_silence(cls):
    wav, lengths = torch.zeros(1, RATE).requires_grad_(), torch.tensor([RATE])
    found, _ = instance(cls)(wav, lengths)
    found.sum().backward()
    assert found.isfinite().all() and wav.grad.isfinite().all()


@pytest.mark.parametrize("cls", FRONTENDS)
def test_front_ends_leave_a_gradient_on_the_waveform(cls):
    wav, lengths = wavs(2, 1)
    instance(cls)(wav.requires_grad_(), lengths)[0].square().sum().backward()
    assert wav.grad.isfinite().all() and wav.grad.any()


@pytest.mark.parametrize("count", [98, 998])
@pytest.mark.parametrize("cls", BACKBONES)
def test_backbones_give_an_embedding_for_short_and_long_audio(cls, count):
    backbone = instance(cls)
    found = backbone(*frames(cls, 2, count))
    assert found.shape == (2, backbone.embed_dim)
    assert found.isfinite().all()


@pytest.mark.parametrize("count", [1, 98, 501])
@pytest.mark.parametrize("cls", FRAME_BACKBONES)
def test_frame_backbones_give_an_embedding_for_every_started_stride(cls, count):
    backbone = instance(cls)
    values, _ = frames(cls, 2, count)
    found, lengths = backbone(values, torch.tensor([count, (count + 1) // 2]))
    assert (
        found.shape == (2, -(-count // backbone.stride), backbone.embed_dim)
        and found.isfinite().all()
    )
    assert lengths.tolist() == [
        -(-count // backbone.stride),
        -(-((count + 1) // 2) // backbone.stride),
    ]


@pytest.mark.parametrize("cls", FRAME_BACKBONES)
def test_an_embedding_is_of_its_own_frames(cls):
    """What is changed in the middle changes the embedding there most."""
    backbone, (values, lengths) = instance(cls), frames(cls, 1, 200)
    changed = values.clone()
    changed[:, 100:104] += 3
    difference = (backbone(values, lengths)[0] - backbone(changed, lengths)[0]).abs().sum(2)[0]
    first = difference.argmax() * backbone.stride
    assert first <= 105
    assert first + backbone.stride > 98


def labels_for(cls: type, backbone, batch: int) -> torch.Tensor:
    """Labels that a backbone's loss takes of 98 frames; of frames, some unknown."""
    labels = torch.tensor([SPOOF, BONAFIDE] * (batch // 2))
    if cls in BACKBONES:
        return labels
    labels = torch.cat((labels[:, None].repeat(1, 60), 1 - labels[:, None].repeat(1, 38)), 1)[
        :, :: backbone.stride
    ]
    return labels.index_fill(1, torch.tensor([3, 4]), -1)


def total(cls: type, backbone, values, lengths) -> torch.Tensor:
    """Something of all that a backbone gives in training."""
    embedding, loss = backbone.embed_with_loss(
        values, lengths, labels_for(cls, backbone, len(values))
    )
    return (embedding if cls in BACKBONES else embedding[0]).square().sum() + loss


@pytest.mark.parametrize("cls", MODELS)
def test_gradients_reach_every_parameter_of_a_backbone_and_its_input(cls):
    backbone = instance(cls).train()
    values, lengths = frames(cls, 4, 98)
    total(cls, backbone, values.requires_grad_(), lengths).backward()
    for name, parameter in [("input", values), *backbone.named_parameters()]:
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name


@pytest.mark.parametrize("cls", MODELS)
def test_gradients_do_not_depend_on_the_convolution_library(cls):
    """oneDNN's gradient of a strided 1 x 1 convolution is wrong where channels are few."""
    found = []
    for enabled in (True, False):
        backbone = instance(cls)
        with torch.backends.mkldnn.flags(enabled=enabled):
            values, lengths = frames(cls, 2, 98)
            total(cls, backbone, values.requires_grad_(), lengths).backward()
        found.append([values.grad, *(parameter.grad for parameter in backbone.parameters())])
    torch.testing.assert_close(*found, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("cls", HEADS)
def test_heads_give_two_logits_and_a_loss_to_step_on(cls):
    head, values = instance(cls).train(), embeddings(6).requires_grad_()
    labels = torch.tensor([SPOOF, BONAFIDE] * 3)
    loss, logits = head.loss(values, labels)
    loss.backward()
    assert logits.shape == (6, 2) and loss.shape == ()
    assert isinstance(head.has_posterior, bool)
    tensors = [loss, logits, values.grad, *(parameter.grad for parameter in head.parameters())]
    assert all(tensor is not None and tensor.isfinite().all() for tensor in tensors)
    torch.testing.assert_close(
        head.eval()(values), head.loss(values, labels)[1], msg="no margin in logits"
    )


@pytest.mark.parametrize("cls", HEADS)
def test_logits_need_no_label(cls):
    assert list(inspect.signature(cls.forward).parameters) == ["self", "embedding_BE"]


@pytest.mark.parametrize("cls", HEADS)
def test_descending_the_loss_pushes_bona_fide_scores_up(cls):
    head = instance(cls).train()
    values = embeddings(40)
    labels = (values[:, 0] > 0).long()
    optimizer = torch.optim.SGD(head.parameters(), lr=0.5)

    def gap() -> float:
        with torch.no_grad():
            logits = head(values)
        score = logits[:, BONAFIDE] - logits[:, SPOOF]
        return (score[labels == BONAFIDE].mean() - score[labels == SPOOF].mean()).item()

    before = gap()
    for _ in range(30):
        optimizer.zero_grad()
        head.loss(values, labels)[0].backward()
        optimizer.step()
    assert gap() > max(before, 0)


@pytest.mark.parametrize("cls", HEADS)
def test_the_prior_that_a_head_saw_is_one(cls):
    prior = instance(cls).seen_prior([0.9, 0.1])
    assert len(prior) == 2 and min(prior) > 0 and sum(prior) == pytest.approx(1)


@pytest.mark.parametrize("cls", MODULES)
def test_a_batch_of_equal_lengths_is_its_utterances(cls):
    module = instance(cls)
    batch = output(cls, module)
    if cls in HEADS:
        singles = [module(row[None]) for row in embeddings(3)]
    else:
        values, lengths = wavs(3, 1) if cls in FRONTENDS else frames(cls, 3, 98)
        singles = [module(value[None], length[None]) for value, length in zip(values, lengths)]
        singles = [
            single[0] if cls in (*FRONTENDS, *FRAME_BACKBONES) else single for single in singles
        ]
    torch.testing.assert_close(torch.cat(singles), batch, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("cls", MODULES)
def test_the_seed_decides_all(cls):
    one, same, other = (output(cls, instance(cls, seed)) for seed in (0, 0, 1))
    assert torch.equal(one, same)
    assert torch.equal(one, other) is not bool(list(instance(cls).parameters()))


@pytest.mark.parametrize("cls", MODULES)
def test_saved_weights_load_strictly_and_give_the_same(cls, tmp_path):
    saved, loaded = instance(cls, seed=0), instance(cls, seed=1)
    torch.save(saved.state_dict(), tmp_path / "weights.pt")
    loaded.load_state_dict(torch.load(tmp_path / "weights.pt", weights_only=True), strict=True)
    assert torch.equal(output(cls, saved), output(cls, loaded))


@pytest.mark.parametrize("cls", AUGMENTS)
def test_augmentations_are_pure_functions_of_the_audio_and_the_chance_given(cls):
    augment, wav = build(cls), wavs(1, 1)[0][0].numpy()
    wav[:4000] = wav[-4000:] = 0
    kept = wav.copy()
    augment.p = 1.0
    np.random.seed(0)  # noqa: NPY002  the global stream must have no say
    first = augment(wav, np.random.default_rng(1))
    np.random.seed(1)  # noqa: NPY002
    again, other = (augment(wav, np.random.default_rng(seed)) for seed in (1, 2))
    np.testing.assert_array_equal(wav, kept)
    np.testing.assert_array_equal(first, again)
    assert first.dtype == np.float32 and np.isfinite(first).all()
    assert not np.array_equal(first, other) and not np.array_equal(first, wav)
    augment.p = 0.0
    assert augment(wav, np.random.default_rng(1)) is wav


@pytest.mark.parametrize(
    "cls", [cls for cls in AUGMENTS if cls.__name__ != "Reverberation"]
)  # it blurs all ends
def test_labels_stay_at_their_samples_through_augmentation(cls):
    """A loud second in quiet noise: where it begins and ends, the track says so."""
    augment, wav = build(cls), wavs(1, 3)[0][0].numpy() * np.float32(0.02)
    track = np.zeros(len(wav), dtype=np.int8)
    wav[RATE : 2 * RATE] *= 50
    track[RATE : 2 * RATE] = 1
    for p, seed in [(1.0, 0), (1.0, 1), (1.0, 2), (0.0, 0)]:
        augment.p = p
        changed, moved = augment.with_track(wav, track, np.random.default_rng(seed))
        np.testing.assert_array_equal(changed, augment(wav, np.random.default_rng(seed)))
        assert len(moved) == len(changed) and moved.dtype == np.int8
        power = np.convolve(changed.astype(np.float64) ** 2, np.ones(160) / 160, "same")
        loud = np.flatnonzero(
            power > np.sqrt(power.max() * max(np.median(power[moved == 0]), 1e-12))
        )
        found = [np.flatnonzero(moved == 1)[[0, -1]], loud[[0, -1]]]
        np.testing.assert_allclose(*found, atol=320, err_msg="within a frame of 20 ms")


@pytest.mark.parametrize("cls", [*MODULES, *AUGMENTS])
def test_documentation_is_there_and_names_every_argument(cls):
    documented = inspect.getdoc(cls) or ""
    assert cls.__doc__ and len(documented.splitlines()[0]) > 10
    positional = 0 if cls in FRONTENDS or cls in AUGMENTS else 1
    for name in list(inspect.signature(cls).parameters)[positional:]:
        assert f"{name}:" in documented, name


SYSTEM = {
    "class_path": "Detection",
    "init_args": {
        "frontend": {"class_path": "Fbank", "init_args": {"num_mels": DIM}},
        "model": {"class_path": "ResNet", "init_args": {"channels": 4}},
        "head": {"class_path": "CrossEntropy"},
    },
}


@pytest.mark.parametrize("cls", [*MODULES, *AUGMENTS])
def test_a_configuration_knows_it_by_its_short_name(cls, tmp_path):
    system, data = copy.deepcopy(SYSTEM), {}
    role = next(
        role
        for role, group in {
            "frontend": FRONTENDS,
            "model": MODELS,
            "head": HEADS,
            "augment": AUGMENTS,
        }.items()
        if cls in group
    )
    if role == "augment":
        data = {"augment": [{"class_path": cls.__name__}]}
    else:
        options = small(cls, arguments=int(role != "frontend"))
        system["init_args"][role] = {"class_path": cls.__name__, "init_args": options}
        system["class_path"] = "Localization" if cls in FRAME_BACKBONES else "Detection"
    config = {"system": system, "data": data, "training": {"optimizer": {"class_path": "AdamW"}}}
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(config))
    exp = load_experiment(tmp_path / "c.yaml")
    made = exp.data.augment[0] if role == "augment" else getattr(exp.system, role)
    assert type(made) is cls
    (tmp_path / "again.yaml").write_text(exp.text)
    assert load_experiment(tmp_path / "again.yaml").config_hash == exp.config_hash


def test_names_are_told_apart():
    names = [cls.__name__ for cls in [*MODULES, *AUGMENTS]]
    assert len(set(names)) == len(names)
    assert components.modules()
