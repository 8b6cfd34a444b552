"""Shards from URLs and pipes: the same utterances, the same failures."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from corpora import failure, make_corpus

from wedefense_lite.audio.index import read_index
from wedefense_lite.audio.reading import ALLOW_PIPES
from wedefense_lite.audio.stream import Stream
from wedefense_lite.files import InputError, write_lines
from wedefense_lite.scoring.loader import EvalLoader
from wedefense_lite.systems.config import DataConfig
from wedefense_lite.training.loader import TrainLoader

CONFIG = DataConfig(crop_seconds=0.02, batch_size=4)
LENGTHS = [400 + 10 * n for n in range(13)]


@pytest.fixture
def corpus(tmp_path, monkeypatch):
    monkeypatch.setenv(ALLOW_PIPES, "1")
    return make_corpus(tmp_path, LENGTHS)


def streamed(corpus, scheme="pipe:cat {}", per_shard=5) -> str:
    paths = Path(corpus.list("shard", per_shard)).read_text().splitlines()
    write_lines(corpus.folder / "stream.list", [scheme.format(path) for path in paths])
    return str(corpus.folder / "stream.list")


@pytest.mark.parametrize("scheme", ["pipe:cat {}", "file:{}"])
@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("world", [1, 2])
@pytest.mark.parametrize("per_shard", [3, 20])
def test_scoring_delivers_every_utterance_once(corpus, scheme, workers, world, per_shard):
    """Also where shards are fewer than ranks times workers."""
    index = read_index(streamed(corpus, scheme, per_shard), "shard", corpus.labels)
    delivered = []
    for rank in range(world):
        loader = EvalLoader(index, CONFIG, rank, world, num_workers=workers)
        for batch in loader:
            key = batch.keys[0]
            assert np.array_equal(batch.wav_BT[0].numpy(), corpus.audio[key])
            delivered.append(key)
    assert sorted(delivered) == sorted(corpus.wavs)


@pytest.mark.parametrize("workers", [0, 2])
def test_training_is_a_function_of_seed_and_epoch_and_resumes(corpus, workers):
    index = read_index(streamed(corpus), "shard", corpus.labels)

    def run(seed, epoch, start=0):
        loader = TrainLoader(index, replace(CONFIG, num_workers=workers), seed)
        return [(batch.keys, batch.wav_BT.tolist()) for batch in loader.epoch(epoch, start)]

    whole = run(3, 1)
    assert len(whole) == 4
    assert run(3, 1) == whole and run(3, 1, start=2) == whole[2:]
    assert run(3, 2) != whole and run(4, 1) != whole
    assert set(sum((keys for keys, _ in whole), [])) == set(corpus.wavs) or workers


def test_ranks_and_workers_without_shards_of_their_own_still_train(corpus):
    index = read_index(streamed(corpus, per_shard=20), "shard", corpus.labels)
    counts = Counter()
    for rank in range(2):
        loader = TrainLoader(index, replace(CONFIG, num_workers=2, batch_size=8), 3, rank, 2)
        counts.update(key for batch in loader.epoch(1) for key in batch.keys)
    assert sum(counts.values()) == 16
    few = read_index(streamed(corpus, per_shard=20), "shard", corpus.labels)
    assert len(list(TrainLoader(few, replace(CONFIG, num_workers=1), 3, 20, 21).epoch(1))) == 1


def test_a_stream_without_labels_is_read_once_to_know_what_is_in_it(corpus):
    index = read_index(streamed(corpus), "shard", lists_streams=True)
    assert {row.key: row.label for row in index} == corpus.labels
    delivered = [batch.keys[0] for batch in EvalLoader(index, CONFIG)]
    assert sorted(delivered) == sorted(corpus.wavs)


def test_an_unlabelled_stream_is_delivered_once(corpus):
    path = streamed(corpus, per_shard=20)
    urls = Path(path).read_text().splitlines()
    stream = Stream(urls, dict.fromkeys(corpus.wavs))
    delivered = [batch.keys[0] for batch in EvalLoader(stream, CONFIG)]
    assert sorted(delivered) == sorted(corpus.wavs)


def test_a_stream_needs_labels_and_an_index_for_balance(corpus):
    path = streamed(corpus)
    with pytest.raises(InputError, match="streamed shards need utt2lab"):
        read_index(path, "shard")
    index = read_index(path, "shard", corpus.labels)
    for change in ({"balance_classes": True}, {"shuffle_window": 2}):
        with pytest.raises(InputError, match="need an index; a stream has none"):
            TrainLoader(index, replace(CONFIG, **change), 3)


@pytest.mark.parametrize("workers", [0, 2])
def test_what_is_lost_or_foreign_is_an_error(corpus, workers):
    path = streamed(corpus)
    labels = corpus.labels
    without = {key: label for key, label in labels.items() if key != "u03"}
    cases = {
        "u03 is bonafide, utt2lab says nothing": without,
        "u03 is bonafide, utt2lab says spoof": labels | {"u03": "spoof"},
    }
    for message, stated in cases.items():
        assert message in failure(
            EvalLoader(read_index(path, "shard", stated), CONFIG, num_workers=workers)
        )
    for url in ("pipe:cat gone 2>&-", "file:gone"):
        write_lines(path, [url])
        assert url in failure(
            EvalLoader(read_index(path, "shard", labels), CONFIG, num_workers=workers)
        )


@pytest.mark.parametrize(("workers", "per_shard"), [(0, 5), (2, 20)])
def test_what_is_in_no_shard_is_named_by_whoever_reads_them_all(corpus, workers, per_shard):
    index = read_index(
        streamed(corpus, per_shard=per_shard), "shard", corpus.labels | {"u99": "spoof"}
    )
    assert (
        failure(EvalLoader(index, CONFIG, num_workers=workers))
        == "1 utterances are not in the shards: u99"
    )


def test_a_shard_that_ends_early_is_an_error_in_training_too(corpus):
    path = streamed(corpus, per_shard=20)
    shard = corpus.folder / "shards" / "shards_000000000.tar"
    whole = shard.read_bytes()
    shard.write_bytes(whole[: whole.index(b"u07.flac")])
    loader = TrainLoader(read_index(path, "shard", corpus.labels), CONFIG, 3)
    assert "damaged or truncated shard" in failure(loader.epoch(1))


@pytest.mark.parametrize("place", ["/dev/zero", "folder", "//dev/zero"])
def test_a_stream_of_what_is_no_file_is_refused_without_reading_it(tmp_path, place):
    (tmp_path / "folder").mkdir()
    write_lines(
        tmp_path / "list", [f"file:{tmp_path / place}" if place == "folder" else f"file:{place}"]
    )
    index = read_index(str(tmp_path / "list"), "shard", {"a": "spoof"})
    message = failure(EvalLoader(index, CONFIG, num_workers=0))
    assert "a folder or a device, expected a file" in message or "No such file" in message
