"""What both classes pass through alike, so that only the voice tells them apart."""

from pathlib import Path

import av
import numpy as np
import soundfile
from scipy.signal import butter, firwin2, lfilter, oaconvolve, sosfiltfilt

from wedefense_lite.audio.reading import as_float
from wedefense_lite.audio.resampling import resample

RATE = 16000
FRAME = RATE // 100
G722_DELAY = 22  # samples of the two QMF banks, encoder and decoder together

HIGH_PASS = butter(6, 150, "highpass", fs=RATE, output="sos")
LOW_PASS = butter(8, 6900, fs=RATE, output="sos")
# The long-term spectrum that every file gets: hertz, dB. About that of speech.
SPECTRUM = np.array(
    [(0, -10), (100, -6), (250, 0), (500, 0), (1000, -7), (2000, -14), (4000, -20), (8000, -28)]
).T
SECONDS = (2.8, 4.6)
COLOUR_DB = 3.0
NOISE_DB = (32, 44)


def read_audio(path: Path) -> np.ndarray:
    """Mono waveform at 16 kHz, from any file that libsndfile reads and from raw G.722."""
    if path.suffix == ".g722":
        return decode_g722(path.read_bytes())
    wave, rate = soundfile.read(path, always_2d=True)
    return resample(wave.mean(1), rate, RATE)


def decode_g722(data: bytes) -> np.ndarray:
    """Waveform of G.722 at 64 kbit/s."""
    frames = _g722("r").decode(av.Packet(data))
    samples = np.concatenate([frame.to_ndarray().ravel() for frame in frames])
    return as_float(samples).astype(np.float64)


def pass_g722(wave: np.ndarray) -> np.ndarray:
    """``wave`` encoded to G.722 and decoded, in place in time."""
    padded = np.pad(wave, (0, G722_DELAY + (len(wave) + G722_DELAY) % 2))
    samples = (np.clip(padded, -1, 1) * 32767).astype("<i2")
    frame = av.AudioFrame.from_ndarray(samples[None], format="s16", layout="mono")
    frame.sample_rate = RATE
    encoder = _g722("w")
    data = b"".join(bytes(packet) for part in (frame, None) for packet in encoder.encode(part))
    return decode_g722(data)[G722_DELAY:][: len(wave)]


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


def shorten_pauses(wave: np.ndarray, below_loud_db: float = 32.0, longest=12) -> np.ndarray:
    """``wave`` with no more than ``longest`` frames of each pause, as they tell classes apart."""
    level = level_db(wave)
    quiet = level < np.percentile(level, 97) - below_loud_db
    starts = np.flatnonzero(np.diff(quiet, prepend=~quiet[:1]))
    place = np.arange(len(quiet)) - np.repeat(starts, np.diff(starts, append=len(quiet)))
    return wave[np.repeat(~quiet | (place < longest), FRAME).nonzero()[0]]


def at_level(wave: np.ndarray, decibels: float) -> np.ndarray:
    """``wave`` scaled so that its frames within 25 dB of the loudest have that level."""
    level = level_db(wave)
    active = 10 * np.log10((10 ** (level[level > level.max() - 25] / 10)).mean())
    return wave * 10 ** ((decibels - active) / 20)


def equalise(wave: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """``wave`` through a smooth filter that gives it about the long-term spectrum :data:`SPECTRUM`.

    How far from it is random, as no two telephones are alike.
    """
    # Welch's estimate; scipy's takes four times as long.
    frames = np.lib.stride_tricks.sliding_window_view(wave, 512)[::256] * np.hanning(512)
    hertz, power = np.fft.rfftfreq(512, 1 / RATE), (np.abs(np.fft.rfft(frames)) ** 2).mean(0)
    smooth = np.convolve(np.pad(power, 4, "edge"), np.ones(9) / 9, "valid")
    gain = np.interp(hertz, *SPECTRUM) - 10 * np.log10(smooth / smooth.max() + 1e-6)
    colour = np.interp(hertz, [0, 200, 500, 1000, 2000, 4000, 8000], rng.normal(0, COLOUR_DB, 7))
    gain = np.clip(gain - np.median(gain), -20, 20) + colour
    return oaconvolve(wave, firwin2(255, hertz / hertz[-1], 10 ** (gain / 20)), "same")


def crop(
    wave: np.ndarray, rng: np.random.Generator, seconds: tuple[float, float] = SECONDS
) -> np.ndarray:
    """A random part of ``wave``, of random length in ``seconds`` where it is that long."""
    length = int(rng.uniform(*seconds) * RATE)
    start = rng.integers(0, max(1, len(wave) - length))
    return wave[start : start + length]


def neutralise(wave: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The same length, band, spectrum, silence, noise floor, level and last codec for every file.

    Args:
        wave: 16 kHz; it has passed one codec before, whatever its class.
    """
    wave = equalise(sosfiltfilt(HIGH_PASS, trim(crop(shorten_pauses(trim(wave)), rng))), rng)
    fade = np.minimum(1, np.arange(1, len(wave) + 1) / (RATE * 0.005))
    wave = np.pad(wave * fade * fade[::-1], rng.integers(RATE // 20, RATE // 5, 2))
    noise = lfilter([1], [1, -0.85], rng.standard_normal(len(wave)))
    wave = at_level(wave, 0.0) + noise / noise.std() * 10 ** (-rng.uniform(*NOISE_DB) / 20)
    wave = sosfiltfilt(LOW_PASS, wave) * 10 ** (rng.uniform(-31, -21) / 20)
    wave = pass_g722(wave * min(1, 0.98 / np.abs(wave).max()))
    return wave - wave.mean() + rng.standard_normal(len(wave)) * 1e-4
