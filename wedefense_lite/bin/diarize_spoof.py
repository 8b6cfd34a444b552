"""Who speaks when in a recording of several talkers, and which of them is spoofed."""

import logging
import os
from pathlib import Path

import numpy as np
import soundfile as sf

import wedefense_lite
from wedefense_lite import cli
from wedefense_lite.audio.resampling import resample
from wedefense_lite.audio.segments import write_rttm
from wedefense_lite.files import InputError, write_text
from wedefense_lite.labels import LABELS
from wedefense_lite.mixtures.activity import activity
from wedefense_lite.mixtures.separation import lost_band, separate, trained_separator
from wedefense_lite.report.tables import publish, table
from wedefense_lite.scoring.bundle import Detector


def diarize_spoof(
    recording: str,
    detector: str | None = None,
    separator_config: str | None = None,
    separator_model: str | None = None,
    out_dir: str = ".",
    chunk_seconds: float = 10.0,
    overlap_seconds: float = 2.0,
    device: str = "cpu",
) -> None:
    """Print each talker's speech and LLR, and write NAME.rttm, NAME.json, NAME.txt and the picture NAME.svg.

    A recording without speech gives the result "no speech", and no picture.

    Args:
        recording: audio of any length and sample rate; of several channels the first is taken.
        detector: bundle of the detector that judges talkers.
        separator_config: exp/X/config.yaml of a separator.
        separator_model: its checkpoint.
        out_dir: folder to write to.
        chunk_seconds: length in which audio is separated.
        overlap_seconds: of a chunk with the next one, by which talkers are followed.
        device: where to compute.
    """
    judge = wedefense_lite.load(cli.needed("--detector", detector), device)
    files = (
        cli.needed("--separator_config", separator_config),
        cli.needed("--separator_model", separator_model),
    )
    separator, rate = trained_separator(*files).to(device), judge.data.sample_rate
    wav_T, results = read_recording(recording, rate)
    results["lost_band_hz"] = lost_band(separator, rate)
    out = Path(out_dir, "_".join(Path(recording).stem.split()))
    talkers = []
    if any(activity(wav_T[None], rate)):
        streams_KT = separate(separator, wav_T, rate, chunk_seconds, overlap_seconds)
        talkers = [judged(judge, *one, rate) for one in zip(streams_KT, activity(streams_KT, rate))]
    names = [f"talker_{number}" for number in range(1, len(talkers) + 1)]
    spoken = any(talker["segments"] for talker in talkers)
    results |= {"result": "speech" if spoken else "no speech", "talkers": dict(zip(names, talkers))}
    parts = [
        (one["start"], one["end"], who)
        for who, talker in enumerate(talkers)
        for one in talker["segments"]
    ]
    write_rttm(f"{out}.rttm", {out.name: parts}, names)
    if spoken:
        from wedefense_lite.mixtures.pictures import talker_timeline  # slow to import

        write_text(f"{out}.svg", talker_timeline(wav_T, rate, results["talkers"]))
    publish(_lines(results), results, f"{out}.json", f"{out}.txt")


def read_recording(path: str, sample_rate: int) -> tuple[np.ndarray, dict]:
    """Samples ``wav_T``, float32, at ``sample_rate`` Hz, of the first channel; and what the recording is like.

    Raises:
        InputError: it can't be read, is empty, or has samples that are not finite.
    """
    try:
        os.stat(path)  # its message is better than libsndfile's "System error"
        wav_TC, rate = sf.read(path, dtype="float32", always_2d=True)
    except (OSError, sf.LibsndfileError) as error:
        reason = getattr(error, "strerror", None) or getattr(error, "error_string", None) or error
        raise InputError(f"{path}: {reason}, expected audio") from error
    if not len(wav_TC) or not np.isfinite(wav_TC).all():
        raise InputError(
            f"{path}: {len(wav_TC)} samples, not all finite, expected one or more, all finite"
        )
    if wav_TC.shape[1] > 1:
        logging.warning("%s: %d channels, the first is taken", path, wav_TC.shape[1])
    facts = {
        "recording": path,
        "seconds": len(wav_TC) / rate,
        "sample_rate": rate,
        "channels": wav_TC.shape[1],
    }
    return resample(wav_TC[:, 0], rate, sample_rate), facts


def judged(
    judge: Detector, stream_T: np.ndarray, spoken: list[tuple[float, float]], sample_rate: int
) -> dict:
    """LLR and decision of a talker by all that is spoken, and LLRs of its segments; None of what is too short.

    Args:
        stream_T: samples of the talker, made softer where they are beyond full scale.
        spoken: ``(start, end)`` of segments, seconds.
    """
    stream_T = stream_T / max(1.0, np.abs(stream_T).max())
    wavs = [
        stream_T[round(start * sample_rate) : round(end * sample_rate)] for start, end in spoken
    ]
    llr, decision = _llr(judge, np.concatenate([stream_T[:0], *wavs]))
    parts = [
        {"start": start, "end": end, "llr": _llr(judge, wav)[0] if len(wavs) > 1 else llr}
        for (start, end), wav in zip(spoken, wavs)
    ]
    return {
        "seconds": sum(end - start for start, end in spoken),
        "llr": llr,
        "decision": decision,
        "segments": parts,
    }


def _llr(judge: Detector, wav_T: np.ndarray) -> tuple[float | None, str | None]:
    """LLR of audio and what the detector decides; None of audio that it can't judge."""
    if not len(wav_T):
        return None, None
    try:
        logits = judge.logits(wav_T)[None]
    except InputError as error:
        logging.info("%.2f s are not judged: %s", len(wav_T) / judge.data.sample_rate, error)
        return None, None
    return float(judge.facts.llr(logits)[0]), LABELS[
        int(judge.facts.evidence(logits)[0] > judge.facts.threshold)
    ]


def _lines(results: dict) -> list[str]:
    """A table of talkers, and one of their segments."""
    head = f"{results['recording']}: {results['result']} in {results['seconds']:.2f} s"
    if results["lost_band_hz"]:
        head += ", judged without {:g} to {:g} Hz, which separation lost".format(
            *results["lost_band_hz"]
        )
    if results["result"] == "no speech":
        return [head]

    def shown(llr: float | None) -> str:
        return "-" if llr is None else f"{llr:.3f}"

    whole, parts = [["", "speech, s", "LLR", "decision"]], [["", "start, s", "end, s", "LLR"]]
    for name, one in results["talkers"].items():
        whole.append([name, f"{one['seconds']:.2f}", shown(one["llr"]), one["decision"] or "-"])
        times = (
            (f"{part['start']:.2f}", f"{part['end']:.2f}", shown(part["llr"]))
            for part in one["segments"]
        )
        parts += [[name, *cells] for cells in times]
    return [head, "", *table(whole), "", *table(parts)]


if __name__ == "__main__":
    cli.run(diarize_spoof, positional=True, from_hub=True)
