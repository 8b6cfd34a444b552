"""Batches: scoring reads all once; training is a function of seed, epoch, step, rank, world."""

import random
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from corpora import RATE, failure, make_corpus
from jsonargparse import ArgumentParser

from wedefense_lite import runtime
from wedefense_lite.augment.base import Augment, WhiteNoise
from wedefense_lite.files import InputError
from wedefense_lite.scoring.loader import EvalLoader
from wedefense_lite.systems.config import DataConfig
from wedefense_lite.training.loader import TrainLoader
from wedefense_lite.training.order import epoch_order

CROP = 0.05
SAMPLES = round(CROP * RATE)
LENGTHS = [SAMPLES - 200, SAMPLES + 900, SAMPLES] + [SAMPLES + 300 * (n % 3) for n in range(10)]
CONFIG = DataConfig(crop_seconds=CROP, batch_size=4)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return make_corpus(tmp_path_factory.mktemp("corpus"), LENGTHS)


@pytest.fixture(scope="module")
def index(corpus):
    return corpus.index("shard")


def rows(batches):
    """Key, waveform, length and label of every row."""
    return [
        (key, wav.tolist(), int(length), int(label))
        for batch in batches
        for key, wav, length, label in zip(
            batch.keys, batch.to("cpu").wav_BT, batch.lengths_B, batch.labels_B, strict=True
        )
    ]


def keys(batches):
    return [key for batch in batches for key in batch.keys]


def test_an_epoch_has_all_slices_of_each_utterance(index):
    """They overlap by half; an utterance is repeated up to a whole number of them."""
    config = replace(CONFIG, crop="slices", batch_size=1)
    loader = TrainLoader(index, config, seed=1)
    expected = []
    for batch in EvalLoader(index, config, batch_size=1):
        wav_T = batch.to("cpu").wav_BT[0].numpy()
        count = -(-len(wav_T) // SAMPLES)
        repeated_T = np.tile(wav_T, 2)[: count * SAMPLES]
        for number in range(2 * count - 1):
            first = number * (SAMPLES // 2)
            expected.append((batch.keys[0], repeated_T[first : first + SAMPLES].tolist()))
    found = [(key, wav) for key, wav, _, _ in rows(loader.epoch(1))]
    assert loader.steps_per_epoch == len(found) == len(expected) > len(index)
    assert sorted(found) == sorted(expected)


def test_slices_need_lengths_and_utterances_alone(index):
    config = replace(CONFIG, crop="slices")
    with pytest.raises(InputError, match="crop is slices, expected a list with lengths"):
        TrainLoader([replace(index[0], samples=0)], config, seed=1)
    with pytest.raises(InputError, match="expected utterances without segments and stems"):
        TrainLoader([replace(index[0], stems=(index[1],))], config, seed=1)
    with pytest.raises(ValueError, match="crop_seconds 0"):
        DataConfig(crop="slices", crop_seconds=0)
    with pytest.raises(ValueError, match="augment_whole True"):
        DataConfig(crop="slices", augment_whole=True)


# Scoring


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("world", [1, 2])
@pytest.mark.parametrize("data_type", ["raw", "shard"])
def test_scoring_delivers_every_utterance_once_and_whole(corpus, data_type, world, workers):
    index = corpus.index(data_type)
    delivered = {}
    for rank in range(world):
        loader = EvalLoader(index, CONFIG, rank, world, batch_size=3, num_workers=workers)
        batches = list(loader)
        assert len(batches) == len(loader)
        assert sorted(index[row].key for row in loader.positions) == sorted(keys(batches))
        for key, wav, length, label in rows(batches):
            assert key not in delivered
            delivered[key] = wav
            assert np.array_equal(np.array(wav) * 32768, corpus.audio[key])
            assert length == len(wav)
            assert label == ["spoof", "bonafide"].index(corpus.labels[key])
    assert sorted(delivered) == sorted(corpus.wavs)


def test_scoring_batches_hold_one_length(index):
    batches = list(EvalLoader(index, CONFIG, batch_size=4))
    assert all(len({int(length) for length in batch.lengths_B}) == 1 for batch in batches)
    assert max(len(batch.keys) for batch in batches) == 4
    assert len(batches) < len(index)


def test_scoring_may_cut_and_fill_to_a_fixed_length(index, corpus):
    for pad in ("repeat", "zero"):
        config = replace(CONFIG, eval_seconds=CROP, pad=pad, augment=[WhiteNoise(p=1.0)])
        batches = list(EvalLoader(index, config, batch_size=8))
        assert [len(batch.keys) for batch in batches] == [8, 5]
        for key, wav, length, _ in rows(batches):
            audio = corpus.audio[key].astype(np.float32)[:SAMPLES] / 32768
            assert length == (SAMPLES if pad == "repeat" else len(audio))
            fill = (
                audio[: SAMPLES - len(audio)] if pad == "repeat" else np.zeros(SAMPLES - len(audio))
            )
            assert np.array_equal(wav, np.concatenate([audio, fill]))


def emphasised(audio: np.ndarray, first: int) -> np.ndarray:
    """What pre-emphasis makes of 16-bit audio, then cut at a sample, then filled up with itself."""
    audio = audio.astype(np.float32) / 32768
    changed = audio - 0.97 * np.concatenate([[0], audio[:-1]])
    return np.resize(changed[first : first + SAMPLES], SAMPLES)


@pytest.mark.parametrize("crop", ["first", "centre"])
def test_pre_emphasis_comes_before_long_utterances_are_cut_and_short_ones_repeated(
    index, corpus, crop
):
    """And what is scored of a long one is the same each time."""
    config, starts = replace(CONFIG, eval_seconds=CROP, eval_crop=crop, pre_emphasis=0.97), set()
    for key, wav, _, _ in rows(EvalLoader(index, config)):
        first = max(len(corpus.audio[key]) - SAMPLES, 0) // 2 if crop == "centre" else 0
        np.testing.assert_allclose(wav, emphasised(corpus.audio[key], first), atol=1e-6)
        starts.add(first)
    assert starts == ({0} if crop == "first" else {0, 150, 300, 450})


def test_pre_emphasis_leaves_training_crops_where_they_are(index, corpus):
    plain, changed = (
        TrainLoader(index, replace(CONFIG, pre_emphasis=factor), seed=3) for factor in (0.0, 0.97)
    )
    for (key, wav, *_), (_, found, *_) in zip(
        rows(plain.epoch(1)), rows(changed.epoch(1)), strict=True
    ):
        audio, start = corpus.audio[key], [round(32768 * value) for value in wav[:50]]
        first = next(n for n in range(len(audio)) if audio[n : n + 50].tolist() == start)
        np.testing.assert_allclose(found, emphasised(audio, first), atol=1e-6)


def test_a_centre_of_whole_utterances_is_refused():
    with pytest.raises(ValueError, match="eval_crop is centre, but eval_seconds is 0"):
        DataConfig(eval_crop="centre")


def test_as_many_are_scored_at_once_as_are_trained_on_where_all_have_one_length(index):
    assert {len(batch.keys) for batch in EvalLoader(index, CONFIG)} == {1}
    assert [len(batch.keys) for batch in EvalLoader(index, replace(CONFIG, eval_seconds=CROP))] == [
        4,
        4,
        4,
        1,
    ]


def test_more_ranks_than_utterances_leave_some_without(index):
    parts = [keys(EvalLoader(index[:2], CONFIG, rank, 5, num_workers=2)) for rank in range(5)]
    assert sorted(map(len, parts)) == [0, 0, 0, 1, 1]
    assert sum(parts, []) == [row.key for row in index[:2]]


def test_an_unknown_label_is_minus_one(index):
    assert next(iter(EvalLoader([replace(index[0], label=None)], CONFIG))).labels_B.tolist() == [-1]


# Training: the order


@pytest.mark.parametrize("config", [CONFIG, replace(CONFIG, augment=[WhiteNoise(p=0.5)])])
def test_batches_do_not_depend_on_containers_or_workers(corpus, config):
    def batches(data_type, workers):
        loader = TrainLoader(corpus.index(data_type), replace(config, num_workers=workers), seed=3)
        return rows(loader.epoch(1)), rows(loader.epoch(2))

    expected = batches("raw", 0)
    assert all(batches(*other) == expected for other in [("shard", 0), ("raw", 2), ("shard", 2)])


@pytest.mark.parametrize("workers", [0, 2])
def test_resuming_at_a_step_continues_exactly(index, workers):
    config = replace(CONFIG, num_workers=workers, augment=[WhiteNoise(p=0.5)])
    whole = rows(TrainLoader(index, config, seed=3).epoch(5))
    loader = TrainLoader(index, config, seed=3)
    interrupted = loader.epoch(5)
    next(interrupted)  # and is left there
    assert rows(loader.epoch(5, start_step=2)) == whole[2 * CONFIG.batch_size :]
    assert rows(loader.epoch(5, start_step=loader.steps_per_epoch)) == []


def test_resuming_reads_nothing_of_what_it_skips(corpus):
    index = corpus.index("raw")
    order = keys(TrainLoader(index, CONFIG, seed=3).epoch(1))
    skipped = set(order[:8]) - set(order[8:])
    gone = [replace(row, path="gone") if row.key in skipped else row for row in index]
    assert keys(TrainLoader(gone, CONFIG, seed=3).epoch(1, start_step=2)) == order[8:]


def test_seeds_and_epochs_give_other_orders_and_other_crops(index):
    runs = [
        rows(TrainLoader(index, CONFIG, seed).epoch(epoch))
        for seed, epoch in [(3, 1), (3, 2), (4, 1)]
    ]
    orders = [[key for key, *_ in run] for run in runs]
    assert orders[0] != orders[1] and orders[0] != orders[2] and orders[1] != orders[2]
    long = next(row.key for row in index if row.samples == SAMPLES + 900)
    crops = [next(wav for key, wav, *_ in run if key == long) for run in runs]
    assert crops[0] != crops[1] and crops[0] != crops[2] and crops[1] != crops[2]


class Reversed(Augment):
    """The utterance from its end to its beginning."""

    def apply(self, wav, rng):
        return wav[::-1].copy()


@pytest.mark.parametrize("augments", [False, True])
@pytest.mark.parametrize("augment_whole", [False, True])
def test_the_first_crop_is_of_the_utterance_or_of_what_augmentation_made_of_it(
    corpus, augments, augment_whole
):
    augment = [Reversed(p=1.0)] if augments else []
    config = replace(CONFIG, crop="first", augment=augment, augment_whole=augment_whole)
    delivered = rows(TrainLoader(corpus.index("raw"), config, seed=3).epoch(1))
    for key, wav, *_ in delivered:
        audio = corpus.audio[key] / 32768
        if augments:
            audio = audio[::-1] if augment_whole else audio[:SAMPLES][::-1]
        assert wav == np.resize(audio, max(SAMPLES, len(audio)))[:SAMPLES].tolist(), key


def test_a_random_crop_of_a_whole_that_was_augmented_is_any_part_of_it(corpus):
    row = next(row for row in corpus.index("raw") if row.samples == SAMPLES + 900)
    index = [replace(row, key=f"copy{n}") for n in range(8)]
    config = replace(CONFIG, augment=[Reversed(p=1.0)], augment_whole=True)
    delivered = rows(TrainLoader(index, config, seed=3).epoch(1))
    audio = corpus.audio[row.key][::-1] / 32768
    parts = np.lib.stride_tricks.sliding_window_view(audio, SAMPLES)
    offsets = [int((parts == wav).all(1).argmax()) for _, wav, *_ in delivered]
    assert all((parts[offset] == wav).all() for offset, (_, wav, *_) in zip(offsets, delivered))
    assert len(set(offsets)) == 8


def test_workers_live_on_from_epoch_to_epoch_and_read_ahead(index):
    """The batches are those of new workers, and of no workers, whichever epoch is read ahead."""
    config = replace(CONFIG, num_workers=2, augment=[WhiteNoise(p=0.5)])
    expected = TrainLoader(index, replace(config, num_workers=0), seed=3)
    loader = TrainLoader(index, config, seed=3)
    pids = []
    for epoch, start in ((1, 0), (2, 0), (3, 1), (4, 0)):
        assert rows(loader.epoch(epoch, start)) == rows(expected.epoch(epoch, start))
        workers = loader._reader._loader._iterator._workers
        pids.append([worker.pid for worker in workers])
        loader.begin(epoch + 1)  # the third epoch is then begun at another step
    assert pids[0] == pids[1] == pids[2] == pids[3]
    next(loader.epoch(5))  # and left
    assert rows(loader.epoch(6)) == rows(expected.epoch(6))
    loader.close()
    assert not any(worker.is_alive() for worker in workers)


def test_the_number_of_workers_is_chosen_by_cores_and_processes(monkeypatch):
    monkeypatch.setattr(runtime, "usable_cores", lambda: 16)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    for processes, expected in [(1, 8), (4, 3), (16, 0), (32, 0)]:
        monkeypatch.setenv("LOCAL_WORLD_SIZE", str(processes))
        assert runtime.reading_processes("auto") == expected
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for threads, expected in [(1, 0), (3, 0), (4, 1), (16, 4), (64, 8)]:
        monkeypatch.setattr(torch, "get_num_threads", lambda count=threads: count)
        assert runtime.reading_processes("auto") == expected
    assert runtime.reading_processes(3) == 3


def test_no_two_utterances_and_no_two_workers_share_their_chance(corpus):
    """The same audio under many names, read by two workers, gets other crops and other noise."""
    row = next(row for row in corpus.index("raw") if row.samples == SAMPLES + 900)
    index = [replace(row, key=f"copy{n}") for n in range(8)]
    for augment in ([], [WhiteNoise(p=1.0)]):
        config = replace(CONFIG, batch_size=2, num_workers=2, augment=augment)
        delivered = rows(TrainLoader(index, config, seed=3).epoch(1))
        assert len({tuple(wav) for _, wav, *_ in delivered}) == 8


def test_loading_draws_nothing_from_global_random_state(index):
    torch.manual_seed(0), np.random.seed(0), random.seed(0)  # noqa: NPY002
    before = torch.get_rng_state().tolist(), repr(np.random.get_state()), random.getstate()  # noqa: NPY002
    for workers in (0, 2):
        config = replace(CONFIG, num_workers=workers, augment=[WhiteNoise(p=0.5)])
        list(TrainLoader(index, config, seed=3).epoch(1))
        list(EvalLoader(index, config, num_workers=workers))
    assert (
        torch.get_rng_state().tolist(),
        repr(np.random.get_state()),  # noqa: NPY002
        random.getstate(),
    ) == before


@pytest.mark.parametrize("world", [1, 2, 3])
def test_an_epoch_holds_every_utterance_and_ranks_make_equal_steps(index, world):
    loaders = [TrainLoader(index, CONFIG, 3, rank, world) for rank in range(world)]
    parts = [list(loader.epoch(1)) for loader in loaders]
    assert {len(part) for part in parts} == {loaders[0].steps_per_epoch}
    assert {len(batch.keys) for part in parts for batch in part} == {CONFIG.batch_size}
    counts = Counter(key for part in parts for key in keys(part))
    assert set(counts) == {row.key for row in index}
    drawn = loaders[0].steps_per_epoch * world * CONFIG.batch_size
    assert (
        sum(count - 1 for count in counts.values())
        == drawn - len(index)
        < world * CONFIG.batch_size
    )


def test_a_list_shorter_than_a_step_of_all_ranks_still_makes_one(index):
    parts = [
        TrainLoader(index[:3], replace(CONFIG, num_workers=2), 3, rank, 4) for rank in range(4)
    ]
    assert [part.steps_per_epoch for part in parts] == [1] * 4
    counts = Counter(key for part in parts for key in keys(part.epoch(1)))
    assert set(counts.values()) <= {5, 6} and len(counts) == 3


def test_balanced_sampling_draws_each_class_equally_often(index):
    config = replace(CONFIG, balance_classes=True)
    loader = TrainLoader(index, config, seed=3)
    bonafide = {row.key for row in index if row.label == "bonafide"}
    seen = set()
    for epoch in range(1, 5):
        batches = list(loader.epoch(epoch))
        assert all(int(batch.labels_B.sum()) == CONFIG.batch_size // 2 for batch in batches)
        counts = Counter(key for key in keys(batches) if key in bonafide)
        assert max(counts.values()) - min(counts.values()) <= 1 and set(counts) == bonafide
        seen |= set(keys(batches))
    assert seen == {row.key for row in index}
    assert loader.class_prior == [0.5, 0.5]


def test_the_class_prior_is_what_sampling_delivers(index):
    assert TrainLoader(index, CONFIG, seed=3).class_prior == [8 / 13, 5 / 13]
    with pytest.raises(
        InputError, match="balance_classes with {'spoof': 0, 'bonafide': 2} utterances"
    ):
        TrainLoader([index[0], index[3]], replace(CONFIG, balance_classes=True), seed=3)
    with pytest.raises(InputError, match="1 training utterances have no label"):
        TrainLoader([index[0], replace(index[1], label=None)], CONFIG, seed=3)


def test_a_shuffle_window_permutes_shards_and_mixes_only_within_windows(index):
    shard = {row: utterance.path for row, utterance in enumerate(index)}
    for epoch in range(5):
        order = epoch_order(
            index, replace(CONFIG, shuffle_window=2), 3, epoch, total=len(index)
        ).tolist()
        assert sorted(order) == list(range(len(index)))
        first = next(
            n for n in range(len(order)) if len({shard[row] for row in order[: n + 1]}) == 3
        )
        assert not {shard[row] for row in order[:first]} & {shard[row] for row in order[first:]}
    orders = {
        tuple(epoch_order(index, replace(CONFIG, shuffle_window=1), 3, epoch, total=13).tolist())
        for epoch in range(5)
    }
    assert len(orders) == 5


# Training: the samples


def test_crops_are_cut_or_repeated_to_length(index, corpus):
    for key, wav, length, _ in rows(TrainLoader(index, CONFIG, seed=3).epoch(1)):
        audio, wav = corpus.audio[key], (np.array(wav) * 32768).astype(np.int16)
        assert length == len(wav) == SAMPLES
        if len(audio) < SAMPLES:
            assert np.array_equal(wav, np.concatenate([audio, audio])[:SAMPLES])
        else:
            starts = range(len(audio) - SAMPLES + 1)
            assert any(np.array_equal(wav, audio[start : start + SAMPLES]) for start in starts)


def test_padding_is_zero_and_its_lengths_say_so(index, corpus):
    whole = replace(CONFIG, crop_seconds=0, augment=[WhiteNoise(p=1.0)])
    for config in (replace(CONFIG, pad="zero"), whole):
        for batch in TrainLoader(index, config, seed=3).epoch(1):
            for key, wav, length in zip(batch.keys, batch.to("cpu").wav_BT, batch.lengths_B):
                samples = len(corpus.audio[key])
                assert length == (min(samples, SAMPLES) if config.crop_seconds else samples)
                assert torch.all(wav[length:] == 0) and torch.any(wav[:length] != 0)


def test_16_bit_audio_travels_as_16_bit_unless_it_is_changed(index):
    batch = next(iter(TrainLoader(index, CONFIG, seed=3).epoch(1)))
    assert batch.wav_BT.dtype == torch.int16
    assert torch.equal(batch.to("cpu").wav_BT, batch.wav_BT.float() / 32768)
    changed = next(
        iter(TrainLoader(index, replace(CONFIG, augment=[WhiteNoise(p=0.0)]), seed=3).epoch(1))
    )
    assert changed.keys == batch.keys and changed.wav_BT.dtype == torch.float32
    assert changed.lengths_B.dtype == changed.labels_B.dtype == torch.int64


def test_a_batch_may_mix_16_bit_audio_with_other_audio(tmp_path):
    flac, ogg = (
        make_corpus(tmp_path / "a", [SAMPLES]),
        make_corpus(tmp_path / "b", [SAMPLES], "ogg"),
    )
    index = [*flac.index("raw"), replace(ogg.index("raw")[0], key="other")]
    batch = next(iter(EvalLoader(index, CONFIG, batch_size=2)))
    alone = [next(iter(EvalLoader([row], CONFIG))).to("cpu").wav_BT[0] for row in index]
    assert torch.equal(batch.to("cpu").wav_BT, torch.stack(alone))


@pytest.mark.parametrize("workers", [0, 2])
def test_audio_that_cannot_be_used_is_one_line_from_any_process(corpus, workers, tmp_path):
    index = corpus.index("raw")
    bad = Path(tmp_path / "bad.flac")
    bad.write_bytes(Path(index[5].path).read_bytes()[:600])
    broken = [replace(row, path=str(bad)) if row.key == "u05" else row for row in index]
    config = replace(CONFIG, crop_seconds=0, num_workers=workers)
    for loader in (
        TrainLoader(broken, config, seed=3).epoch(1),
        EvalLoader(broken, config, num_workers=workers),
    ):
        message = failure(loader)
        assert message.startswith(f"u05: {bad}: ") and "\n" not in message


# Augmentation and configuration


def test_white_noise_has_the_level_that_is_asked_for():
    wav = np.sin(np.arange(100_000, dtype=np.float32))
    for snr_db in (0.0, 20.0):
        noise = WhiteNoise(1.0, (snr_db, snr_db))(wav, np.random.default_rng(0)) - wav
        assert 10 * np.log10(np.mean(wav**2) / np.mean(noise**2)) == pytest.approx(snr_db, abs=0.1)
    assert not WhiteNoise(1.0)(np.zeros(10, np.float32), np.random.default_rng(0)).any()


@pytest.mark.parametrize("kind", [WhiteNoise])
def test_an_augmentation_is_a_pure_function_of_audio_and_chance(kind):
    wav = np.sin(np.arange(1000, dtype=np.float32))
    kept = wav.copy()
    one, same, other = (kind(p=1.0)(wav, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert np.array_equal(one, same) and not np.array_equal(one, other)
    assert one.dtype == np.float32 and np.isfinite(one).all() and one.ndim == 1
    assert np.array_equal(wav, kept)
    changed = [
        not np.array_equal(kind(p=0.3)(wav, np.random.default_rng(s)), wav) for s in range(300)
    ]
    assert 0.2 < np.mean(changed) < 0.4


@pytest.mark.parametrize(
    "option",
    ["--data.batch_size=0", "--data.crop_seconds=-1", "--data.pad=mirror", "--data.num_workers=1.5"]
    + ["--data.augment=[{class_path: WhiteNoise, init_args: {p: 1.5}}]", "--data.shuffle=1"],
)
def test_a_configuration_that_makes_no_sense_is_refused(option, capsys):
    parser = ArgumentParser(allow_abbrev=False)
    parser.add_class_arguments(DataConfig, "data")
    good = parser.parse_args(["--data.augment=[{class_path: WhiteNoise, init_args: {p: 0.5}}]"])
    assert [type(augment) for augment in parser.instantiate(good).data.augment] == [WhiteNoise]
    with pytest.raises(SystemExit):
        parser.parse_args([option])
    assert option.split("=")[0].removeprefix("--") in capsys.readouterr().err
