"""The plan of a corpus that does not fit: its numbers are those of the sample, times the hours."""

import re

import pytest
from corpora import RATE, make_corpus
from plan_storage import plan_storage

from wedefense_lite.files import InputError


@pytest.fixture
def lines(tmp_path, capsys):
    """Function that gives the printed lines by their first words."""
    # Twelve utterances of half a second.
    corpus = make_corpus(tmp_path, [RATE // 2] * 12)

    def printed(**options) -> dict[str, str]:
        plan_storage(corpus.list("shard"), crop_seconds=0.25, **options)
        text = capsys.readouterr().out
        return dict(line.split(": ", 1) for line in text.splitlines() if ": " in line)

    return printed


def test_hours_become_utterances_shards_epochs_and_bandwidth(lines):
    plan = lines(hours=2, gpus=4, rate=25.0, shard_megabytes=1.0, nodes=2)
    # 2 h x 3600 s / 0.5 s.
    assert plan["utterances"].endswith("= 14,400")
    # 14,400 utterances at 4 x 25 a second.
    assert plan["epoch"].endswith("= 0.04 h")
    kilobytes = float(re.search(r"([\d.]+) kB", plan["size"])[1])
    gigabytes = float(re.search(r"= ([\d.]+) GB", plan["size"])[1])
    assert gigabytes == pytest.approx(14_400 * kilobytes / 1e6, abs=0.06)
    shards, per_shard = re.search(r"([\d,]+) of ([\d,]+)", plan["shards"]).groups()
    assert int(per_shard) == pytest.approx(1000 / kilobytes, abs=1)
    assert int(shards) == pytest.approx(14_400 / int(per_shard), abs=1)
    megabytes = float(re.search(r"= ([\d.]+) MB/s", plan["bandwidth"])[1])
    assert megabytes == pytest.approx(100 * kilobytes / 1000, abs=0.06)


def test_shards_for_fewer_readers_than_there_are_are_told(lines):
    assert "warning" in lines(hours=0.001, gpus=8)
    assert "warning" not in lines(hours=100, gpus=1, shard_megabytes=0.1)


def test_a_stream_is_not_measured(tmp_path):
    corpus = make_corpus(tmp_path, [RATE // 2] * 2)
    path = corpus.folder / "url.list"
    path.write_text(f"file:{corpus.folder}/shards/shards_0.tar\n")
    with pytest.raises(InputError, match="expected shards on this machine|need utt2lab"):
        plan_storage(str(path), hours=1)
