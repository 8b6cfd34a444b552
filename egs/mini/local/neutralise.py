"""What both classes pass through alike, so that only the voice tells them apart."""

from pathlib import Path

import av
import numpy as np
import soundfile
from scipy.signal import butter, firwin, lfilter, oaconvolve, resample_poly, sosfiltfilt

RATE = 16000
FRAME = RATE // 100
G722_DELAY = 22  # samples of the two QMF banks, encoder and decoder together

HIGH_PASS = butter(4, 70, "highpass", fs=RATE, output="sos")
LOW_PASS = firwin(255, 7000, fs=RATE)


def read_audio(path: Path) -> np.ndarray:
    """Mono waveform at 16 kHz, from any file that libsndfile reads and from raw G.722."""
    if path.suffix == ".g722":
        return decode_g722([path.read_bytes()])
    wave, rate = soundfile.read(path, always_2d=True)
    return to_rate(wave.mean(1), rate)


def to_rate(wave: np.ndarray, rate: int) -> np.ndarray:
    """``wave`` resampled from ``rate`` to 16 kHz."""
    if rate == RATE:
        return wave
    common = np.gcd(rate, RATE)
    return resample_poly(wave, RATE // common, rate // common)


def decode_g722(packets: list[bytes]) -> np.ndarray:
    """Waveform of G.722 at 64 kbit/s."""
    decoder = _g722("r")
    frames = [
        frame.to_ndarray().ravel() for data in packets for frame in decoder.decode(av.Packet(data))
    ]
    return np.concatenate(frames) / 32768.0


def pass_g722(wave: np.ndarray) -> np.ndarray:
    """``wave`` encoded to G.722 and decoded, in place in time."""
    padded = np.pad(wave, (0, G722_DELAY + (len(wave) + G722_DELAY) % 2))
    samples = (np.clip(padded, -1, 1) * 32767).astype("<i2")
    frame = av.AudioFrame.from_ndarray(samples[None], format="s16", layout="mono")
    frame.sample_rate = RATE
    encoder = _g722("w")
    packets = [bytes(packet) for last in (frame, None) for packet in encoder.encode(last)]
    return decode_g722(packets)[G722_DELAY:][: len(wave)]


def _g722(mode: str) -> av.CodecContext:
    codec = av.CodecContext.create("g722", mode)
    codec.sample_rate, codec.layout = RATE, "mono"
    if mode == "w":
        codec.format = "s16"
    return codec


def level_db(wave: np.ndarray) -> np.ndarray:
    """Level of each 10 ms frame in dB of full scale."""
    frames = wave[: len(wave) // FRAME * FRAME].reshape(-1, FRAME)
    return 10 * np.log10((frames**2).mean(1) + 1e-10)


def trim(wave: np.ndarray, below_loud_db: float = 35.0) -> np.ndarray:
    """``wave`` without what is quieter than its loud frames at both ends, 20 ms of it kept."""
    level = level_db(wave)
    loud = np.flatnonzero(level > np.percentile(level, 97) - below_loud_db)
    return wave[max(0, loud[0] - 2) * FRAME : (loud[-1] + 3) * FRAME]


def at_level(wave: np.ndarray, decibels: float) -> np.ndarray:
    """``wave`` scaled so that its frames within 25 dB of the loudest have that level."""
    level = level_db(wave)
    active = 10 * np.log10((10 ** (level[level > level.max() - 25] / 10)).mean())
    return wave * 10 ** ((decibels - active) / 20)


def neutralise(wave: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The same band, silence, noise floor, level and last codec for every file of the corpus.

    Args:
        wave: 16 kHz; it has passed one codec before, whatever its class.
    """
    wave = sosfiltfilt(HIGH_PASS, trim(wave))
    fade = np.minimum(1, np.arange(1, len(wave) + 1) / (RATE * 0.005))
    wave = np.pad(wave * fade * fade[::-1], rng.integers(RATE // 20, RATE // 5, 2))
    wave = at_level(wave, 0.0)
    noise = lfilter([1], [1, -0.85], rng.standard_normal(len(wave)))
    wave = wave + noise / noise.std() * 10 ** (-rng.uniform(28, 40) / 20)
    wave = oaconvolve(wave, LOW_PASS, "same") * 10 ** (rng.uniform(-31, -21) / 20)
    wave = pass_g722(wave * min(1, 0.98 / np.abs(wave).max()))
    return wave + rng.standard_normal(len(wave)) * 1e-4
