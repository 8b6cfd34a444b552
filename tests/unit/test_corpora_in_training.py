"""Training on several corpora: shares of the draws, exact order, priors, and results by corpus."""

import logging
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import tiny

from wedefense_lite.audio.corpora import with_corpora
from wedefense_lite.audio.utterance import Corpus, Utterance
from wedefense_lite.files import InputError, write_table
from wedefense_lite.labels import LABELS
from wedefense_lite.systems.config import DataConfig
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
        plan = loader._plan_epoch(1, 0, 0)
        assert loader._plan_epoch(1, 5, 0) == plan[5:]
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
