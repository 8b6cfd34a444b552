"""PartialSpoof, as published, to data directories with the segments of every utterance."""

import logging
import math
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from frame_labels import read_frame_labels
from jsonargparse.typing import PositiveInt

from wedefense_lite import cli
from wedefense_lite.audio.data_dir import Counts, Trial, durations, write_data_dirs
from wedefense_lite.audio.protocol import read_protocol
from wedefense_lite.audio.segments import read_rttm, runs, write_rttm
from wedefense_lite.files import (
    InputError,
    abbreviate,
    converted,
    number,
    read_rows,
    read_text,
    write_lines,
    write_text,
)
from wedefense_lite.labels import LABELS, SPOOF, label_id

COUNTS = {"train": Counts(2580, 22800), "dev": Counts(2548, 22296), "eval": Counts(7355, 63882)}
HOP = 0.01  # seconds a label of the finest list
SLACK = 1e-3  # frames by which printed times may be off
CLASSES = *_, NON_SPEECH = ("0", "1", "2")  # of VAD: spoof, bona fide, no speech

Labels = dict[str, np.ndarray]
Differences = Iterator[tuple[str, str]]


def check_lengths(path: Path, labels: Labels, seconds: dict[str, str]) -> None:
    """Compare the utterances, and the length of each list, with the audio.

    Raises:
        InputError: utterances without labels, or whose labels end more than a frame before or after the audio.
    """
    if missing := sorted(seconds.keys() - labels.keys()):
        raise InputError(f"{path}: no labels of {len(missing)} utterances: {abbreviate(missing)}")
    frames = {name: float(length) / HOP for name, length in seconds.items()}
    if wrong := [
        name for name, count in frames.items() if abs(len(labels[name]) - count) > 1 + SLACK
    ]:
        told = abbreviate(
            [f"{name} has {len(labels[name])} labels for {seconds[name]} s" for name in wrong]
        )
        raise InputError(
            f"{path}: {len(wrong)} lists of another length than the audio, at {HOP:g} s a label: {told}"
        )


def against_lists(folder: Path, name: str, labels: Labels) -> Differences:
    """Coarser lists, where a segment is spoof if any of its frames is."""
    for path in sorted(folder.glob(f"{name}_seglab_?.??.npy")):
        size = round(float(path.stem.rpartition("_")[2]) / HOP)
        coarse = read_frame_labels(path) if size > 1 else {}
        for utterance, fine in labels.items() if size > 1 else ():
            expected = np.minimum.reduceat(fine, np.arange(0, len(fine), size))
            if not np.array_equal(expected, found := coarse.get(utterance, fine[:0])):
                same = np.sum(expected == found) if len(found) == len(expected) else 0
                yield (
                    utterance,
                    f"{path.name}: {same} of {len(found)} labels as expected, of {len(expected)}",
                )


def frames_against(fine: np.ndarray, times: Iterable[tuple[float, float, int]]) -> int:
    """How many frames that lie whole in one of the segments ``(start, end, class)`` have another class."""
    parts = [
        (math.ceil(start / HOP - SLACK), math.floor(end / HOP + SLACK), label)
        for start, end, label in times
    ]
    return sum(
        int((fine[max(first, 0) : max(last, 0)] != label).sum()) for first, last, label in parts
    )


def read_vad(path: Path) -> Iterator[tuple[float, float, int]]:
    """Speech in lines ``start end class``, seconds; lines of class 2, no speech, are left out."""
    for line, (start, end, kind) in read_rows(path, columns=3):
        if kind not in CLASSES:
            raise InputError(f"{path}:{line}: class {kind!r}, expected one of {', '.join(CLASSES)}")
        times = [converted(path, line, path.stem, cell, number) for cell in (start, end)]
        if kind != NON_SPEECH:
            yield *times, int(kind)


def differences(corpus: Path, name: str, labels: Labels, classes: dict[str, int]) -> Differences:
    """What the other publications of a set say differently: ``(utterance, what)``."""
    for utterance, fine in labels.items():
        if fine.min() != classes[utterance]:
            yield (
                utterance,
                f"protocol: {LABELS[classes[utterance]]}, but {np.sum(fine == SPOOF)} frames are spoof",
            )
    yield from against_lists(corpus / "segment_labels", name, labels)
    rttm, vads = corpus / name / "con_data/rttm_2cls_0sil", (corpus / "vad" / name).glob("*.vad")
    segments = {key: zip(*rows) for key, rows in read_rttm(rttm).items()} if rttm.exists() else {}
    for source, times in (
        (rttm.name, segments),
        ("vad", {path.stem: read_vad(path) for path in vads}),
    ):
        for utterance, fine in labels.items() if times else ():
            if utterance not in times:
                yield utterance, f"{source}: nothing of it"
            elif wrong := frames_against(fine, times[utterance]):
                yield utterance, f"{source}: {wrong} frames of {HOP:g} s differ"


def read_set(
    corpus: Path, name: str, num_threads: int
) -> tuple[list[Trial], dict[str, list[tuple]], list[str]]:
    """Trials of a set, their segments ``(start, end, class)``, and what differs between publications."""
    protocol = corpus / f"protocols/PartialSpoof_LA_cm_protocols/PartialSpoof.LA.cm.{name}.trl.txt"
    trials = read_protocol(
        protocol, "speaker key - attack label", corpus / name / "con_wav", extension=".wav"
    )
    path = corpus / f"segment_labels/{name}_seglab_{HOP:g}.npy"
    labels = read_frame_labels(path)
    seconds = durations({trial.key: trial.wav for trial in trials}, 16000, num_threads)
    check_lengths(path, labels, seconds)
    # A label that begins where the audio ends is of nothing.
    labels = {
        key: labels[key][: math.ceil(float(length) / HOP - SLACK)]
        for key, length in seconds.items()
    }
    segments = {
        key: [
            (first * HOP, float(seconds[key]) if last == len(fine) else last * HOP, label)
            for first, last, label in runs(fine)
        ]
        for key, fine in labels.items()
    }
    found = differences(
        corpus, name, labels, {trial.key: label_id(trial.label) for trial in trials}
    )
    return trials, segments, sorted(f"{key} {what}" for key, what in found)


def prepare_data(
    corpus_dir: str,
    data_dir: str = "data",
    expect_counts: bool = True,
    num_threads: PositiveInt = 8,
) -> None:
    """Write data/{train,dev,eval}, each with segments.rttm from the labels of 10 ms.

    Coarser labels, RTTM and VAD, where they are there, are compared with these: what differs is in
    data/<set>/label_differences.txt. Times of joints, which the mini corpus has, are copied.

    Args:
        corpus_dir: folder of train/, dev/, eval/, protocols/, segment_labels/ and perhaps vad/, as published.
        data_dir: folder to write train/, dev/ and eval/ into.
        expect_counts: refuse protocols that don't have the published numbers of utterances.
        num_threads: threads that read the headers of the audio files.
    """
    corpus = Path(corpus_dir)
    found = {name: read_set(corpus, name, num_threads) for name in COUNTS}
    sets = {name: trials for name, (trials, _, _) in found.items()}
    write_data_dirs(data_dir, sets, COUNTS if expect_counts else None, num_threads=num_threads)
    for name, (_, segments, lines) in found.items():
        folder, splices = Path(data_dir, name), corpus / name / "splices.txt"
        write_rttm(folder / "segments.rttm", segments)
        write_lines(folder / "label_differences.txt", lines)
        logging.info(
            "%s: %d differences between publications: %s",
            name,
            len(lines),
            abbreviate(lines) or "none",
        )
        if splices.exists():
            write_text(folder / splices.name, read_text(splices))


if __name__ == "__main__":
    cli.run(prepare_data)
