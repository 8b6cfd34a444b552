"""A mini corpus in the folders and formats of PartialSpoof, spliced from the corpus of egs/mini.

Half of the utterances have parts replaced by spoofed speech of the same speaker. A quarter has
parts replaced by bona fide speech of the same speaker, in the same way, so that a joint tells
nothing of the class. A quarter is untouched.

Letters: T samples, N parts of an utterance.
"""

from wedefense_lite import cli

import hashlib
import logging
import math
import shutil
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile as sf
from jsonargparse.typing import NonNegativeInt, PositiveFloat

from wedefense_lite.audio.data_dir import Trial
from wedefense_lite.audio.protocol import read_protocol
from wedefense_lite.audio.segments import runs
from wedefense_lite.files import NO_VALUE, InputError, read_text, write_lines, write_text
from wedefense_lite.labels import BONAFIDE, LABELS, SPOOF
from wedefense_lite.progress import progress

RATE = 16000
COUNTS = {"train": 400, "dev": 200, "eval": 300}  # utterances of a set
# Share of each type of utterance, by the prefix of its id: spoofed (the name that PartialSpoof has
# for them), spliced but bona fide (controls), untouched.
TYPE_SHARES = {"CON": 0.5, "CTL": 0.25, "LA": 0.25}
RESOLUTIONS = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64)  # seconds a label of the published lists
FADE = RATE // 250  # samples of the fade at a joint: 4 ms
WINDOW = RATE // 40  # samples to either side of a joint in which levels are matched: 25 ms
EDGE = RATE // 10  # samples before the first joint of an utterance
APART = RATE // 10  # samples between two parts
SPOOFED_SHARE = (0.15, 0.6)  # of the samples of an utterance
PART_SECONDS = (0.3, 0.7)  # mean length of a part; a single part may have 0.2 to 1.1 s
MAX_PARTS = 5  # where the mean length allows it
NON_SPEECH = 2  # class of VAD lines, beside spoof and bona fide
SPEECH_RANGE = 1000  # ratio of powers: 30 dB below the loudest 10 ms is no speech


class Spliced(NamedTuple):
    """An utterance after splicing.

    Attributes:
        wav: samples ``(T,)``.
        track: class index of each sample, ``(T,)`` int8.
        joints: numbers of the samples at which parts begin and end, in order.
    """

    wav: np.ndarray
    track: np.ndarray
    joints: list[int]


@dataclass(frozen=True)
class Utterance:
    """An utterance of the corpus: its type (see TYPE_SHARES), who speaks, and the audio."""

    type: str
    speaker: str
    attack: str
    audio: Spliced


@cache
def audio(path: str) -> np.ndarray:
    """Samples of a file, kept in memory: every file is a carrier and a donor several times."""
    return sf.read(path, dtype="float32")[0]


def draw_parts(rng: np.random.Generator, samples: int) -> list[tuple[int, int]]:
    """Parts of an utterance to replace: 15 to 60 % of the samples, 0.2 to 1.1 s each.

    Args:
        rng: random stream.
        samples: length of the utterance.

    Returns:
        ``(begin, end)`` of each part, in order.
    """
    replaced = rng.uniform(*SPOOFED_SHARE) * samples
    shortest, longest = PART_SECONDS
    least = math.ceil(replaced / (longest * RATE))
    most = max(least, min(MAX_PARTS, int(replaced / (shortest * RATE))))
    count = rng.integers(least, most + 1)
    shares_N = rng.uniform(0.5, 1, count)
    ends_N = np.cumsum(replaced * shares_N / shares_N.sum())  # as if nothing were between the parts
    begins_N = np.append(0, ends_N[:-1])
    # The samples that are neither part nor least distance are dealt out before, between and after.
    free = samples - replaced - 2 * EDGE - (count - 1) * APART
    shift_N = EDGE + np.sort(rng.uniform(0, free, count)) + APART * np.arange(count)
    return list(zip((shift_N + begins_N).astype(int), (shift_N + ends_N).astype(int)))


def rise(wav: np.ndarray, near: int) -> int:
    """The sample after the rise through zero nearest to a sample."""
    rises = np.flatnonzero((wav[:-1] < 0) & (wav[1:] >= 0)) + 1
    return int(rises[np.argmin(np.abs(rises - near))])


def level(wav: np.ndarray, joint: int) -> float:
    """Standard deviation of the samples around a joint."""
    return np.std(wav[max(joint - WINDOW, 0) : joint + WINDOW])


def gain(carrier: np.ndarray, joint: int, donor: np.ndarray, donor_joint: int) -> float:
    """Factor that makes the donor as loud as the carrier at a joint, at most 2 and at least 0.5."""
    ratio = level(carrier, joint) / level(donor, donor_joint)
    return float(np.clip(ratio, 0.5, 2))


def fit_part(
    carrier: np.ndarray, begin: int, end: int, donor: np.ndarray, start: int, stop: int
) -> np.ndarray:
    """``donor[start:stop]`` for ``carrier[begin:end]``: as loud at the joints, and faded."""
    gains = np.linspace(
        gain(carrier, begin, donor, start), gain(carrier, end, donor, stop), stop - start
    )
    part = donor[start:stop] * gains
    fade = np.sin(np.linspace(0, np.pi / 2, FADE)) ** 2
    part[:FADE] = fade * part[:FADE] + fade[::-1] * carrier[begin : begin + FADE]
    part[-FADE:] = fade[::-1] * part[-FADE:] + fade * carrier[end - FADE : end]
    return part


def splice(
    rng: np.random.Generator,
    carrier: np.ndarray,
    parts: list[tuple[int, int]],
    donors: list[str],
    label: int,
) -> Spliced:
    """The carrier with some parts replaced by parts of donors; its length may change.

    Args:
        rng: random stream.
        carrier: samples.
        parts: ``(begin, end)`` of the parts to replace, moved to the nearest rises through zero.
        donors: audio files to take the new parts from.
        label: class index of the new parts.
    """
    pieces = []
    joints = []
    copied = 0  # samples of the carrier that are in the pieces, or were replaced
    for begin, end in parts:
        donor = audio(donors[rng.integers(len(donors))])
        begin = rise(carrier, begin)
        end = rise(carrier, end)
        latest_start = len(donor) - EDGE - (end - begin)
        start = rise(donor, rng.integers(EDGE, max(EDGE + 1, latest_start)))
        stop = rise(donor, start + end - begin)
        part = fit_part(carrier, begin, end, donor, start, stop)
        length = joints[-1] if joints else 0
        first_joint = length + begin - copied
        joints += [first_joint, first_joint + len(part)]
        pieces += [carrier[copied:begin], part]
        copied = end
    wav = np.concatenate([*pieces, carrier[copied:]])
    track = np.full(len(wav), BONAFIDE, dtype=np.int8)
    for first, last in zip(joints[::2], joints[1::2]):
        track[first:last] = label
    return Spliced(wav, track, joints)


def speech_lines(wav: np.ndarray, track: np.ndarray) -> str:
    """VAD lines ``start end class``; 30 dB below the loudest 10 ms is no speech."""
    hop = round(RATE * RESOLUTIONS[0])
    power = np.add.reduceat(wav.astype(float) ** 2, np.arange(0, len(wav), hop))
    is_silent = np.repeat(power < power.max() / SPEECH_RANGE, hop)[: len(wav)]
    classes = np.where(is_silent, NON_SPEECH, track)
    lines = [
        f"{begin / RATE:.5f} {end / RATE:.5f} {label}\n" for begin, end, label in runs(classes)
    ]
    return "".join(lines)


def files_by_voice(trials: list[Trial]) -> dict[str, dict[str, list[str]]]:
    """Audio files by speaker and attack, of speakers who are heard both bona fide and spoofed.

    Raises:
        InputError: there is no such speaker.
    """
    files = defaultdict(lambda: defaultdict(list))
    for trial in trials:
        files[trial.speaker][trial.attack].append(trial.wav)
    voices = {}
    for speaker, by_attack in files.items():
        # Two bona fide files at least: a carrier, and another one for the parts of a control.
        if len(by_attack) > 1 and len(by_attack[NO_VALUE]) > 1:
            voices[speaker] = by_attack
    if not voices:
        raise InputError(
            f"{trials[0].wav}: no speaker of its set is heard both bona fide and spoofed"
        )
    return voices


def make_utterances(
    rng: np.random.Generator, trials: list[Trial], count: int
) -> Iterator[Utterance]:
    """Utterances of a set, each from speech of one speaker.

    Args:
        rng: random stream.
        trials: of the set in the corpus of egs/mini.
        count: number of utterances.
    """
    voices = files_by_voice(trials)
    carriers = []
    for speaker, by_attack in voices.items():
        carriers += [(speaker, wav) for wav in by_attack[NO_VALUE]]
    for kind, share in TYPE_SHARES.items():
        order = rng.permutation(len(carriers))
        for number in range(round(count * share)):
            speaker, wav = carriers[order[number % len(carriers)]]
            attacks = [NO_VALUE]
            label = BONAFIDE
            if kind == "CON":
                attacks = sorted(voices[speaker].keys() - {NO_VALUE})
                label = SPOOF
            attack = attacks[number % len(attacks)]
            donors = [file for file in voices[speaker][attack] if file != wav]
            parts = []
            if kind != "LA":
                parts = draw_parts(rng, len(audio(wav)))
            spliced = splice(rng, audio(wav), parts, donors, label)
            yield Utterance(kind, speaker, attack, spliced)


def write_set(folder: Path, name: str, utterances: Iterator[Utterance]) -> None:
    """Write one set of the corpus: audio, VAD, protocol, joints, and the label lists."""
    protocol = []
    splices = []
    labels = {resolution: {} for resolution in RESOLUTIONS}
    for number, utterance in enumerate(utterances):
        wav, track, joints = utterance.audio
        label = track.min()
        key = f"{utterance.type}_{name[0].upper()}_{number:07d}"
        (folder / f"vad/{name}/{key}.vad").write_text(speech_lines(wav, track))
        sf.write(folder / f"{name}/con_wav/{key}.wav", wav, RATE, subtype="PCM_16")
        protocol.append(f"{utterance.speaker} {key} - {utterance.attack} {LABELS[label]}")
        if label == BONAFIDE:
            splices += [f"{key} {joint / RATE:.4f}" for joint in joints]
        for resolution, lists in labels.items():
            starts = np.arange(0, len(track), round(resolution * RATE))
            lists[key] = np.minimum.reduceat(track, starts).astype(str)
    protocols = folder / "protocols/PartialSpoof_LA_cm_protocols"
    write_lines(protocols / f"PartialSpoof.LA.cm.{name}.trl.txt", protocol)
    write_lines(folder / name / "splices.txt", splices)
    for resolution, lists in labels.items():
        np.save(folder / f"segment_labels/{name}_seglab_{resolution:.2f}.npy", lists)


def make_mini(
    mini_dir: str, out_dir: str, scale: PositiveFloat = 1.0, seed: NonNegativeInt = 1
) -> None:
    """Build the mini corpus of PartialSpoof, whole or not at all.

    A corpus that was built before from the same files, code and options is left as it is.

    Args:
        mini_dir: corpus of egs/mini.
        out_dir: folder of the corpus to build.
        scale: factor on the numbers of utterances: 400 of train, 200 of dev, 300 of eval.
        seed: of the random choices.
    """
    code = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:16]
    stamp = f"seed={seed} scale={scale} code={code} from {read_text(Path(mini_dir, 'stamp.txt'))}"
    target = Path(out_dir)
    if (target / "stamp.txt").exists() and read_text(target / "stamp.txt") == stamp:
        logging.info("%s is there already", target)
        return
    partial = target.with_name(f".{target.name}.building")
    shutil.rmtree(partial, ignore_errors=True)
    for number, (name, count) in enumerate(COUNTS.items()):
        for folder in (f"{name}/con_wav", f"vad/{name}", "segment_labels"):
            (partial / folder).mkdir(parents=True, exist_ok=True)
        ending = "train.trn" if name == "train" else f"{name}.trl"
        protocol = Path(
            mini_dir, f"LA/ASVspoof2019_LA_cm_protocols/ASVspoof2019.LA.cm.{ending}.txt"
        )
        wavs = Path(mini_dir, f"LA/ASVspoof2019_LA_{name}/flac")
        trials = read_protocol(protocol, "speaker key - attack label", wavs)
        size = round(count * scale)
        # A stream a set: the utterances of one don't depend on how many another has.
        utterances = make_utterances(np.random.default_rng([seed, number]), trials, size)
        write_set(partial, name, progress(utterances, size, name))
    write_text(partial / "stamp.txt", stamp)
    shutil.rmtree(target, ignore_errors=True)
    partial.rename(target)
    logging.info("built %s", target)


if __name__ == "__main__":
    cli.run(make_mini)
