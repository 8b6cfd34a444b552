"""Tar shards of the audio of a wav.scp, and their list."""

from wedefense_lite import cli

import logging
import random
from pathlib import Path

from jsonargparse.typing import NonNegativeInt, PositiveInt

from wedefense_lite.audio import reading
from wedefense_lite.audio.conversion import Converter
from wedefense_lite.audio.index import read_corpus
from wedefense_lite.audio.remote import manifest_path, write_manifest
from wedefense_lite.audio.shards import check_shard_folder, pack
from wedefense_lite.files import InputError, abbreviate, check_writable


def make_shard_list(
    wav_scp: str,
    utt2lab: str,
    shards_dir: str,
    shard_list: str,
    num_utts_per_shard: PositiveInt = 1000,
    num_threads: PositiveInt = 8,
    prefix: str = "shards",
    shuffle: bool = False,
    seed: NonNegativeInt = 42,
    sample_rate: NonNegativeInt = 16000,
    allow_pipes: bool = False,
    convert: bool = False,
    channel: NonNegativeInt = 0,
    manifest: bool = False,
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
        sample_rate: rate of the system in Hz, to which files of another one are converted, here or
            when they are read; 0 for each its own.
        allow_pipes: run the commands "utt command |" of the wav.scp.
        convert: pack mono FLAC of 16 bits at sample_rate in the place of other files, so that no
            training has to convert them.
        channel: number of the channel that convert takes, from 1 on; 0 mixes all of them down.
        manifest: write <shard_list>.manifest as well, sizes and checksums by which shards that are
            read from a server are checked.
    """
    if channel and not convert:
        raise InputError(
            "--channel goes with --convert true; files that stay as they are, are read by "
            "data.channel of the system"
        )
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
    converter = Converter(sample_rate, channel) if convert else None
    folder = Path(shards_dir)
    pack(rows, folder, Path(shard_list), prefix, num_utts_per_shard, num_threads, converter)
    if manifest:
        write_manifest(shard_list)
    else:
        # One of other shards would refuse these.
        manifest_path(shard_list).unlink(missing_ok=True)
    if converter is not None:
        logging.info("%d of %d files were converted to FLAC", len(converter.converted), len(rows))
        if converter.clipped:
            names = abbreviate(sorted(converter.clipped))
            logging.warning("%d of them were clipped: %s", len(converter.clipped), names)


if __name__ == "__main__":
    cli.run(make_shard_list, positional=True)
