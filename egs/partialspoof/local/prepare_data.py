"""PartialSpoof, as published, to data directories with the segments of every utterance."""

from wedefense_lite import cli

import logging
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jsonargparse.typing import PositiveInt

from wedefense_lite.audio.data_dir import Counts, Trial, durations, write_data_dirs
from wedefense_lite.audio.protocol import read_protocol
from wedefense_lite.audio.segments import parse_seconds, read_rttm, rttm_lines, runs
from wedefense_lite.files import (
    InputError,
    abbreviate,
    converted,
    read_rows,
    read_text,
)
from wedefense_lite.interop.pickled import read_frame_labels
from wedefense_lite.labels import LABELS, SPOOF, label_id

# Published numbers of utterances, bona fide and spoofed.
COUNTS = {"train": Counts(2580, 22800), "dev": Counts(2548, 22296), "eval": Counts(7355, 63882)}
SAMPLE_RATE = 16000
HOP = 0.01  # seconds a label of the finest list
# Frames of HOP by which a time may miss the boundary that it means: VAD files have 1e-5 s.
FRAME_SLACK = 1e-3
VAD_CLASSES = ("0", "1", "2")  # spoof, bona fide, no speech
NON_SPEECH = "2"
SPLICES = "splices.txt"  # times of joints, which the mini corpus has

Labels = dict[str, np.ndarray]  # labels of the frames of HOP, by utterance
TimedClass = tuple[float, float, int]  # start and end in seconds, class index
Difference = tuple[str, str]  # utterance, and how a publication differs from its 10 ms labels


@dataclass(frozen=True)
class LabelledSet:
    """A set of the corpus.

    Attributes:
        trials: of the protocol.
        segments: by utterance.
        differences: lines ``utterance difference``, sorted.
    """

    trials: list[Trial]
    segments: dict[str, list[TimedClass]]
    differences: list[str]


def check_lengths(path: Path, labels: Labels, seconds: dict[str, str]) -> None:
    """Compare the utterances of a label list, and the number of labels of each, with the audio.

    Args:
        path: of the label list, for errors.
        labels: of the list.
        seconds: duration of the audio, by utterance.

    Raises:
        InputError: utterances without labels, or whose labels end more than a frame before or after
            the audio.
    """
    missing = sorted(seconds.keys() - labels.keys())
    if missing:
        raise InputError(f"{path}: no labels of {len(missing)} utterances: {abbreviate(missing)}")
    wrong = []
    for name, length in seconds.items():
        count = len(labels[name])
        if abs(count - float(length) / HOP) > 1 + FRAME_SLACK:
            wrong.append(f"{name} has {count} labels for {length} s")
    if wrong:
        raise InputError(
            f"{path}: {len(wrong)} lists of another length than the audio, "
            f"at {HOP:g} s a label: {abbreviate(wrong)}"
        )


def compare_protocol(labels: Labels, classes: dict[str, int]) -> Iterator[Difference]:
    """Differences of the protocol: an utterance is spoof if any of its frames is.

    Args:
        labels: of 10 ms.
        classes: class index of each utterance in the protocol.
    """
    for utterance, fine in labels.items():
        if fine.min() != classes[utterance]:
            label = LABELS[classes[utterance]]
            spoofed = np.sum(fine == SPOOF)
            yield utterance, f"protocol: {label}, but {spoofed} frames are spoof"


def compare_lists(folder: Path, name: str, labels: Labels) -> Iterator[Difference]:
    """Differences of the coarser label lists: a segment is spoof if any of its frames is.

    Args:
        folder: of the label lists.
        name: of the set.
        labels: of 10 ms.
    """
    for path in sorted(folder.glob(f"{name}_seglab_?.??.npy")):
        seconds = float(path.stem.rpartition("_")[2])
        size = round(seconds / HOP)
        if size <= 1:  # the list of 10 ms itself
            continue
        coarse = read_frame_labels(path)
        for utterance, fine in labels.items():
            expected = np.minimum.reduceat(fine, np.arange(0, len(fine), size))
            published = coarse.get(utterance, fine[:0])
            if np.array_equal(expected, published):
                continue
            same = 0
            if len(published) == len(expected):
                same = np.sum(expected == published)
            counts = f"{same} of {len(published)} labels as expected, of {len(expected)}"
            yield utterance, f"{path.name}: {counts}"


def compare_times(
    source: str, times: dict[str, Iterable[TimedClass]], labels: Labels
) -> Iterator[Difference]:
    """Differences of a publication that has segments.

    Args:
        source: its name.
        times: its segments, by utterance.
        labels: of 10 ms.
    """
    for utterance, fine in labels.items():
        if utterance not in times:
            yield utterance, f"{source}: nothing of it"
            continue
        wrong = count_wrong_frames(fine, times[utterance])
        if wrong:
            yield utterance, f"{source}: {wrong} frames of {HOP:g} s differ"


def count_wrong_frames(fine: np.ndarray, times: Iterable[TimedClass]) -> int:
    """Number of frames that lie as a whole in a segment and have another class than it.

    A frame that a boundary cuts counts for neither side.
    """
    wrong = 0
    for start, end, label in times:
        first = max(math.ceil(start / HOP - FRAME_SLACK), 0)
        last = max(math.floor(end / HOP + FRAME_SLACK), 0)
        wrong += int((fine[first:last] != label).sum())
    return wrong


def read_vad(path: Path) -> Iterator[TimedClass]:
    """Speech of lines ``start end class``, seconds; lines of class 2, no speech, are left out."""
    for line, (start, end, name) in read_rows(path, columns=3):
        if name not in VAD_CLASSES:
            expected = ", ".join(VAD_CLASSES)
            raise InputError(f"{path}:{line}: class {name!r}, expected one of {expected}")
        start_seconds = converted(path, line, path.stem, start, parse_seconds)
        end_seconds = converted(path, line, path.stem, end, parse_seconds)
        if end_seconds < start_seconds:
            raise InputError(f"{path}:{line}: ends at {end} s, before its begin at {start} s")
        if name != NON_SPEECH:
            yield start_seconds, end_seconds, int(name)


def find_differences(
    corpus: Path, name: str, labels: Labels, classes: dict[str, int]
) -> Iterator[Difference]:
    """All that the other publications of a set say differently from its 10 ms labels."""
    yield from compare_protocol(labels, classes)
    yield from compare_lists(corpus / "segment_labels", name, labels)
    rttm = corpus / name / "con_data/rttm_2cls_0sil"
    if rttm.exists():
        segments = {utterance: zip(*columns) for utterance, columns in read_rttm(rttm).items()}
        yield from compare_times(rttm.name, segments, labels)
    speech = {path.stem: read_vad(path) for path in (corpus / "vad" / name).glob("*.vad")}
    if speech:
        yield from compare_times("vad", speech, labels)


def to_segments(fine: np.ndarray, seconds: float) -> list[TimedClass]:
    """Segments of an utterance from its 10 ms labels, from 0 to the end of its audio."""
    segments = []
    for first, last, label in runs(fine):
        end = seconds if last == len(fine) else last * HOP
        segments.append((first * HOP, end, label))
    return segments


def read_set(corpus: Path, name: str, num_threads: int) -> LabelledSet:
    """Trials of a set, their segments, and the differences between publications."""
    protocol = corpus / f"protocols/PartialSpoof_LA_cm_protocols/PartialSpoof.LA.cm.{name}.trl.txt"
    trials = read_protocol(
        protocol, "speaker key - attack label", corpus / name / "con_wav", extension=".wav"
    )
    path = corpus / f"segment_labels/{name}_seglab_{HOP:g}.npy"
    published = read_frame_labels(path)
    seconds = durations({trial.key: trial.wav for trial in trials}, SAMPLE_RATE, num_threads)
    check_lengths(path, published, seconds)
    labels = {}
    segments = {}
    for utterance, length in seconds.items():
        # A list may have a label more than the audio has frames: it labels no sample.
        count = math.ceil(float(length) / HOP - FRAME_SLACK)
        labels[utterance] = published[utterance][:count]
        segments[utterance] = to_segments(labels[utterance], float(length))
    classes = {trial.key: label_id(trial.label) for trial in trials}
    lines = [
        f"{utterance} {difference}"
        for utterance, difference in find_differences(corpus, name, labels, classes)
    ]
    return LabelledSet(trials, segments, sorted(lines))


def prepare_data(
    corpus_dir: str,
    data_dir: str = "data",
    expect_counts: bool = True,
    num_threads: PositiveInt = 8,
    relative: bool = False,
) -> None:
    """Write data/{train,dev,eval}, each with segments.rttm from the labels of 10 ms.

    Coarser labels, RTTM and VAD, where the corpus has them, are compared with the 10 ms labels;
    data/<set>/label_differences.txt has the differences. The mini corpus has times of joints
    (splices.txt), which are copied.

    Args:
        corpus_dir: folder that holds train/, dev/, eval/, protocols/, segment_labels/ and perhaps
            vad/, as published.
        data_dir: folder to write train/, dev/ and eval/ into.
        expect_counts: refuse protocols that don't have the published numbers of utterances.
        num_threads: threads that read the headers of the audio files.
        relative: write paths from the data directory to the audio, for trees that are moved.
    """
    corpus = Path(corpus_dir)
    sets = {name: read_set(corpus, name, num_threads) for name in COUNTS}
    trials = {name: labelled.trials for name, labelled in sets.items()}
    more_files = {}
    for name, labelled in sets.items():
        splices = corpus / name / SPLICES
        more_files[name] = {
            "segments.rttm": rttm_lines(labelled.segments),
            "label_differences.txt": labelled.differences,
            SPLICES: read_text(splices).splitlines() if splices.exists() else None,
        }
    write_data_dirs(
        data_dir,
        trials,
        COUNTS if expect_counts else None,
        num_threads=num_threads,
        more_files=more_files,
        relative=relative,
    )
    for name, labelled in sets.items():
        logging.info(
            "%s: %d differences between publications: %s",
            name,
            len(labelled.differences),
            abbreviate(labelled.differences) or "none",
        )


if __name__ == "__main__":
    cli.run(prepare_data)
