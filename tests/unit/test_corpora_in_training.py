"""Training on several corpora: shares of the draws, exact order, priors, and results by corpus."""

import logging
import math
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import tiny
import torch
import torch.nn.functional as F

from wedefense_lite.audio.corpora import with_corpora
from wedefense_lite.audio.utterance import Corpus, Utterance
from wedefense_lite.bin import train
from wedefense_lite.files import InputError, write_table
from wedefense_lite.frontends import Fbank
from wedefense_lite.heads import CrossEntropy
from wedefense_lite.labels import LABELS
from wedefense_lite.systems.batch import Batch
from wedefense_lite.systems.config import DataConfig
from wedefense_lite.systems.tasks import DomainAdversarial
from wedefense_lite.training.loader import TrainLoader
from wedefense_lite.training.order import epoch_order

# Bona fide and spoofed utterances of each corpus; the last one has spoofs only.
COUNTS = {"a": (4, 20), "b": (10, 30), "c": (0, 16)}


def make_index():
    index = []
    for number, (name, counts) in enumerate(COUNTS.items()):
        for label, count in zip(reversed(LABELS), counts):
            for place in range(count):
                key = f"{name}-{label}-{place}"
                row = Utterance(key, f"{key}.wav", samples=16000, label=label)
                index.append(replace(row, corpus=Corpus(name, number)))
    return index


def drawn(index, config, epoch=1, total=80):
    return [index[row] for row in epoch_order(index, config, seed=3, epoch=epoch, total=total)]


@pytest.mark.parametrize(
    ("options", "shares"),
    [
        ({"balance_corpora": True}, {"a": 1 / 3, "b": 1 / 3, "c": 1 / 3}),
        ({"corpus_weights": {"a": 1, "b": 2, "c": 5}}, {"a": 1 / 8, "b": 2 / 8, "c": 5 / 8}),
    ],
)
def test_each_corpus_has_its_share_of_an_epoch_and_of_each_step(options, shares):
    index = make_index()
    config = DataConfig(batch_size=8, **options)
    for epoch in (1, 2):
        rows = drawn(index, config, epoch)
        assert len(rows) == len(index) == 80
        for name, share in shares.items():
            places = [place for place, row in enumerate(rows) if row.corpus.name == name]
            assert abs(len(places) - 80 * share) < 2
            for start in range(0, 80, 8):
                here = sum(start <= place < start + 8 for place in places)
                assert abs(here - 8 * share) < 3
            # Once before twice: what an epoch draws of a corpus is spread evenly over it.
            counts = Counter(row.key for row in rows if row.corpus.name == name)
            size = sum(COUNTS[name])
            draws = [counts[row.key] for row in index if row.corpus.name == name]
            assert set(draws) <= {len(places) // size, len(places) // size + 1}
    assert drawn(index, config, 1) == drawn(index, config, 1) != drawn(index, config, 2)
    # Other ranks that go on within an epoch need the same draws from another number of them.
    assert drawn(index, config, total=96)[:80] == drawn(index, config)


def test_classes_of_a_corpus_share_its_draws_and_the_prior_says_so():
    index = make_index()
    config = DataConfig(batch_size=8, balance_corpora=True, balance_classes=True)
    counts = Counter((row.corpus.name, row.label) for row in drawn(index, config, total=1200))
    halves = {(name, label): 200 for name in "ab" for label in LABELS}
    expected = {**halves, ("c", "spoof"): 400}
    assert counts.keys() == expected.keys()
    assert all(abs(counts[group] - expected[group]) < 2 for group in expected)
    prior = TrainLoader(index, config, seed=1).class_prior
    assert prior == pytest.approx([2 / 3, 1 / 3], abs=1e-12)
    weights = DataConfig(batch_size=8, corpus_weights={"a": 3.0, "b": 1.0, "c": 1.0})
    prior = TrainLoader(index, weights, seed=1).class_prior
    assert prior[0] == pytest.approx(0.6 * 20 / 24 + 0.2 * 30 / 40 + 0.2, abs=1e-12)


@pytest.mark.parametrize("world", [1, 2])
@pytest.mark.parametrize("size", [1, 2, 8])
def test_no_rank_sees_one_group_alone_and_a_resumed_epoch_goes_on(world, size):
    index = [row for row in make_index() if row.corpus.name != "c"]
    config = DataConfig(batch_size=size, balance_corpora=True, balance_classes=True)
    together = Counter()
    for rank in range(world):
        loader = TrainLoader(index, config, 3, rank, world)
        plan = list(loader.contents(1))
        assert list(loader.contents(1, 5)) == plan[5:]
        own = Counter()
        for batch in plan:
            own.update((row.corpus.name, row.label) for row, _ in batch)
        assert len(own) == 4
        together += own
    steps = TrainLoader(index, config, 3, 0, world).steps_per_epoch
    assert together == Counter(
        (row.corpus.name, row.label) for row in drawn(index, config, total=steps * world * size)
    )


def test_balanced_classes_alone_take_the_turns_they_always_took():
    index = make_index()
    config = DataConfig(balance_classes=True)
    labels = [row.label for row in drawn(index, config, total=81)]
    assert labels == [LABELS[place % 2] for place in range(81)]


def test_weights_name_the_corpora_of_the_list():
    index = make_index()
    with pytest.raises(InputError, match="weights are of a, d, the training list has a, b, c"):
        TrainLoader(index, DataConfig(corpus_weights={"a": 1, "d": 2}), seed=1)
    plain = [replace(row, corpus=None) for row in index]
    with pytest.raises(InputError, match="the corpus of each utterance: --train_corpora"):
        TrainLoader(plain, DataConfig(balance_corpora=True), seed=1)
    with pytest.raises(ValueError, match="not with corpus_weights"):
        DataConfig(balance_corpora=True, corpus_weights={"a": 1})


def test_a_table_gives_utterances_their_corpora_in_the_order_of_names(tmp_path, caplog):
    rows = [Utterance(key, "", label="spoof") for key in ("u1", "u2", "u3")]
    rows[0] = replace(rows[0], label="bonafide")
    write_table(tmp_path / "utt2corpus", {"u1": "z", "u2": "a", "u3": "z"})
    index = with_corpora(rows, tmp_path / "utt2corpus")
    assert [row.corpus for row in index] == [("z", 1), ("a", 0), ("z", 1)]
    caplog.set_level(logging.INFO)
    TrainLoader(index, DataConfig(batch_size=2, balance_corpora=True), seed=1)
    assert "corpus a: 0 bona fide, 1 spoof, 50.0 % of the draws" in caplog.text
    assert "corpus z: 1 bona fide, 1 spoof, 50.0 % of the draws" in caplog.text
    with pytest.raises(InputError, match="utt2corpus: 1 utterances are not in both lists: u3"):
        with_corpora(rows[:2], tmp_path / "utt2corpus")


def test_a_resumed_training_of_two_corpora_has_the_same_bits_and_results_by_corpus(tmp_path):
    def corpora(rows):
        return [replace(row, corpus=Corpus("ab"[n % 2], n % 2)) for n, row in enumerate(rows)]

    train = corpora(tiny.corpus(tmp_path / "train", 12))
    dev = corpora(tiny.corpus(tmp_path / "dev", 12, seed=1))
    data = {"balance_corpora": True, "balance_classes": True}

    def trained(folder, **options):
        exp = tiny.experiment(data=data, **options)
        trainer = tiny.trainer(exp, tmp_path / folder, train, dev)
        trainer.fit()
        return trainer

    straight = trained("straight", num_epochs=2, save_step_interval=1)
    # Killed after the second step of the second epoch.
    exp = tiny.experiment(data=data, num_epochs=2, save_step_interval=1)
    killed = tiny.trainer(exp, tmp_path / "killed", train, dev)
    save, saves = killed._save_last, []

    def save_and_die():
        save()
        saves.append(killed.step)
        if len(saves) == 6:
            raise KeyboardInterrupt

    killed._save_last = save_and_die
    with pytest.raises(KeyboardInterrupt):
        killed.fit()
    resumed = trained("killed", num_epochs=2, save_step_interval=1)
    for name, value in straight.task.state_dict().items():
        assert np.array_equal(value, resumed.task.state_dict()[name]), name
    row = straight.history[-1]
    assert row["dev_eer"] == (row["dev_eer_a"] + row["dev_eer_b"]) / 2
    header = (tmp_path / "straight/metrics.csv").read_text().splitlines()[0]
    assert header.endswith("dev_loss,dev_eer,dev_eer_a,dev_eer_b")


def adversarial(**options):
    torch.manual_seed(0)
    return DomainAdversarial(Fbank(8), tiny.MeanFrame, CrossEntropy, **options)


def batch_of_corpora(corpora):
    wav_BT = torch.randn(4, tiny.SAMPLES, generator=torch.Generator().manual_seed(1))
    lengths_B = torch.full((4,), tiny.SAMPLES)
    labels_B = torch.tensor([0, 1, 0, 1])
    return Batch(["u1", "u2", "u3", "u4"], wav_BT, lengths_B, labels_B, corpora_B=corpora)


def test_the_gradient_of_the_corpus_is_turned_round_before_the_model():
    task = adversarial(weight=0.5, ramp_steps=4)
    task.steps.fill_(2)
    corpora_B = torch.tensor([0, 1, 1, 1])
    batch = batch_of_corpora(corpora_B)
    factor = 0.5 * (2 / (1 + math.exp(-5)) - 1)
    assert task.factor.item() == pytest.approx(factor, rel=1e-6)
    # Gradients of the two losses, each alone.
    embedding_BE = task.embed(batch)
    label_loss, logits_BC = task.head.loss(embedding_BE, batch.labels_B)
    (label_gradient,) = torch.autograd.grad(label_loss, task.model.scale, retain_graph=True)
    corpus_loss = F.cross_entropy(task.corpus_classifier(embedding_BE), corpora_B)
    first = task.corpus_classifier[0].weight
    gradients = torch.autograd.grad(corpus_loss, [task.model.scale, first])
    loss, logits, _ = task(batch)
    assert torch.equal(logits, logits_BC)
    torch.testing.assert_close(loss, label_loss + corpus_loss)
    loss.backward()
    torch.testing.assert_close(task.model.scale.grad, label_gradient - factor * gradients[0])
    # The classifier itself learns as ever.
    torch.testing.assert_close(first.grad, gradients[1])
    assert task.steps.item() == 3


def test_scores_and_lists_without_corpora_are_those_of_detection():
    task = adversarial().eval()
    batch = batch_of_corpora(None)
    loss, logits_BC, _ = task(batch)
    plain_loss, plain_logits = task.head.loss(task.embed(batch), batch.labels_B)
    assert torch.equal(loss, plain_loss) and torch.equal(logits_BC, plain_logits)
    assert torch.equal(task.logits(batch_of_corpora(torch.tensor([0, 1, 0, 1]))), logits_BC)
    assert task.steps.item() == 0


def test_the_factor_grows_from_0_to_the_weight():
    task = adversarial(weight=2.0, ramp_steps=10)
    factors = []
    for step in (0, 5, 10, 99):
        task.steps.fill_(step)
        factors.append(task.factor.item())
    expected = [0.0, 2 * math.tanh(2.5), 2 * math.tanh(5), 2 * math.tanh(5)]
    assert factors == pytest.approx(expected, rel=1e-6)


def test_corpora_of_another_number_than_the_system_tells_apart_are_refused():
    task = adversarial(num_corpora=2)
    with pytest.raises(InputError, match="tells 2 corpora apart, the training list has 3"):
        train._check_corpora(task, make_index(), "utt2corpus")
    with pytest.raises(InputError, match="the training list has 0 .--train_corpora."):
        train._check_corpora(task, make_index(), None)
    train._check_corpora(adversarial(num_corpora=3), make_index(), "utt2corpus")
