"""Processing that both classes pass through alike, so that only the voice tells them apart."""

from pathlib import Path

import av
import numpy as np
import soundfile
from scipy.signal import butter, firwin2, lfilter, oaconvolve, sosfiltfilt

from wedefense_lite.audio.reading import as_float
from wedefense_lite.audio.resampling import resample

RATE = 16000
FRAME = RATE // 100  # samples, 10 ms
G722_DELAY = 22  # samples of the two QMF banks, encoder and decoder together

HIGH_PASS = butter(6, 150, "highpass", fs=RATE, output="sos")
LOW_PASS = butter(8, 6900, fs=RATE, output="sos")
# The long-term spectrum that every file gets: hertz, dB. About that of speech.
SPECTRUM_HERTZ = (0, 100, 250, 500, 1000, 2000, 4000, 8000)
SPECTRUM_DB = (-10, -6, 0, 0, -7, -14, -20, -28)
# Random deviation from it: a normal distribution at these frequencies, a line between them.
COLOUR_HERTZ = (0, 200, 500, 1000, 2000, 4000, 8000)
COLOUR_DB = 3.0
SECONDS = (2.8, 4.6)  # length of an utterance before its ends are trimmed
NOISE_DB = (32, 44)  # of the noise floor below the speech
LEVEL_DB = (-31, -21)  # of the speech, below full scale
SILENCE = (RATE // 20, RATE // 5)  # samples of silence at either end, 50 to 200 ms
FADE_SECONDS = 0.005  # at either end of the speech
LOUD_PERCENTILE = 97  # of the levels of frames; steadier than the loudest frame
LONGEST_PAUSE = 12  # frames
WINDOW = 512  # samples of a spectrum


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
    """``wave`` encoded to G.722 and decoded; its delay is taken out."""
    # Zeros push the delayed last samples out of the codec, which takes samples in pairs.
    padding = G722_DELAY + (len(wave) + G722_DELAY) % 2
    padded = np.pad(wave, (0, padding))
    samples = (np.clip(padded, -1, 1) * 32767).astype("<i2")
    frame = av.AudioFrame.from_ndarray(samples[None], format="s16", layout="mono")
    frame.sample_rate = RATE
    encoder = _g722("w")
    packets = [*encoder.encode(frame), *encoder.encode(None)]  # None empties the encoder
    data = b"".join(bytes(packet) for packet in packets)
    return decode_g722(data)[G722_DELAY:][: len(wave)]


def _g722(mode: str) -> av.CodecContext:
    codec = av.CodecContext.create("g722", mode)
    codec.sample_rate = RATE
    codec.layout = "mono"
    if mode == "w":
        codec.format = "s16"
    return codec


def level_db(wave: np.ndarray) -> np.ndarray:
    """Level of each 10 ms frame in dB of full scale; digital silence has -100."""
    frames = wave[: len(wave) // FRAME * FRAME].reshape(-1, FRAME)
    return 10 * np.log10((frames**2).mean(1) + 1e-10)


def trim(wave: np.ndarray, below_loud_db: float = 35.0) -> np.ndarray:
    """``wave`` without the quiet frames at both ends; the nearest 20 ms of them are kept.

    Args:
        wave: samples.
        below_loud_db: a frame is quiet that far below the loud frames of the waveform.
    """
    level = level_db(wave)
    loud_frames = np.flatnonzero(level > np.percentile(level, LOUD_PERCENTILE) - below_loud_db)
    first = max(0, loud_frames[0] - 2)
    end = loud_frames[-1] + 3
    return wave[first * FRAME : end * FRAME]


def shorten_pauses(
    wave: np.ndarray, below_loud_db: float = 32.0, longest: int = LONGEST_PAUSE
) -> np.ndarray:
    """``wave`` with the first frames of each pause, since long pauses tell classes apart.

    Args:
        wave: samples.
        below_loud_db: a frame is part of a pause that far below the loud frames of the waveform.
        longest: number of frames of a pause that are kept.
    """
    level = level_db(wave)
    is_quiet = level < np.percentile(level, LOUD_PERCENTILE) - below_loud_db
    # Runs of quiet frames and of others; prepend makes the first frame the start of a run.
    starts = np.flatnonzero(np.diff(is_quiet, prepend=~is_quiet[:1]))
    lengths = np.diff(starts, append=len(is_quiet))
    position = np.arange(len(is_quiet)) - np.repeat(starts, lengths)  # within the run
    is_kept = ~is_quiet | (position < longest)
    # Samples behind the last whole frame are dropped.
    return wave[np.repeat(is_kept, FRAME).nonzero()[0]]


def at_level(wave: np.ndarray, decibels: float) -> np.ndarray:
    """``wave`` scaled so that its frames within 25 dB of the loudest have that level on average."""
    level = level_db(wave)
    active = level[level > level.max() - 25]
    active_db = 10 * np.log10((10 ** (active / 10)).mean())
    return wave * 10 ** ((decibels - active_db) / 20)


def equalise(wave: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """``wave`` through a smooth filter that gives it about the long-term spectrum of speech.

    A random deviation is added, since no two telephones are alike.
    """
    # Welch's estimate; scipy's takes four times as long.
    frames = np.lib.stride_tricks.sliding_window_view(wave, WINDOW)[:: WINDOW // 2]
    spectra = np.fft.rfft(frames * np.hanning(WINDOW))
    power = (np.abs(spectra) ** 2).mean(0)
    hertz = np.fft.rfftfreq(WINDOW, 1 / RATE)
    smooth = np.convolve(np.pad(power, 4, "edge"), np.ones(9) / 9, "valid")
    smooth_db = 10 * np.log10(smooth / smooth.max() + 1e-6)
    gain = np.interp(hertz, SPECTRUM_HERTZ, SPECTRUM_DB) - smooth_db
    colour = np.interp(hertz, COLOUR_HERTZ, rng.normal(0, COLOUR_DB, len(COLOUR_HERTZ)))
    # At most 20 dB: bands that a recording lacks hold nothing but noise.
    gain = np.clip(gain - np.median(gain), -20, 20) + colour
    taps = firwin2(255, hertz / hertz[-1], 10 ** (gain / 20))
    return oaconvolve(wave, taps, "same")


def crop(
    wave: np.ndarray, rng: np.random.Generator, seconds: tuple[float, float] = SECONDS
) -> np.ndarray:
    """A random part of ``wave``, of a random length in ``seconds``; all of it if it is shorter."""
    length = int(rng.uniform(*seconds) * RATE)
    start = rng.integers(0, max(1, len(wave) - length))
    return wave[start : start + length]


def neutralise(wave: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The same length, band, spectrum, silence, noise floor, level and last codec for every file.

    Args:
        wave: samples at 16 kHz, which have passed one codec before, whatever their class.
        rng: random stream.

    Returns:
        Samples at 16 kHz, below full scale.
    """
    # Length and pauses. Trimmed twice: the crop may begin or end in a pause.
    wave = trim(crop(shorten_pauses(trim(wave)), rng))
    # Band and spectrum.
    wave = equalise(sosfiltfilt(HIGH_PASS, wave), rng)
    # Silence at the ends, of random length.
    fade = np.minimum(1, np.arange(1, len(wave) + 1) / (RATE * FADE_SECONDS))
    wave = np.pad(wave * fade * fade[::-1], rng.integers(*SILENCE, 2))
    # A noise floor, coloured as that of a quiet room.
    noise = lfilter([1], [1, -0.85], rng.standard_normal(len(wave)))
    wave = at_level(wave, 0.0) + noise / noise.std() * 10 ** (-rng.uniform(*NOISE_DB) / 20)
    # The upper end of the band, and the level.
    wave = sosfiltfilt(LOW_PASS, wave) * 10 ** (rng.uniform(*LEVEL_DB) / 20)
    wave = pass_g722(wave * min(1, 0.98 / np.abs(wave).max()))
    # The codec's offset is taken out, and a little noise hides the values that it prefers.
    return wave - wave.mean() + rng.standard_normal(len(wave)) * 1e-4
