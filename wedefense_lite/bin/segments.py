"""Frame LLRs to segments that a person can open beside the audio."""

from wedefense_lite import cli

import logging
from dataclasses import asdict
from pathlib import Path

from wedefense_lite.audio.segments import read_rttm, write_rttm
from wedefense_lite.files import InputError, check_writable, file_name, write_json, write_lines
from wedefense_lite.labels import LABELS, SPOOF
from wedefense_lite.localization.decoding import choose_decoder
from wedefense_lite.localization.frame_scores import match_frames, read_frames


def segments(frame_scores: str, dev_frame_scores: str, dev_rttm: str, out_dir: str) -> None:
    """Decide which segments are spoofed, by the decoder that is best on a dev set.

    The decoder (smoothing, threshold, shortest segment) has the highest F1 of spoofed time on dev.

    The output folder gets segments.rttm; segments.json; labels/UTT.txt, the spoofed segments of
    an utterance as a label track of Audacity (File, Import, Labels; characters of an id that no
    file name may have are %XX); and decoder.json with the decoder.

    Args:
        frame_scores: frame_llr.txt of the utterances.
        dev_frame_scores: frame_llr.txt of the dev set.
        dev_rttm: reference segments of the dev set.
        out_dir: folder to write to.
    """
    out = Path(out_dir)
    check_writable(out / "segments.rttm", out / "segments.json", out / "decoder.json")
    dev_frames, hop = read_frames(dev_frame_scores)
    dev_pairs = match_frames(dev_frames, read_rttm(dev_rttm), hop, dev_frame_scores, dev_rttm)
    decoder, f1 = cli.checked_option(dev_frame_scores, choose_decoder, dev_pairs, hop)
    if frame_scores == dev_frame_scores:
        frames = dev_frames
    else:
        frames, other_hop = read_frames(frame_scores)
        if other_hop != hop:
            raise InputError(
                f"{frame_scores}: frames of {other_hop:g} s, expected {hop:g} s as in "
                f"{dev_frame_scores}"
            )
    decided = {}
    for name, scores in frames.items():
        start, end, label = decoder.segments(scores)
        decided[name] = list(zip(start.tolist(), end.tolist(), label.tolist()))
    for name, rows in decided.items():
        spoofed = [
            f"{start:.4f}\t{end:.4f}\t{LABELS[SPOOF]}"
            for start, end, label in rows
            if label == SPOOF
        ]
        write_lines(out / "labels" / f"{file_name(name)}.txt", spoofed)
    write_rttm(out / "segments.rttm", decided)
    write_json(out / "segments.json", {name: _records(decided[name]) for name in sorted(decided)})
    write_json(out / "decoder.json", asdict(decoder) | {"frame_seconds": hop, "dev_f1": f1})
    logging.info(
        "segments of %d utterances in %s: %s, F1 on dev %.4f", len(decided), out, decoder, f1
    )


def _records(rows: list[tuple[float, float, int]]) -> list[dict]:
    return [{"start": start, "end": end, "label": LABELS[label]} for start, end, label in rows]


if __name__ == "__main__":
    cli.run(segments)
