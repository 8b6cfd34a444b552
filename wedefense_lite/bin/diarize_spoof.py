"""Who speaks when in a recording of several talkers, and which of them is spoofed.

Shapes: T samples, A audio channels, K streams of a separator.
"""

import wedefense_lite
from wedefense_lite import cli

import logging
from pathlib import Path

import numpy as np
from jsonargparse.typing import NonNegativeInt

from wedefense_lite.audio import reading
from wedefense_lite.audio.activity import speech
from wedefense_lite.audio.segments import write_rttm
from wedefense_lite.audio.utterance import Utterance
from wedefense_lite.files import NO_VALUE, InputError, write_text
from wedefense_lite.labels import BONAFIDE, LABELS, SPOOF
from wedefense_lite.mixtures.separation import lost_band, separate, trained_separator
from wedefense_lite.report.tables import publish, table
from wedefense_lite.scoring.bundle import Detector
from wedefense_lite.scoring.facts import BundleError


def diarize_spoof(
    recording: str,
    detector: str | None = None,
    separator_config: str | None = None,
    separator_model: str | None = None,
    out_dir: str = ".",
    chunk_seconds: float = 10.0,
    overlap_seconds: float = 2.0,
    device: str = "cpu",
    channel: NonNegativeInt = 0,
) -> None:
    """Print each talker's speech and LLR, and write NAME.rttm, NAME.json, NAME.txt and NAME.svg.

    A recording without speech gives the result "no speech", and no picture.

    Args:
        recording: audio of any kind, length and sample rate.
        detector: bundle of the detector that scores talkers.
        separator_config: exp/X/config.yaml of a separator.
        separator_model: checkpoint of that separator.
        out_dir: folder to write to.
        chunk_seconds: length of the chunks in which audio is separated.
        overlap_seconds: overlap of a chunk with the next one, by which talkers are followed.
        device: where to compute, as cpu or cuda:0.
        channel: number of the channel that is used, from 1 on; 0 mixes all of them down.

    Raises:
        InputError: an option that is needed, or a recording that can't be read.
    """
    # It is given the speech of a talker, which is found here.
    spoof_detector = wedefense_lite.load(cli.needed("--detector", detector), device, trim=False)
    config = cli.needed("--separator_config", separator_config)
    model_path = cli.needed("--separator_model", separator_model)
    separator = trained_separator(config, model_path).to(device)
    sample_rate = spoof_detector.data.sample_rate
    wav_T, results = read_recording(recording, sample_rate, channel)
    results["lost_band_hz"] = lost_band(separator, sample_rate)

    # The name is a field of RTTM, so it can't hold spaces.
    name = "_".join(Path(recording).stem.split())
    out = Path(out_dir, name)
    by_talker = {}
    # A separator turns silence into something that may be louder: without speech it isn't asked.
    if any(speech(wav_T[None], sample_rate)):
        streams_KT = separate(separator, wav_T, sample_rate, chunk_seconds, overlap_seconds)
        segments_K = speech(streams_KT, sample_rate)
        for number, (stream_T, segments) in enumerate(zip(streams_KT, segments_K), 1):
            scored = score_talker(spoof_detector, stream_T, segments, sample_rate)
            by_talker[f"talker_{number}"] = scored
    has_speech = any(talker["segments"] for talker in by_talker.values())
    results["result"] = "speech" if has_speech else "no speech"
    results["talkers"] = by_talker

    _write_rttm(f"{out}.rttm", name, by_talker)
    if has_speech:
        from wedefense_lite.mixtures.pictures import talker_timeline  # slow to import

        write_text(f"{out}.svg", talker_timeline(wav_T, sample_rate, by_talker))
    publish(_lines(results), results, f"{out}.json", f"{out}.txt")


def read_recording(path: str, sample_rate: int, channel: int = 0) -> tuple[np.ndarray, dict]:
    """Samples of a recording, and facts about it.

    Args:
        path: of an audio file.
        sample_rate: rate to which it is resampled, in Hz.
        channel: number of the channel that is read, from 1 on; 0 for the mean of all.

    Returns:
        ``wav_T``, float32; and ``recording``, ``seconds``, ``sample_rate`` and ``channels``.

    Raises:
        InputError: it can't be read, is empty, or has samples that are not finite.
    """
    if reading.is_command(path):
        raise InputError(f"{path}: a command, expected an audio file")
    with reading.open_audio(Utterance(Path(path).name, path), sample_rate, channel) as file:
        wav_T = reading.as_float(reading.decode(file))
        if file.conversion:
            logging.info("%s: %s: %s", path, file.kind, file.conversion)
        facts = {
            "recording": path,
            "seconds": file.decoder.samples / file.decoder.rate,
            "sample_rate": file.decoder.rate,
            "channels": file.decoder.channels,
        }
    return wav_T, facts


def score_talker(
    detector: Detector,
    stream_T: np.ndarray,
    segments: list[tuple[float, float]],
    sample_rate: int,
) -> dict:
    """LLR and decision of a talker by all of its speech, and LLRs of its segments.

    Args:
        detector: of spoofed speech.
        stream_T: samples of the talker; made softer, if they exceed full scale.
        segments: ``(start, end)`` of its speech, seconds.
        sample_rate: Hz.

    Returns:
        ``seconds`` of speech, ``llr``, ``decision``, and ``segments`` with ``start``, ``end`` and
        ``llr``. An LLR or decision is None for speech that is too short to be scored.
    """
    stream_T = stream_T / max(1.0, np.abs(stream_T).max())
    wavs = []
    for start, end in segments:
        wavs.append(stream_T[round(start * sample_rate) : round(end * sample_rate)])
    speech_T = np.concatenate([stream_T[:0], *wavs])
    llr, decision = _score(detector, speech_T)
    scored_segments = []
    for (start, end), wav_T in zip(segments, wavs):
        # A single segment is all of the speech, which is scored already.
        segment_llr = llr if len(segments) == 1 else _score(detector, wav_T)[0]
        scored_segments.append({"start": start, "end": end, "llr": segment_llr})
    return {
        "seconds": sum(end - start for start, end in segments),
        "llr": llr,
        "decision": decision,
        "segments": scored_segments,
    }


def _score(detector: Detector, wav_T: np.ndarray) -> tuple[float | None, str | None]:
    """LLR and decision of audio; None of audio that the detector can't score."""
    if not len(wav_T):
        return None, None
    try:
        logits = detector.logits(wav_T)[None]
    except BundleError:
        raise
    except InputError as error:
        seconds = len(wav_T) / detector.data.sample_rate
        logging.info("%.2f s are not judged: %s", seconds, error)
        return None, None
    llr = float(detector.facts.llr(logits)[0])
    is_bonafide = detector.facts.evidence(logits)[0] >= detector.facts.threshold
    return llr, LABELS[BONAFIDE] if is_bonafide else LABELS[SPOOF]


def _write_rttm(path: str, name: str, by_talker: dict[str, dict]) -> None:
    segments = []
    for index, talker in enumerate(by_talker.values()):
        for segment in talker["segments"]:
            segments.append((segment["start"], segment["end"], index))
    write_rttm(path, {name: segments}, list(by_talker))


def _lines(results: dict) -> list[str]:
    """A line about the recording, a table of talkers, and one of their segments."""
    head = f"{results['recording']}: {results['result']} in {results['seconds']:.2f} s"
    if results["lost_band_hz"]:
        low, high = results["lost_band_hz"]
        head += f", judged without {low:g} to {high:g} Hz, which separation lost"
    if results["result"] == "no speech":
        return [head]
    talker_rows = [["", "speech, s", "LLR", "decision"]]
    segment_rows = [["", "start, s", "end, s", "LLR"]]
    for name, talker in results["talkers"].items():
        decision = talker["decision"] or NO_VALUE
        talker_rows.append([name, f"{talker['seconds']:.2f}", _llr_text(talker["llr"]), decision])
        for segment in talker["segments"]:
            start = f"{segment['start']:.2f}"
            end = f"{segment['end']:.2f}"
            segment_rows.append([name, start, end, _llr_text(segment["llr"])])
    return [head, "", *table(talker_rows), "", *table(segment_rows)]


def _llr_text(llr: float | None) -> str:
    return NO_VALUE if llr is None else f"{llr:.3f}"


if __name__ == "__main__":
    cli.run(diarize_spoof, positional=True, from_hub=True, builds_systems=True)
