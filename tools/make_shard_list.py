"""Tar shards of the audio of a wav.scp, and their list."""

import random
from pathlib import Path

from jsonargparse.typing import PositiveInt

from wedefense_lite import cli
from wedefense_lite.audio import reading
from wedefense_lite.audio.index import read_corpus
from wedefense_lite.audio.shards import check_shard_folder, pack
from wedefense_lite.files import check_writable


def make_shard_list(
    wav_scp: str,
    utt2lab: str,
    shards_dir: str,
    shard_list: str,
    num_utts_per_shard: PositiveInt = 1000,
    num_threads: PositiveInt = 8,
    prefix: str = "shards",
    shuffle: bool = False,
    seed: int = 42,
    sample_rate: int = 16000,
    allow_pipes: bool = False,
):
    """Pack the audio of a wav.scp into tar shards, and list the shards.

    Args:
        wav_scp: lines "utt path" or "utt command |".
        utt2lab: lines "utt bonafide|spoof"; none where nobody knows the labels.
        shards_dir: folder of the shards.
        shard_list: the list to write, one shard a line.
        num_utts_per_shard: utterances of a shard; the last shard may have fewer.
        num_threads: threads that decode, read and write.
        prefix: beginning of the shards' names.
        shuffle: pack the utterances in random order.
        seed: seed of the random order.
        sample_rate: required sample rate of all files in Hz; 0 for any.
        allow_pipes: run the commands "utt command |" of the wav.scp.
    """
    if allow_pipes:
        reading.allow_pipes()
    # Before the audio is decoded, which takes longest.
    check_shard_folder(Path(shards_dir), Path(shard_list), prefix)
    check_writable(shard_list, Path(shards_dir, f"{prefix}.tar"))
    rows = read_corpus(wav_scp, utt2lab, sample_rate, num_threads)
    # A stream reads shards from front to back: neighbours in a sorted list are often of one
    # speaker.
    if shuffle:
        random.Random(seed).shuffle(rows)
    pack(rows, Path(shards_dir), Path(shard_list), prefix, num_utts_per_shard, num_threads)


if __name__ == "__main__":
    cli.run(make_shard_list, positional=True)
