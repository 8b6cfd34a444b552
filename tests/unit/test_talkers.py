"""Tasks on mixtures: which talker is spoofed, with and without separating them."""

from dataclasses import replace

import numpy as np
import pytest
import soundfile as sf
import tiny
import torch
import torch.nn.functional as F
from torch import nn

from wedefense_lite.audio.utterance import Utterance
from wedefense_lite.files import InputError
from wedefense_lite.frontends import Fbank
from wedefense_lite.heads import CrossEntropy, Head
from wedefense_lite.labels import BONAFIDE, LABELS, SPOOF
from wedefense_lite.mixtures.stems import with_talkers
from wedefense_lite.mixtures.tasks import DirectTalkers, SeparatedTalkers, Separation
from wedefense_lite.scoring.loader import EvalLoader
from wedefense_lite.separators.base import Separator
from wedefense_lite.systems import checkpoint
from wedefense_lite.systems.batch import Batch
from wedefense_lite.systems.config import DataConfig
from wedefense_lite.systems.samples import read_scoring_batch, read_training_batch
from wedefense_lite.training.loader import TrainLoader
from wedefense_lite.training.validation import validate

RATE, SAMPLES = 16000, 3200
PARTS = Fbank(8), tiny.MeanFrame, CrossEntropy


class Halves(Separator):
    """Talker 1 is the mixture's first half times a gain and its second half times the rest."""

    def __init__(self, sample_rate: int = RATE):
        super().__init__()
        self.sample_rate, self.num_talkers = sample_rate, 2
        self.gain = nn.Parameter(torch.tensor(0.3))

    def forward(self, wav_BT):
        half = torch.arange(wav_BT.shape[1]) < wav_BT.shape[1] // 2
        first_BT = wav_BT * torch.where(half, self.gain, 1 - self.gain)
        return torch.stack([first_BT, wav_BT - first_BT], 1)


@pytest.fixture
def mixtures(tmp_path):
    """Four mixtures of two talkers, one after the other, and their stems; spoof is a high tone."""
    rng, rows, stems = np.random.default_rng(0), [], []
    for number, labels in enumerate(
        (("spoof", "bonafide"), ("bonafide", "spoof"), ("bonafide",) * 2, ("spoof",) * 2)
    ):
        parts = np.zeros((2, SAMPLES))
        for k, label in enumerate(labels):
            tone = np.sin(
                2 * np.pi * (3000 if label == "spoof" else 300) * np.arange(SAMPLES // 2) / RATE
            )
            noisy = 0.2 * tone + 0.01 * rng.standard_normal(SAMPLES // 2)
            parts[k, k * SAMPLES // 2 : (k + 1) * SAMPLES // 2] = noisy
        for name, wav in (
            (f"mix{number}", parts.sum(0)),
            *((f"mix{number}-{k + 1}", parts[k]) for k in range(2)),
        ):
            sf.write(tmp_path / f"{name}.wav", wav, RATE)
        label = "bonafide" if set(labels) == {"bonafide"} else "spoof"
        rows.append(
            Utterance(
                f"mix{number}", str(tmp_path / f"mix{number}.wav"), samples=SAMPLES, label=label
            )
        )
        for k in (2, 1):
            stem = f"mix{number}-{k}"
            stems.append(
                Utterance(stem, str(tmp_path / f"{stem}.wav"), samples=SAMPLES, label=labels[k - 1])
            )
    return rows, stems


def batch_of(
    mixtures, audio: bool = True, config: DataConfig | None = None, seed: tuple | None = None
) -> Batch:
    rows = with_talkers(*mixtures, "stems.list", audio)
    config = config or DataConfig()
    if seed is None:
        return read_scoring_batch(rows, config).to("cpu")
    return read_training_batch([(row, seed) for row in rows], config).to("cpu")


def test_a_mixture_comes_with_its_talkers_in_their_order(mixtures):
    batch = batch_of(mixtures)
    assert batch.talker_labels_BK.tolist() == [[0, 1], [1, 0], [1, 1], [0, 0]]
    torch.testing.assert_close(batch.stems_BKT.sum(1), batch.wav_BT, atol=2e-4, rtol=0)
    without = batch_of(mixtures, audio=False)
    assert (
        without.stems_BKT is None
        and without.talker_labels_BK.tolist() == batch.talker_labels_BK.tolist()
    )


@pytest.mark.parametrize("pre_emphasis", [0.0, 0.97])
@pytest.mark.parametrize("pad", ["repeat", "zero"])
@pytest.mark.parametrize("seconds", [0.1, 0.5])
def test_stems_are_cropped_and_filled_up_with_their_mixture(mixtures, seconds, pad, pre_emphasis):
    config = DataConfig(crop_seconds=seconds, pad=pad, pre_emphasis=pre_emphasis)
    batch = batch_of(mixtures, config=config, seed=(1, 2, 3))
    assert batch.stems_BKT.shape == (4, 2, seconds * RATE)
    torch.testing.assert_close(batch.stems_BKT.sum(1), batch.wav_BT, atol=2e-4, rtol=0)
    assert (
        batch.lengths_B.tolist()
        == [min(seconds * RATE, SAMPLES) if pad == "zero" else seconds * RATE] * 4
    )


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda stems: stems[1:], r"stems \['1'\] of mixture mix0, expected \['1', '2'\]"),
        (
            lambda stems: [*stems, replace(stems[0], key="other-1")],
            "stems of 1 mixtures that are not in the list: other",
        ),
        (lambda stems: [replace(stems[0], label=None), *stems[1:]], "mix0-2 has no label"),
        (
            lambda stems: [replace(stems[0], samples=9), *stems[1:]],
            "mix0-2 has 9 samples, its mixture 3200",
        ),
    ],
)
def test_stems_that_do_not_fit_are_named(mixtures, change, said):
    rows, stems = mixtures
    with pytest.raises(InputError, match=f"stems.list: .*{said}"):
        with_talkers(rows, change(stems), "stems.list", audio=True)


@pytest.mark.parametrize("samples", [1500, 1600])
def test_a_stem_that_ends_before_its_mixture_is_named(mixtures, tmp_path, samples):
    """Also where it is as long as a crop, or longer, that begins later in the mixture."""
    rows, stems = mixtures
    sf.write(tmp_path / "short.wav", np.zeros(samples), RATE)
    short = [replace(stem, path=str(tmp_path / "short.wav"), samples=0) for stem in stems]
    rows = [replace(row, stems=tuple(short[2 * n : 2 * n + 2])) for n, row in enumerate(rows)]
    for seed in range(3):
        with pytest.raises(
            InputError, match=rf"short.wav: {samples} samples, its mixture has \d+ or more"
        ):
            read_training_batch([(row, (seed, 1, 1)) for row in rows], DataConfig(crop_seconds=0.1))


def test_the_prior_is_that_of_the_talkers(mixtures):
    rows, stems = mixtures
    index = with_talkers(rows[:3], stems[:6], "stems.list", audio=False)
    assert TrainLoader(index, DataConfig(), seed=1).class_prior == pytest.approx([1 / 3, 2 / 3])
    balanced = TrainLoader(index, DataConfig(balance_classes=True), seed=1).class_prior
    assert balanced == pytest.approx([1 / 4, 3 / 4])  # half of the mixtures SB, half BB


def test_a_separator_learns_from_stems(mixtures):
    batch, task = batch_of(mixtures), Separation(Halves())
    optimizer, losses = torch.optim.Adam(task.parameters(), lr=0.02), []
    for _ in range(10):
        loss, logits_NC, labels_N = task(batch)
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert losses[-1] < losses[0] - 3 and abs(task.separator.gain.item()) < 0.2
    assert logits_NC.shape == (0, 2) and labels_N.shape == (0,)
    loader = EvalLoader(with_talkers(*mixtures, "stems.list", audio=True), DataConfig())
    found = validate(task, loader, tiny.ALONE)
    assert found.keys() == {"dev_loss"} and found["dev_loss"] == pytest.approx(
        task(batch)[0].item(), abs=0.2
    )


class Given(Head):
    """Embeddings are the logits."""

    has_posterior = True

    def __init__(self, embed_dim: int):
        super().__init__()
        self.embed_dim = embed_dim

    def forward(self, embedding_BE):
        return embedding_BE[:, :2]

    def loss(self, embedding_BE, labels_B):
        return F.cross_entropy(self(embedding_BE), labels_B), self(embedding_BE)


class Fixed(tiny.MeanFrame):
    """Gives one embedding whatever it hears."""

    def __init__(self, dim: int, embedding_BE: torch.Tensor):
        super().__init__(dim)
        self.embedding_BE = embedding_BE

    def forward(self, frames_BFD, frame_lengths_B):
        return self.embedding_BE


def two_talkers(*labels: int) -> Batch:
    return Batch(
        ["mix"],
        torch.zeros(1, 800),
        torch.tensor([800]),
        torch.tensor([min(labels)]),
        None,
        torch.tensor([labels]),
    )


@pytest.mark.parametrize("labels", [(SPOOF, BONAFIDE), (BONAFIDE, SPOOF)])
def test_the_direct_loss_takes_the_assignment_that_fits_best(labels):
    task = DirectTalkers(Fbank(8), tiny.MeanFrame, Given)
    given = torch.tensor([[[0.0, 0.0], [0.0, 2.0], [1.0, 0.0]]])  # of the mixture, then of talkers
    task.model = Fixed(task.model.embed_dim, torch.zeros(1, 8))
    task._output_rows = lambda embedding_BE: given
    loss, logits_BC, labels_B = task(two_talkers(*labels))
    talkers = (np.log1p(np.exp(-2)) + np.log1p(np.exp(-1))) / 2
    assert loss.item() == pytest.approx((np.log(2) + talkers) / 2)
    assert logits_BC.tolist() == [[0, 0]] and labels_B.tolist() == [SPOOF]


def test_separated_talkers_have_the_labels_of_the_stems_that_they_are(mixtures):
    """At a gain of 0 stream 1 is talker 2, whatever its logits; the lowest score is the
    mixture's.
    """
    batch, task = (
        batch_of(mixtures),
        SeparatedTalkers(Fbank(8), tiny.MeanFrame, Given, separator=Halves()),
    )
    task.separator.gain.data.zero_()
    given = torch.tensor([[[0.0, 3.0], [1.0, 0.0]]]).expand(4, -1, -1)
    task.model = Fixed(task.model.embed_dim, given.flatten(0, 1))
    loss, logits_BC, labels_B = task(batch)
    by_source = batch.talker_labels_BK.flip(1)
    assert loss.item() == pytest.approx(
        F.cross_entropy(given.flatten(0, 1), by_source.flatten()).item()
    )
    assert logits_BC.tolist() == [[1, 0]] * 4 and labels_B.tolist() == [0, 0, 1, 0]


@pytest.mark.parametrize("joint", [False, True])
def test_a_separator_is_frozen_or_trained_with_the_detector(mixtures, joint):
    task = SeparatedTalkers(*PARTS, separator=Halves(), joint=joint)
    task.train()
    loss, _, _ = task(batch_of(mixtures))
    loss.backward()
    assert task.model.scale.grad.abs().sum() > 0 and task.separator.training == joint
    assert (task.separator.gain.grad is not None) == joint
    assert (
        any(task.separator.gain is p for group in task.parameter_groups() for p in group["params"])
        == joint
    )
    alone = SeparatedTalkers(*PARTS, separator=Halves(), joint=True, separation_weight=0.0)
    alone.load_state_dict(task.state_dict())
    weight = task.separation_weight if joint else 0.0
    separation = Separation(task.separator)(batch_of(mixtures))[0]
    assert loss.item() == pytest.approx((alone(batch_of(mixtures))[0] + weight * separation).item())


@pytest.mark.parametrize(
    "task", [DirectTalkers(*PARTS), SeparatedTalkers(*PARTS, separator=Halves())]
)
def test_a_mixture_is_judged_as_if_it_were_alone(mixtures, task):
    batch = batch_of(mixtures)
    whole = task.eval().logits(batch)
    for number, row in enumerate(mixtures[0]):
        one = task.logits(read_scoring_batch([row], DataConfig()).to("cpu"))[0]
        torch.testing.assert_close(whole[number], one, rtol=1e-5, atol=1e-6)
        assert len(task.names(row.key)) == len(one)


def test_rows_are_named_by_their_talkers():
    assert SeparatedTalkers(*PARTS, separator=Halves()).names("mix") == ["mix-1", "mix-2"]
    assert DirectTalkers(*PARTS, talkers=3).names("mix") == ["mix-0", "mix-1", "mix-2", "mix-3"]


def test_what_a_system_can_not_take_apart_is_refused(mixtures):
    with pytest.raises(
        InputError,
        match="the separator works at 8000 Hz, its front end at 16000 Hz: separate first",
    ):
        SeparatedTalkers(*PARTS, separator=Halves(8000))
    with pytest.raises(
        InputError, match=r"another number of talkers than 3: mix0 \(2\), mix1 \(2\), mix2 \(2\)"
    ):
        DirectTalkers(*PARTS, talkers=3)(batch_of(mixtures))
    with pytest.raises(InputError, match="mixtures need the list of their stems: --train_stems"):
        DirectTalkers(*PARTS)(batch_of(mixtures)._replace(talker_labels_BK=None))


def test_the_separator_of_another_training_is_taken_over(tmp_path):
    trained, task = Separation(Halves()), SeparatedTalkers(*PARTS, separator=Halves())
    trained.separator.gain.data.fill_(0.7)
    facts = {"labels": LABELS, "class_prior": [0.5, 0.5], "epoch": 1, "config_hash": "0"}
    checkpoint.save(tmp_path / "model.pt", facts | {"model": trained.state_dict()})
    checkpoint.load_part(tmp_path / "model.pt", task, "separator")
    assert task.separator.gain.item() == pytest.approx(0.7)
    with pytest.raises(InputError, match="the system of the configuration has no separator"):
        checkpoint.load_part(tmp_path / "model.pt", DirectTalkers(*PARTS), "separator")
    other = DirectTalkers(*PARTS).state_dict()
    checkpoint.save(tmp_path / "other.pt", facts | {"model": other})
    with pytest.raises(InputError, match="other.pt has no separator"):
        checkpoint.load_part(tmp_path / "other.pt", task, "separator")


def test_streams_without_stems_have_the_labels_that_fit_best(mixtures):
    task = SeparatedTalkers(
        Fbank(8), tiny.MeanFrame, Given, separator=Halves(), assignment="permutation"
    )
    assert not task.takes_stems
    given = torch.tensor([[[0.0, 3.0], [1.0, 0.0]]]).expand(4, -1, -1)
    task.model = Fixed(task.model.embed_dim, given.flatten(0, 1))
    best = torch.tensor([[1, 0], [1, 0], [1, 1], [0, 0]])
    expected = F.cross_entropy(given.flatten(0, 1), best.flatten()).item()
    assert task(batch_of(mixtures, audio=False))[0].item() == pytest.approx(expected)


class WithLoss(tiny.MeanFrame):
    """Adds 100 to the loss, and 1 for each label that it was given."""

    def embed_with_loss(self, frames_BFD, frame_lengths_B, labels):
        return self(frames_BFD, frame_lengths_B), torch.tensor(100.0 + (labels >= 0).sum())


def test_a_loss_of_the_model_counts(mixtures):
    batch, options = batch_of(mixtures), {"separator": Halves()}
    alone = DirectTalkers(*PARTS), SeparatedTalkers(*PARTS, **options)
    more = (
        DirectTalkers(Fbank(8), WithLoss, CrossEntropy),
        SeparatedTalkers(Fbank(8), WithLoss, CrossEntropy, **options),
    )
    for task, other, added in zip(alone, more, (104, 108)):
        other.load_state_dict(task.state_dict())
        assert other(batch)[0].item() == pytest.approx(task(batch)[0].item() + added, abs=1e-3)
    with pytest.raises(
        InputError, match="WithLoss has a loss of its own, which needs --system.assignment stems"
    ):
        SeparatedTalkers(Fbank(8), WithLoss, CrossEntropy, assignment="permutation", **options)
