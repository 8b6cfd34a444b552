"""Pictures of utterances: waveform, spectrogram, reference, decisions and frame scores."""

from wedefense_lite import cli

import logging
from dataclasses import dataclass
from pathlib import Path

from wedefense_lite.audio import reading
from wedefense_lite.audio.index import read_wavs
from wedefense_lite.audio.segments import Segments, read_rttm
from wedefense_lite.audio.utterance import Utterance
from wedefense_lite.files import check_writable, file_name, write_text
from wedefense_lite.labels import BONAFIDE, SPOOF
from wedefense_lite.localization.decisions import match_decisions
from wedefense_lite.localization.frame_scores import match_frames, read_frames
from wedefense_lite.localization.frames import FrameScores
from wedefense_lite.localization.metrics import confusion
from wedefense_lite.localization.pictures import timeline
from wedefense_lite.scoring.scores import align


@dataclass(frozen=True)
class Candidate:
    """An utterance that may be drawn."""

    name: str
    wav: str
    frames: FrameScores
    truth: Segments
    decided: Segments


def draw_localization(
    wav_scp: str,
    frame_scores: str,
    rttm: str,
    segments: str,
    out_dir: str,
    count: int = 6,
    sample_rate: int = 16000,
) -> None:
    """Draw partly spoofed utterances, UTT.svg each: the best decided ones and the worst.

    One half has the fewest wrong seconds of the set, the other half the most. In names of files,
    characters of an id that can't be in one are %XX.

    Args:
        wav_scp: audio files of the set.
        frame_scores: lines ``utt start duration llr``, seconds, higher is more bona fide.
        rttm: reference segments.
        segments: segments.rttm of bin/segments.py.
        out_dir: folder to write to.
        count: number of pictures.
        sample_rate: rate of the audio files, Hz.
    """
    check_writable(Path(out_dir, "picture.svg"))
    frames, hop = read_frames(frame_scores)
    reference = read_rttm(rttm)
    pairs = match_frames(frames, reference, hop, frame_scores, rttm)
    decisions = match_decisions(read_rttm(segments), reference, hop, segments, rttm)
    wavs = align(read_wavs(wav_scp), wav_scp, reference, rttm)
    candidates = []
    for name, wav, (scores, truth), (decided, _) in zip(reference, wavs, pairs, decisions):
        is_partly_spoofed = len(set(truth.label)) == 2
        if is_partly_spoofed:
            candidates.append(Candidate(name, wav, scores, truth, decided))
    candidates.sort(key=lambda candidate: wrong_seconds(candidate.decided, candidate.truth))
    if len(candidates) > count:
        best = candidates[: count // 2]
        worst = candidates[count // 2 - count :]
        candidates = best + worst
    for candidate in candidates:
        utterance = Utterance(candidate.name, candidate.wav)
        wav_T = reading.read(utterance, sample_rate, floats=True)
        picture = timeline(wav_T, sample_rate, candidate.frames, candidate.truth, candidate.decided)
        write_text(Path(out_dir, f"{file_name(candidate.name)}.svg"), picture)
    logging.info("%d pictures in %s", len(candidates), out_dir)


def wrong_seconds(decided: Segments, truth: Segments) -> float:
    """Seconds of an utterance whose decision is not the class of the reference."""
    seconds_CC = confusion(decided, truth)
    return seconds_CC[SPOOF, BONAFIDE] + seconds_CC[BONAFIDE, SPOOF]


if __name__ == "__main__":
    cli.run(draw_localization)
