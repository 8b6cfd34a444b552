"""The worst errors of a run, to look at and to listen to.

Letters: T samples, F frames, Q bins of frequency.
"""

import base64
import io
import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import matplotlib.image
import numpy as np

from wedefense_lite.audio.data_dir import SHARD_LIST
from wedefense_lite.audio.index import read_index, read_wavs
from wedefense_lite.audio.reading import as_float, encode_flac, read
from wedefense_lite.audio.subsets import WAVS
from wedefense_lite.audio.utterance import Utterance
from wedefense_lite.files import InputError
from wedefense_lite.report.decisions import threshold_of, worst_errors
from wedefense_lite.report.run import Run, ScoredSet
from wedefense_lite.yaml_text import parse_yaml

MOST_SECONDS = 10.0  # of a recording that are drawn and played
SAMPLE_RATE = 16000  # of a configuration that states none
WINDOW = 256  # samples of a spectrum
LEVELS = 32  # shades of a picture: more would make it larger, not clearer
RANGE = 70.0  # dB below the loudest cell, which are drawn
MEGABYTE = 1_000_000


@dataclass(frozen=True)
class Recording:
    """An utterance that was decided wrongly.

    Attributes:
        set_name: the set.
        error: ``false alarm`` or ``miss``.
        key: the utterance.
        attack: of a spoof.
        speaker: of the utterance.
        llr: nats.
        threshold: that it is on the wrong side of, nats.
        seconds: length.
        utterance: place of its audio; None where the data directory has none.
        note: why there is no picture; empty where there is one.
        picture: spectrogram, PNG; empty without audio.
        sound: audio, FLAC; empty without it.
        has_player: whether the page has room for the audio.
        explanation: picture of an explanation, PNG; empty where none was asked for.
    """

    set_name: str
    error: str
    key: str
    attack: str
    speaker: str
    llr: float
    threshold: float
    seconds: float
    utterance: Utterance | None = None
    note: str = ""
    picture: bytes = b""
    sound: bytes = b""
    has_player: bool = False
    explanation: bytes = b""


def list_errors(run: Run, data_dir: str | Path, count: int) -> list[Recording]:
    """The worst errors of each set and kind, without their audio.

    Args:
        run: the experiment.
        data_dir: folder with the data directory of each set.
        count: recordings of each kind in a set.
    """
    recordings = []
    for scored in run.ranked:
        threshold, _ = threshold_of(run, scored)
        utterances = _utterances(Path(data_dir, scored.name)) if count else {}
        for error, rows in worst_errors(scored, threshold, count).items():
            for row in rows.tolist():
                recordings.append(_recording(scored, error, row, threshold, utterances))
    return recordings


def _utterances(set_dir: Path) -> dict[str, Utterance]:
    """Utterances of a data directory by id: of its wav.scp, or of shards on a disk."""
    wav_scp = set_dir / WAVS
    shard_list = set_dir / SHARD_LIST
    if wav_scp.exists():
        return {key: Utterance(key, wav) for key, wav in read_wavs(wav_scp).items()}
    if shard_list.exists():
        try:
            index = read_index(str(shard_list), "shard")
        except InputError as error:
            logging.warning("no audio on the page: %s", error)
            return {}
        # What is streamed can be read from its beginning alone.
        if isinstance(index, list):
            return {utterance.key: utterance for utterance in index}
    return {}


def _recording(
    scored: ScoredSet, error: str, row: int, threshold: float, utterances: Mapping[str, Utterance]
) -> Recording:
    key = str(scored.key[row])
    return Recording(
        set_name=scored.name,
        error=error,
        key=key,
        attack=str(scored.attack[row]),
        speaker=str(scored.speaker[row]),
        llr=float(scored.llr[row]),
        threshold=threshold,
        seconds=float(scored.seconds[row]),
        utterance=utterances.get(key),
    )


def add_audio(
    recordings: list[Recording], config_text: str, most_megabytes: float
) -> list[Recording]:
    """Recordings with their spectrograms, and with audio as far as the page has room.

    A recording that can't be read has a note in place of both: a page is also made where the
    audio isn't any more.

    Args:
        recordings: the errors; the worst of each set and kind have audio first.
        config_text: configuration of the run, which states the rate.
        most_megabytes: of audio in the page, in base 64.
    """
    sample_rate = rate_of_config(config_text)
    completed = list(recordings)
    notes = []
    room = most_megabytes * MEGABYTE
    for number in _by_rank(recordings):
        recording = completed[number]
        try:
            wav_T = _first_seconds(recording, sample_rate)
        except InputError as error:
            completed[number] = replace(recording, note=str(error))
            notes.append(str(error))
            continue
        sound = encode_flac(recording.key, wav_T, sample_rate, None).data
        size = 4 * (len(sound) + 2) // 3
        has_player = size <= room
        if has_player:
            room -= size
        completed[number] = replace(
            recording,
            picture=spectrogram(as_float(wav_T)),
            sound=sound,
            has_player=has_player,
        )
    if notes:
        logging.warning("%d of the worst errors have no picture: %s", len(notes), notes[0])
    return completed


def _by_rank(recordings: list[Recording]) -> list[int]:
    """Places of recordings: the worst of each set and kind, then the second ones, and so on."""
    ranks = []
    met: dict[tuple[str, str], int] = {}
    for recording in recordings:
        kind = (recording.set_name, recording.error)
        ranks.append(met.get(kind, 0))
        met[kind] = ranks[-1] + 1
    return sorted(range(len(recordings)), key=ranks.__getitem__)


def _first_seconds(recording: Recording, sample_rate: int) -> np.ndarray:
    """Samples of the beginning of a recording.

    Raises:
        InputError: no table names its file, or the file can't be read.
    """
    if recording.utterance is None:
        raise InputError(f"{recording.set_name} has neither {WAVS} nor shards with {recording.key}")
    count = round(MOST_SECONDS * sample_rate)
    wav_T = read(recording.utterance, sample_rate, count)
    if not len(wav_T):
        raise InputError(f"{recording.utterance.path}: no samples")
    return wav_T


def rate_of_config(config_text: str) -> int:
    """Rate that a configuration states, in Hz; 16,000 where it states none that can be."""
    content = parse_yaml(config_text, "config.yaml")
    data = content.get("data") if isinstance(content, dict) else None
    rate = data.get("sample_rate") if isinstance(data, dict) else None
    is_rate = isinstance(rate, int) and 1000 <= rate <= 192_000
    return rate if is_rate else SAMPLE_RATE


def spectrogram(wav_T: np.ndarray) -> bytes:
    """Spectrogram of samples as a PNG file, low frequencies below, the same for the same samples.

    Letters: W samples of a window.
    """
    hop = WINDOW // 2
    padded_T = np.pad(wav_T, (0, max(0, WINDOW - len(wav_T))))
    windows_FW = np.lib.stride_tricks.sliding_window_view(padded_T, WINDOW)[::hop]
    spectrum_FQ = np.fft.rfft(windows_FW * np.hanning(WINDOW))
    level_QF = 20 * np.log10(np.abs(spectrum_FQ.T) + 1e-9)
    share_QF = np.clip(1 + (level_QF - level_QF.max()) / RANGE, 0, 1)
    shade_QF = np.rint(share_QF * (LEVELS - 1)) / (LEVELS - 1)
    file = io.BytesIO()
    matplotlib.image.imsave(
        file,
        shade_QF,
        format="png",
        cmap="magma",
        vmin=0,
        vmax=1,
        origin="lower",
        metadata={"Software": None},
    )
    return file.getvalue()


def in_base64(content: bytes) -> str:
    """Content of a file as a ``data:`` address holds it."""
    return base64.b64encode(content).decode()
