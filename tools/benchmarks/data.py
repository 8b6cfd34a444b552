"""Data: headers, tables, packing, crops, and lists of any length."""

import io
import json
import os
import shutil
import subprocess
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import soundfile as sf

from benchmarks.measuring import memory_of_status
from benchmarks.work import RATE, Bench, Comparison
from wedefense_lite.audio.data_dir import durations
from wedefense_lite.audio.index import read_index, read_wavs, write_raw_list
from wedefense_lite.audio.packed import PackedRows
from wedefense_lite.audio.reading import measure_lengths
from wedefense_lite.audio.shards import pack
from wedefense_lite.audio.utterance import Utterance
from wedefense_lite.files import InputError, read_table, write_table
from wedefense_lite.labels import LABELS
from wedefense_lite.training.loader import TrainLoader

SCALES = (1, 10, 100)
ROWS_READ = 1000  # of an index, whose memory is looked at
LINKS_OF_FILE = 10_000  # some file systems allow 65,000 to a file


def prep(bench: Bench) -> Iterator[Comparison]:
    """Headers and tables of a data directory."""
    rows = bench.noise_files()
    wav_scp = bench.folder / "wav.scp"
    write_table(wav_scp, {row.key: row.path for row in rows})

    def plain_table() -> None:
        with open(wav_scp, encoding="utf-8") as file:
            dict(line.rstrip("\n").split(" ", 1) for line in file)

    def lengths() -> None:
        durations(read_wavs(wav_scp), RATE, 1)

    count = len(rows)
    yield Comparison(
        "wav.scp", partial(read_table, wav_scp), plain_table, "split of each line", count=count
    )
    yield Comparison(
        "durations", lengths, partial(_headers, rows), "sf.info of each file", count=count
    )


def _headers(rows: list[Utterance]) -> None:
    for row in rows:
        sf.info(row.path)


def packing(bench: Bench) -> Iterator[Comparison]:
    """Files into tar shards, with their indices, beside ``tar`` and beside Python's tar files."""
    rows = bench.noise_files()
    for row in rows:
        Path(row.path).with_suffix(".lab").write_text(row.label)
    folder = Path(rows[0].path).parent
    packed = partial(
        pack, rows, bench.folder / "shards", bench.folder / "shard.list", num_threads=1
    )
    if shutil.which("tar"):
        yield Comparison(
            "shards", packed, partial(_run_tar, folder), "tar", goal=3.0, count=len(rows)
        )
    yield Comparison(
        "shards, in Python",
        packed,
        partial(_write_tar, rows, bench.folder / "plain.tar"),
        "tarfile of the same members",
        count=len(rows),
    )


def _run_tar(folder: Path) -> None:
    subprocess.run(["tar", "-cf", f"{folder}.tar", "-C", folder, "."], check=True)


def _write_tar(rows: list[Utterance], path: Path) -> None:
    with tarfile.open(path, "w") as tar:
        for row in rows:
            content = Path(row.path).read_bytes()
            for extension, data in (("flac", content), ("lab", row.label.encode())):
                member = tarfile.TarInfo(f"{row.key}.{extension}")
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))


def reading(bench: Bench) -> Iterator[Comparison]:
    """Crops of training, of files and of shards."""
    experiment = bench.experiment()
    data = replace(experiment.data, num_workers=0, augment=[])
    crop = round(data.crop_seconds * RATE)
    for extension, goal in (("flac", 1.10), ("wav", 1.25)):
        rows = bench.noise_files(extension)
        # An epoch fills its last batch with crops of the next pass, which the floor wouldn't read.
        rows = rows[: len(rows) // data.batch_size * data.batch_size]
        shard_list = bench.folder / f"{extension}.list"
        pack(rows, bench.folder / f"{extension}_shards", shard_list, num_threads=1)
        shard_rows = read_index(str(shard_list), "shard")
        for kind, listed in (("raw", rows), ("shard", shard_rows)):
            yield Comparison(
                f"{extension} {kind}",
                partial(_read_epoch, TrainLoader(listed, data, seed=1)),
                partial(_read_crops, listed, crop, np.random.default_rng(1)),
                "seek and read",
                goal,
                count=len(listed),
            )


def _read_epoch(loader: TrainLoader) -> None:
    for _ in loader.epoch(1):
        pass


def _read_crops(rows: list[Utterance], crop: int, rng: np.random.Generator) -> None:
    for row in rows:
        if row.offset:
            with open(row.path, "rb") as shard:
                shard.seek(row.offset)
                source = io.BytesIO(shard.read(row.size))
        else:
            source = row.path
        with sf.SoundFile(source) as audio:
            audio.seek(int(rng.integers(audio.frames - crop)))
            audio.read(crop, dtype="int16")


def scale(bench: Bench) -> Iterator[Comparison]:
    """Lists of 1, 10 and 100 times as many rows, of hard links to a few files.

    Memory of ``reader`` is what a forked process copies while it reads rows of an index that it
    shares with its parent.
    """
    path = bench.noise_files()[0].path
    samples = sf.info(path).frames
    folder = bench.folder / "links"
    folder.mkdir()
    for factor in SCALES:
        unmeasured = []
        listed = []
        for number in range(factor * bench.size.rows):
            link = folder / f"u{number}.flac"
            if not link.exists():
                link_to(path, link, number)
            row = Utterance(f"u{number}", str(link), label=LABELS[number % 2])
            unmeasured.append(row)
            listed.append(replace(row, samples=samples, rate=RATE))
        raw_list = bench.folder / f"{factor}.list"
        write_raw_list(raw_list, listed)
        yield Comparison(
            f"headers {factor}x",
            partial(measure_lengths, unmeasured, RATE, 1),
            partial(_headers, unmeasured),
            "sf.info of each file",
            count=len(listed),
        )
        yield Comparison(
            f"index {factor}x",
            partial(read_index, str(raw_list), "raw"),
            partial(_lines_of_json, raw_list),
            "json.loads of each line",
            count=len(listed),
        )
        packed = PackedRows(listed)
        yield Comparison(
            f"reader {factor}x",
            partial(private_memory, partial(_look_at, packed)),
            partial(private_memory, partial(_look_at, listed)),
            "a list of objects",
            count=len(listed),
            tells_memory=True,
        )


def link_to(path: str, link: Path, number: int) -> None:
    """Hard link to a file, or a copy of it, to which the links that follow lead.

    Args:
        path: the file.
        link: name of the link.
        number: of the links, from 0 on, in order.
    """
    if number % LINKS_OF_FILE == 0:
        shutil.copyfile(path, link)
        return
    first = number - number % LINKS_OF_FILE
    os.link(link.with_name(f"u{first}.flac"), link)


def _lines_of_json(path: Path) -> None:
    with open(path, encoding="utf-8") as file:
        for line in file:
            json.loads(line)


def _look_at(rows: list[Utterance] | PackedRows) -> None:
    step = max(1, len(rows) // ROWS_READ)
    for number in range(0, len(rows), step):
        _ = rows[number].path


def private_memory(function: Callable[[], None]) -> float | None:
    """Memory in MB that a forked process has of its own after a call; None where the system doesn't
    say.

    Raises:
        InputError: the process ended early.
    """
    reading_end, writing_end = os.pipe()
    child = os.fork()
    if not child:
        status = 1
        try:
            function()
            memory = memory_of_status("Private_Dirty:", "/proc/self/smaps_rollup")
            if memory is not None:
                os.write(writing_end, str(memory).encode())
            status = 0
        finally:
            os._exit(status)
    os.close(writing_end)
    with open(reading_end) as pipe:
        text = pipe.read()
    _, status = os.waitpid(child, 0)
    if status:
        raise InputError(f"a reading process ended with {os.waitstatus_to_exitcode(status)}")
    return float(text) if text else None
