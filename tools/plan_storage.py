"""Shards, bytes, readers and bandwidth that a corpus and a number of GPUs need."""

from wedefense_lite import cli

import math
import time

import numpy as np
from jsonargparse.typing import PositiveFloat, PositiveInt

from wedefense_lite.audio.index import read_index
from wedefense_lite.audio.stream import Stream
from wedefense_lite.files import InputError
from wedefense_lite.systems.config import DataConfig
from wedefense_lite.systems.samples import read_training_sample

TAR_BLOCK = 512  # bytes; header and padding of audio and label take about four of them
SECONDS_PER_HOUR = 3600
MEGABYTE = 10**6
GIGABYTE = 10**9
BITS = 8


def plan_storage(
    shard_list: str,
    hours: PositiveFloat,
    gpus: PositiveInt = 1,
    rate: PositiveFloat = 100.0,
    crop_seconds: PositiveFloat = 4.0,
    shard_megabytes: PositiveFloat = 500.0,
    nodes: PositiveInt = 1,
    sample: PositiveInt = 200,
):
    """Print how many shards, gigabytes, readers and how much bandwidth a training needs.

    Bytes a second and the cost of reading are measured on a small part of the corpus, packed as the
    rest will be, on this machine; all else is arithmetic, which is printed with its numbers.

    Args:
        shard_list: a small part of the corpus, packed by make_shard_list.py.
        hours: hours of audio of the whole corpus.
        gpus: number of GPUs of all nodes.
        rate: utterances that one GPU trains on in a second, as the log of a training says.
        crop_seconds: length of what is trained on, in seconds.
        shard_megabytes: size of a shard.
        nodes: number of machines, each with a cache of its own.
        sample: number of utterances that are read for the measurement.
    """
    index = read_index(shard_list, "shard")
    if isinstance(index, Stream):
        raise InputError(f"{shard_list}: a stream; expected shards on this machine")
    config = DataConfig(crop_seconds=crop_seconds)
    count = min(sample, len(index))
    chosen = np.random.default_rng(0).choice(len(index), count, replace=False)
    sizes = []
    seconds = []
    start = time.process_time()
    for number in chosen:
        row = index[number]
        read_training_sample(row, config, np.random.default_rng(int(number)))
        sizes.append(row.size + 4 * TAR_BLOCK)
        seconds.append(row.samples / row.rate)
    reading_seconds = (time.process_time() - start) / count
    utterance_seconds = float(np.mean(seconds))
    utterance_bytes = float(np.mean(sizes))

    utterances = math.ceil(hours * SECONDS_PER_HOUR / utterance_seconds)
    total_bytes = utterances * utterance_bytes
    per_shard = max(1, round(shard_megabytes * MEGABYTE / utterance_bytes))
    shards = math.ceil(utterances / per_shard)
    total_rate = gpus * rate
    readers = math.ceil(rate * reading_seconds)
    megabytes_per_second = total_rate * utterance_bytes / MEGABYTE
    gigabits_per_second = BITS * megabytes_per_second * MEGABYTE / GIGABYTE
    epoch_hours = utterances / total_rate / SECONDS_PER_HOUR
    gpus_per_node = math.ceil(gpus / nodes)

    print(
        f"measured on {count} utterances: {utterance_seconds:.2f} s and "
        f"{utterance_bytes / 1000:.1f} kB an utterance, {1000 * reading_seconds:.2f} CPU-ms to "
        f"read a crop of {crop_seconds:g} s"
    )
    print(
        f"utterances: {hours:g} h x {SECONDS_PER_HOUR} s / {utterance_seconds:.2f} s = "
        f"{utterances:,}"
    )
    print(
        f"size: {utterances:,} x {utterance_bytes / 1000:.1f} kB = {total_bytes / GIGABYTE:,.1f} GB"
    )
    print(
        f"shards: {shards:,} of {per_shard:,} utterances (--num_utts_per_shard {per_shard}), "
        f"{shard_megabytes:g} MB each"
    )
    print(f"epoch: {utterances:,} / ({gpus} GPUs x {rate:g} utt/s) = {epoch_hours:.2f} h")
    print(
        f"readers: {rate:g} utt/s x {1000 * reading_seconds:.2f} CPU-ms = {readers} a GPU "
        f"(--num_workers {readers}), {readers * gpus_per_node} cores a node of {gpus_per_node} GPUs"
    )
    print(
        f"bandwidth: {total_rate:g} utt/s x {utterance_bytes / 1000:.1f} kB = "
        f"{megabytes_per_second:,.1f} MB/s ({gigabits_per_second:.2f} Gbit/s), all nodes together, "
        "where nothing is kept from one epoch to the next"
    )
    print(
        f"cache: {total_bytes / GIGABYTE:,.1f} GB on each of {nodes} nodes keep all shards after "
        "the first epochs (WEDEFENSE_CACHE_GB); less keeps what an epoch that broke off had read"
    )
    if shards < gpus * readers:
        print(
            f"warning: {shards} shards for {gpus} x {readers} readers: a stream would have each "
            f"read all shards; take --shard_megabytes "
            f"{total_bytes / (gpus * readers * MEGABYTE):.0f} or less"
        )


if __name__ == "__main__":
    cli.run(plan_storage)
