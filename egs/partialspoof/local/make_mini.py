"""A mini corpus in the folders and formats of PartialSpoof, spliced from the corpus that egs/mini builds.

Half of the utterances have parts replaced by spoofed speech of the same speaker, a quarter by bona fide
speech of the same speaker, in the same way, so that a joint tells nothing; a quarter is as it was.
"""

import hashlib
import logging
import math
import shutil
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import numpy as np
import soundfile as sf
from jsonargparse.typing import NonNegativeInt, PositiveFloat

from wedefense_lite import cli
from wedefense_lite.audio.data_dir import Trial
from wedefense_lite.audio.protocol import read_protocol
from wedefense_lite.audio.segments import runs
from wedefense_lite.files import NO_VALUE, InputError, read_text, write_lines, write_text
from wedefense_lite.labels import BONAFIDE, LABELS, SPOOF
from wedefense_lite.progress import progress

RATE = 16000
COUNTS = {"train": 400, "dev": 200, "eval": 300}
KINDS = {
    "CON": 0.5,
    "CTL": 0.25,
    "LA": 0.25,
}  # spoofed, bona fide but spliced, untouched; and their shares
RESOLUTIONS = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64)
FADE, WINDOW = (
    RATE // 250,
    RATE // 40,
)  # of a joint, 4 ms; in which levels are matched, 25 ms to either side
EDGE, APART = RATE // 10, RATE // 10  # samples before the first joint, and between parts
NON_SPEECH = 2
Spliced = tuple[
    np.ndarray, np.ndarray, list[int]
]  # samples, the class of each, and the joints, as samples


@cache
def audio(path: str) -> np.ndarray:
    return sf.read(path, dtype="float32")[0]


def draw_parts(rng: np.random.Generator, samples: int) -> list[tuple[int, int]]:
    """Parts to replace, ``(begin, end)``: 15 to 60 % of the samples, 0.2 to 1.1 s each."""
    total = rng.uniform(0.15, 0.6) * samples
    least = math.ceil(total / (0.7 * RATE))
    count = rng.integers(least, max(least, min(5, int(total / (0.3 * RATE)))) + 1)
    shares = rng.uniform(0.5, 1, count)
    ends = np.cumsum(total * shares / shares.sum())
    free = samples - total - 2 * EDGE - (count - 1) * APART
    shift = EDGE + np.sort(rng.uniform(0, free, count)) + APART * np.arange(count)
    return list(zip((shift + np.append(0, ends[:-1])).astype(int), (shift + ends).astype(int)))


def rise(wav: np.ndarray, near: int) -> int:
    """The sample after the rise through zero nearest to a sample."""
    rises = np.flatnonzero((wav[:-1] < 0) & (wav[1:] >= 0)) + 1
    return int(rises[np.argmin(np.abs(rises - near))])


def fitted(
    carrier: np.ndarray, begin: int, end: int, donor: np.ndarray, start: int, stop: int
) -> np.ndarray:
    """``donor[start:stop]`` to stand for ``carrier[begin:end]``: as loud at the joints, and faded there."""

    def gain(here: int, there: int) -> float:
        levels = (
            np.std(wav[max(at - WINDOW, 0) : at + WINDOW])
            for wav, at in ((carrier, here), (donor, there))
        )
        return float(np.clip(np.divide(*levels), 0.5, 2))

    part = donor[start:stop] * np.linspace(gain(begin, start), gain(end, stop), stop - start)
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
    """The carrier with parts of it replaced by parts of donors, of class ``label``; it may change in length."""
    pieces, joints, at, length = [], [], 0, 0
    for begin, end in parts:
        donor = audio(donors[rng.integers(len(donors))])
        begin, end = rise(carrier, begin), rise(carrier, end)
        start = rise(donor, rng.integers(EDGE, max(EDGE + 1, len(donor) - EDGE - (end - begin))))
        part = fitted(carrier, begin, end, donor, start, rise(donor, start + end - begin))
        joints += [length + begin - at, length + begin - at + len(part)]
        pieces += [carrier[at:begin], part]
        at, length = end, joints[-1]
    wav = np.concatenate([*pieces, carrier[at:]])
    track = np.full(len(wav), BONAFIDE, dtype=np.int8)
    for first, last in zip(joints[::2], joints[1::2]):
        track[first:last] = label
    return wav, track, joints


def speech_lines(wav: np.ndarray, track: np.ndarray) -> str:
    """VAD lines: what is 30 dB below the loudest 10 ms is no speech."""
    hop = round(RATE * RESOLUTIONS[0])
    power = np.add.reduceat(wav.astype(float) ** 2, np.arange(0, len(wav), hop))
    kinds = np.where(np.repeat(power < power.max() / 1000, hop)[: len(wav)], NON_SPEECH, track)
    return "".join(
        f"{begin / RATE:.5f} {end / RATE:.5f} {kind}\n" for begin, end, kind in runs(kinds)
    )


def utterances(
    rng: np.random.Generator, trials: list[Trial], count: int
) -> Iterator[tuple[str, str, str, Spliced]]:
    """``(kind, speaker, attack, audio)`` of each utterance of a set, from speech of one speaker each."""
    voices = defaultdict(lambda: defaultdict(list))
    for trial in trials:
        voices[trial.speaker][trial.attack].append(trial.wav)
    both = [name for name, files in voices.items() if len(files) > 1 and len(files[NO_VALUE]) > 1]
    carriers = [(speaker, wav) for speaker in both for wav in voices[speaker][NO_VALUE]]
    if not carriers:
        raise InputError(
            f"{trials[0].wav}: no speaker of its set is heard both bona fide and spoofed"
        )
    for kind, share in KINDS.items():
        order = rng.permutation(len(carriers))
        for number in range(round(count * share)):
            speaker, wav = carriers[order[number % len(carriers)]]
            attacks = sorted(voices[speaker].keys() - {NO_VALUE}) if kind == "CON" else [NO_VALUE]
            attack = attacks[number % len(attacks)]
            donors = [file for file in voices[speaker][attack] if file != wav]
            parts = [] if kind == "LA" else draw_parts(rng, len(audio(wav)))
            yield (
                kind,
                speaker,
                attack,
                splice(rng, audio(wav), parts, donors, SPOOF if kind == "CON" else BONAFIDE),
            )


def make_set(folder: Path, name: str, made: Iterator[tuple[str, str, str, Spliced]]) -> None:
    """Write one set of the corpus."""
    protocol, splices, labels = [], [], {resolution: {} for resolution in RESOLUTIONS}
    for number, (kind, speaker, attack, (wav, track, joints)) in enumerate(made):
        key = f"{kind}_{name[0].upper()}_{number:07d}"
        (folder / f"vad/{name}/{key}.vad").write_text(speech_lines(wav, track))
        sf.write(folder / f"{name}/con_wav/{key}.wav", wav, RATE, subtype="PCM_16")
        protocol.append(f"{speaker} {key} - {attack} {LABELS[track.min()]}")
        splices += [f"{key} {joint / RATE:.4f}" for joint in joints if track.min() == BONAFIDE]
        for resolution, lists in labels.items():
            lists[key] = np.minimum.reduceat(
                track, np.arange(0, len(track), round(resolution * RATE))
            ).astype(str)
    write_lines(
        folder / f"protocols/PartialSpoof_LA_cm_protocols/PartialSpoof.LA.cm.{name}.trl.txt",
        protocol,
    )
    write_lines(folder / name / "splices.txt", splices)
    for resolution, lists in labels.items():
        np.save(folder / f"segment_labels/{name}_seglab_{resolution:.2f}.npy", lists)


def make_mini(
    mini_dir: str, out_dir: str, scale: PositiveFloat = 1.0, seed: NonNegativeInt = 1
) -> None:
    """Build the corpus, whole or not at all; one that was built from the same is left as it is.

    Args:
        mini_dir: the corpus of egs/mini.
        out_dir: folder to make.
        scale: of the numbers of utterances, 400, 200 and 300.
        seed: of all that is drawn.
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
        made = utterances(np.random.default_rng([seed, number]), trials, round(count * scale))
        make_set(partial, name, progress(made, round(count * scale), name))
    write_text(partial / "stamp.txt", stamp)
    shutil.rmtree(target, ignore_errors=True)
    partial.rename(target)
    logging.info("built %s", target)


if __name__ == "__main__":
    cli.run(make_mini)
