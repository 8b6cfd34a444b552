"""Frame LLRs to segments that a person can open beside the audio."""

import logging
from dataclasses import asdict
from pathlib import Path

from wedefense_lite import cli
from wedefense_lite.audio.segments import read_rttm, write_rttm
from wedefense_lite.files import write_json, write_lines
from wedefense_lite.labels import LABELS, SPOOF
from wedefense_lite.localization.decoding import chosen
from wedefense_lite.localization.frame_scores import matched, read_frames


def segments(frame_scores: str, dev_frame_scores: str, dev_rttm: str, out_dir: str) -> None:
    """Decide which parts are spoof, in the way that is best on a dev set.

    Smoothing, threshold and the shortest segment have the highest F1 of spoofed time on dev. Written are
    segments.rttm, segments.json, labels/UTT.txt with the spoofed parts of each utterance as Audacity's label
    tracks (File, Import, Labels), and decoder.json with what was chosen.

    Args:
        frame_scores: frame_llr.txt of the utterances.
        dev_frame_scores: frame_llr.txt of the dev set.
        dev_rttm: its reference segments.
        out_dir: folder to write to.
    """
    dev, hop = read_frames(dev_frame_scores)
    decoder, f1 = cli.checked(
        chosen, matched(dev, read_rttm(dev_rttm), hop, dev_frame_scores, dev_rttm), hop
    )
    frames = dev if frame_scores == dev_frame_scores else read_frames(frame_scores)[0]
    found = {name: list(zip(*map(list, decoder.segments(one)))) for name, one in frames.items()}
    out = Path(out_dir)
    for name, parts in found.items():
        spoofed = (
            f"{start:.4f}\t{end:.4f}\t{LABELS[SPOOF]}"
            for start, end, label in parts
            if label == SPOOF
        )
        write_lines(out / "labels" / f"{name}.txt", spoofed)
    write_rttm(out / "segments.rttm", found)
    keys = "start", "end", "label"
    by_name = {
        name: [dict(zip(keys, (*times, LABELS[kind]))) for *times, kind in found[name]]
        for name in sorted(found)
    }
    write_json(out / "segments.json", by_name)
    write_json(out / "decoder.json", asdict(decoder) | {"frame_seconds": hop, "dev_f1": f1})
    logging.info(
        "segments of %d utterances in %s: %s, F1 on dev %.4f", len(found), out, decoder, f1
    )


if __name__ == "__main__":
    cli.run(segments)
