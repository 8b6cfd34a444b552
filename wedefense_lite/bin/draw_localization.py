"""Pictures of utterances: waveform, spectrogram, what is spoofed, what was decided, and the scores."""

import logging
from pathlib import Path

import numpy as np

from wedefense_lite import cli
from wedefense_lite.audio import reading
from wedefense_lite.audio.segments import read_rttm
from wedefense_lite.audio.utterance import Utterance
from wedefense_lite.files import read_table, write_text
from wedefense_lite.localization.frame_scores import matched, read_frames
from wedefense_lite.localization.metrics import confusion
from wedefense_lite.localization.pictures import timeline
from wedefense_lite.scoring.scores import aligned


def draw_localization(
    wav_scp: str,
    frame_scores: str,
    rttm: str,
    segments: str,
    out_dir: str,
    count: int = 6,
    sample_rate: int = 16000,
) -> None:
    """Draw some partly spoofed utterances, UTT.svg each: those with the fewest and the most wrong seconds.

    Args:
        wav_scp: reading of the set.
        frame_scores: lines ``utt start duration llr``.
        rttm: reference segments.
        segments: segments.rttm of bin/segments.py.
        out_dir: folder to write to.
        count: pictures.
        sample_rate: of the reading, in Hz.
    """
    (frames, hop), reference = read_frames(frame_scores), read_rttm(rttm)
    pairs = matched(frames, reference, hop, frame_scores, rttm)
    decisions = aligned(read_rttm(segments), segments, reference, rttm)
    wavs = aligned(read_table(wav_scp), wav_scp, reference, rttm)
    rows = [row for row in zip(reference, wavs, pairs, decisions) if len(set(row[2][1].label)) == 2]
    rows.sort(key=lambda row: np.fliplr(confusion(row[3], row[2][1])).trace())
    shown = rows if len(rows) <= count else [*rows[: count // 2], *rows[count // 2 - count :]]
    for name, path, pair, decided in shown:
        wav = reading.read(Utterance(name, path), sample_rate, floats=True)
        write_text(Path(out_dir, f"{name}.svg"), timeline(wav, sample_rate, *pair, decided))
    logging.info("%d pictures in %s", len(shown), out_dir)


if __name__ == "__main__":
    cli.run(draw_localization)
