"""LlamaPartialSpoof, as published, to data directories with the segments of every utterance."""

from wedefense_lite import cli

from pathlib import Path
from typing import Literal

from wedefense_lite.audio.data_dir import Counts, Trial, check_labels
from wedefense_lite.audio.segments import Segments
from wedefense_lite.files import NO_VALUE, InputError, abbreviate, read_rows
from wedefense_lite.labels import BONAFIDE, LABELS
from wedefense_lite.localization.data import label_of, write_segmented_dirs
from wedefense_lite.localization.published import read_reference

# Published numbers of utterances, bona fide and spoofed. Part b has the partial spoofs of part a,
# spliced in two other ways.
COUNTS = {"R01TTS.0.a": Counts(10573, 65655), "R01TTS.0.b": Counts(0, 64388)}
PARTS = {"a": ["R01TTS.0.a"], "ab": ["R01TTS.0.a", "R01TTS.0.b"]}
# No dev set is published: these speakers of the training set, the last in its list, are ours.
DEV_SPEAKERS = "6345 7850 7976 8297"


def make_trial(key: str, folder: Path, segments: Segments) -> Trial:
    """A trial from its id, ``system-kind_speaker_chapter_...``, or ``dev-clean_speaker_...``.

    Raises:
        InputError: an id without a speaker.
    """
    system, *fields = key.split("_")
    if not fields:
        raise InputError(f"{folder}: utterance {key!r}, expected system_speaker_chapter_...")
    label = label_of(segments)
    attack = NO_VALUE if label == LABELS[BONAFIDE] else system
    return Trial(key, str(folder / f"{key}.wav"), label, fields[0], attack)


def read_split(corpus: Path, dev_speakers: str) -> dict[str, str]:
    """Set of each speaker, from ``split/{train,test}.spk``; some of training are dev.

    Raises:
        InputError: a dev speaker who isn't in the training set.
    """
    split = {}
    for name, set_name in (("train", "train"), ("test", "eval")):
        for _, (speaker,) in read_rows(corpus / f"split/{name}.spk", columns=1):
            split[speaker] = set_name
    for speaker in dev_speakers.split():
        if split.get(speaker) != "train":
            raise InputError(
                f"--dev_speakers: {speaker} is not in {corpus / 'split/train.spk'}, expected "
                "speakers of the training set"
            )
        split[speaker] = "dev"
    return split


def prepare_data(
    corpus_dir: str,
    data_dir: str = "data",
    parts: Literal["a", "ab"] = "a",
    dev_speakers: str = DEV_SPEAKERS,
    expect_counts: bool = True,
    relative: bool = False,
) -> None:
    """Write data/{train,dev,eval}, each with segments.rttm, split by speaker.

    Args:
        corpus_dir: folder that holds R01TTS.0.a/ and label_R01TTS.0.a.txt, perhaps those of part
            b, and split/ of the publishers' repository.
        data_dir: folder to write into.
        parts: parts of the corpus; b has the partial spoofs of a, spliced in other ways.
        dev_speakers: speakers of train.spk that are the dev set.
        expect_counts: refuse label files that don't have the published numbers of utterances.
        relative: write paths from the data directory to the audio, for trees that are moved.
    """
    corpus = Path(corpus_dir)
    set_of_speaker = read_split(corpus, dev_speakers)
    sets: dict[str, list[Trial]] = {"train": [], "dev": [], "eval": []}
    segments: dict[str, Segments] = {}
    without_set = []
    for part in PARTS[parts]:
        own_segments = read_reference(corpus / f"label_{part}.txt", {})
        trials = [make_trial(key, corpus / part, own) for key, own in own_segments.items()]
        check_labels(part, trials, COUNTS[part] if expect_counts else None)
        for trial in trials:
            if trial.speaker in set_of_speaker:
                sets[set_of_speaker[trial.speaker]].append(trial)
            else:
                without_set.append(trial.key)
        segments |= own_segments
    if without_set:
        raise InputError(
            f"{corpus / 'split'}: {len(without_set)} utterances have speakers of neither list: "
            f"{abbreviate(without_set)}"
        )
    write_segmented_dirs(data_dir, sets, segments, relative=relative)


if __name__ == "__main__":
    cli.run(prepare_data)
