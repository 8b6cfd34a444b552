"""Noise and rooms from files; only the samples that are needed are read."""

import numpy as np
import scipy  # imports its parts where they are used, some of which take a second
from jsonargparse.typing import ClosedUnitInterval, PositiveFloat

from wedefense_lite.audio import reading
from wedefense_lite.audio.index import read_wavs
from wedefense_lite.audio.utterance import Utterance
from wedefense_lite.augment.base import Prepared, Range, add_noise, power, set_power
from wedefense_lite.files import InputError
from wedefense_lite.provenance import file_hash

Snr = Range | None


class FromFiles(Prepared):
    """An augmentation that draws from the audio files of a ``wav.scp``.

    Args:
        p: probability in [0, 1] that an utterance is changed.
        groups: names of groups of files; an id begins with the name of its group.

    Attributes:
        files: files of each group; empty until ``prepare`` has read the list.
    """

    def __init__(self, p: float, groups: tuple[str, ...]):
        super().__init__(p)
        self.files: dict[str, list[Utterance]] = {group: [] for group in groups}

    def prepare(self, wav_scp: str | None) -> None:
        """Read the list, and the header of the first file of each group.

        Raises:
            InputError: no list, a group without files, or audio that can't be used.
        """
        name = type(self).__name__
        if wav_scp is None:
            raise InputError(f"{name} in the configuration needs --{self.option}, a wav.scp")
        rows = [Utterance(key, path) for key, path in read_wavs(wav_scp).items()]
        self.source = file_hash(wav_scp)
        for group in self.files:
            self.files[group] = [row for row in rows if row.key.startswith(group)]
            if not self.files[group]:
                raise InputError(
                    f"{wav_scp}: no ids that begin with {group!r}, which {name} draws from"
                )
            # A list of other files is noticed here; a single bad file when it is drawn.
            reading.measure_lengths(self.files[group][:1], self.sample_rate)

    def draw(
        self, group: str, samples: int, rng: np.random.Generator, anywhere: bool = True
    ) -> np.ndarray:
        """Samples of a random file of a group.

        Args:
            group: name of the group.
            samples: length; a shorter file is read whole.
            rng: source of all chance.
            anywhere: from a random offset; otherwise, as a room response is read, from the
                beginning, where digital silence is refused, and the first of several channels.

        Returns:
            ``(T,)``, float32.

        Raises:
            InputError: audio that can't be used; names the file.
        """
        row = self.files[group][rng.integers(len(self.files[group]))]
        channel = 0 if anywhere else 1
        with reading.open_audio(row, self.sample_rate, channel) as file:
            spare = reading.spare_samples(file, samples)
            offset = reading.random_offset(spare, rng) if anywhere else 0
            wav = reading.as_float(reading.decode(file, samples, offset))
        if not wav.any() and not anywhere:
            raise InputError(f"{row.key}: {row.path}: digital silence")
        return wav


class AdditiveNoise(FromFiles):
    """Noise, music, or babble of several talkers, from the ``wav.scp`` given as ``--noise_data``.

    Ids begin with ``noise``, ``music`` or ``speech``, as ``tools/prepare_noise.py`` writes them for
    MUSAN (Snyder et al., 2015). The three are equally likely. The ratios and the number of talkers
    are those of Kaldi's recipe for x-vectors (``egs/voxceleb/v2``), as ranges. Shorter files are
    repeated.

    Args:
        p: probability in [0, 1] that an utterance is changed.
        noise: lowest and highest ratio of the mean powers in dB for noise; null leaves noise out.
        music: the same for music.
        babble: the same for babble: three to seven equally loud talkers; the ratio is that of their
            sum.
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
        self.snr_db = {group: limits for group, limits in snr.items() if limits is not None}
        super().__init__(p, tuple(self.snr_db))

    def apply(self, wav: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        group = rng.choice(list(self.files))
        count = rng.integers(3, 7, endpoint=True) if group == "speech" else 1
        voices = []  # one, unless they babble
        for _ in range(count):
            voice = np.resize(self.draw(group, len(wav), rng), len(wav))
            voices.append(set_power(voice, 1.0))
        return add_noise(wav, sum(voices), rng.uniform(*self.snr_db[group]))


class Reverberation(FromFiles):
    """A room impulse response from the ``wav.scp`` given as ``--reverb_data``.

    The strongest tap, the direct path, keeps its time, and the mean power is kept, as in Kaldi. The
    responses of RIRS_NOISES are described by Ko et al., "A study on data augmentation of
    reverberant speech for robust speech recognition", ICASSP 2017.

    Args:
        p: probability in [0, 1] that an utterance is changed.
        max_seconds: length that is read of a response, from its beginning.
    """

    option = "reverb_data"

    def __init__(self, p: ClosedUnitInterval = 0.5, max_seconds: PositiveFloat = 2.0):
        super().__init__(p, ("",))
        self.max_seconds = max_seconds

    def apply(self, wav: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        samples = round(self.max_seconds * self.sample_rate)
        return reverberate(wav, self.draw("", samples, rng, anywhere=False))


def reverberate(wav: np.ndarray, response: np.ndarray) -> np.ndarray:
    """``wav`` convolved with a room impulse response; direct path, length and mean power stay.

    Args:
        wav: ``(T,)``.
        response: ``(N,)``, at any level.

    Returns:
        ``(T,)``, float32.
    """
    direct = np.abs(response).argmax()
    wet = scipy.signal.oaconvolve(wav, response)[direct : direct + len(wav)]
    return set_power(wet, power(wav))
