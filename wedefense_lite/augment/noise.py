"""Noise and rooms from files, of which only the part that is needed is read."""

import numpy as np
from jsonargparse.typing import ClosedUnitInterval, PositiveFloat
from scipy.signal import oaconvolve

from wedefense_lite.audio import reading
from wedefense_lite.audio.utterance import Utterance
from wedefense_lite.augment.base import Prepared, Range, mixed, power, with_power
from wedefense_lite.files import InputError, read_table
from wedefense_lite.provenance import file_hash

Snr = Range | None


class FromFiles(Prepared):
    """An augmentation that draws from the reading files of a ``wav.scp``.

    Attributes:
        files: by kind; an id begins with the name of its kind.
    """

    def __init__(self, p: float, kinds: tuple[str, ...]):
        super().__init__(p)
        self.files: dict[str, list[Utterance]] = dict.fromkeys(kinds, [])

    def prepare(self, wav_scp: str | None) -> None:
        """Read the list and the header of a first file of each kind; see :meth:`Prepared.prepare`."""
        if wav_scp is None:
            raise InputError(
                f"{type(self).__name__} in the configuration needs --{self.option}, a wav.scp"
            )
        rows = [Utterance(key, path) for key, path in read_table(wav_scp).items()]
        self.source = file_hash(wav_scp)
        for kind in self.files:
            self.files[kind] = [row for row in rows if row.key.startswith(kind)]
            if not self.files[kind]:
                raise InputError(
                    f"{wav_scp}: no ids that begin with {kind!r}, which {type(self).__name__} draws from"
                )
            reading.measure_lengths(self.files[kind][:1], self.sample_rate)

    def draw(
        self, kind: str, samples: int, rng: np.random.Generator, anywhere: bool = True
    ) -> np.ndarray:
        """A part of a file of a kind, float32, of that many samples at most; from anywhere or the beginning."""
        row = self.files[kind][rng.integers(len(self.files[kind]))]
        with reading.open_audio(row, self.sample_rate) as file:
            spare = reading.spare_samples(file, samples)
            offset = reading.random_offset(spare, rng) if anywhere else 0
            wav = reading.as_float(reading.decode(file, samples, offset))
        if not wav.any() and not anywhere:
            raise InputError(f"{row.key}: {row.path}: digital silence")
        return wav


class AdditiveNoise(FromFiles):
    """Noise, music, or babble of several talkers, from the ``wav.scp`` given as ``--noise_data``.

    Ids begin with ``noise``, ``music`` or ``speech``, as ``tools/prepare_noise.py`` writes them for MUSAN
    (Snyder et al., 2015). Each kind is as likely as another. The ratios and the number of talkers are those of
    Kaldi's recipe for x-vectors (``egs/voxceleb/v2``), as ranges. Shorter files are repeated.

    Args:
        p: probability in [0, 1] that an utterance is changed.
        noise: lowest and highest ratio of the mean powers in dB for noise; null leaves this kind out.
        music: the same for music.
        babble: the same for babble: its three to seven talkers are equally loud, and taken together.
    """

    option = "noise_data"

    def __init__(
        self,
        p: ClosedUnitInterval = 0.5,
        noise: Snr = (0, 15),
        music: Snr = (5, 15),
        babble: Snr = (13, 20),
    ):
        snr = {"noise": noise, "music": music, "speech": babble}
        self.snr_db = {kind: limits for kind, limits in snr.items() if limits is not None}
        super().__init__(p, tuple(self.snr_db))

    def apply(self, wav: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        kind = rng.choice(list(self.files))
        count = rng.integers(3, 7, endpoint=True) if kind == "speech" else 1
        parts = [np.resize(self.draw(kind, len(wav), rng), len(wav)) for _ in range(count)]
        noise = sum(with_power(part, 1.0) for part in parts)
        return mixed(wav, noise, rng.uniform(*self.snr_db[kind]))


class Reverberation(FromFiles):
    """A room impulse response from the ``wav.scp`` given as ``--reverb_data``, convolved with the utterance.

    The strongest tap, the direct path, stays where the utterance was, and the mean power is kept, as in Kaldi. The
    responses of RIRS_NOISES are described by Ko et al., "A study on data augmentation of reverberant speech for
    robust speech recognition", ICASSP 2017.

    Args:
        p: probability in [0, 1] that an utterance is changed.
        max_seconds: of a response, its beginning, that are read.
    """

    option = "reverb_data"

    def __init__(self, p: ClosedUnitInterval = 0.5, max_seconds: PositiveFloat = 2.0):
        super().__init__(p, ("",))
        self.max_seconds = max_seconds

    def apply(self, wav: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        return reverberant(
            wav, self.draw("", round(self.max_seconds * self.sample_rate), rng, anywhere=False)
        )


def reverberant(wav: np.ndarray, response: np.ndarray) -> np.ndarray:
    """``wav`` (``T`` samples) through a room impulse response; direct path, length and mean power stay."""
    direct = np.abs(response).argmax()
    return with_power(oaconvolve(wav, response)[direct : direct + len(wav)], power(wav))
