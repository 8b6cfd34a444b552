"""Augmentation: ratios, alignment, lengths, and what is read of the files it needs."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile as sf
from corpora import RATE, make_corpus, tone
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy.signal import butter, correlate, firwin, freqz, istft, sosfiltfilt, stft

from wedefense_lite.audio.resampling import resample
from wedefense_lite.augment.base import power, prepare
from wedefense_lite.augment.codec import CODECS, Codec
from wedefense_lite.augment.noise import AdditiveNoise, Reverberation
from wedefense_lite.augment.rawboost import RawBoost, band_stop, filter_and_add
from wedefense_lite.augment.signal import (
    LowPass,
    PitchShift,
    Resample,
    SilenceTrim,
    Speed,
    stretch_time,
)
from wedefense_lite.bin.train import train
from wedefense_lite.files import InputError
from wedefense_lite.systems.config import DataConfig
from wedefense_lite.training.loader import TrainLoader

SECOND = np.arange(RATE) / RATE
# Between 200 Hz and 3 kHz, so that codecs let most of it through.
WAV = sosfiltfilt(
    butter(2, [200, 3000], "band", fs=RATE, output="sos"), tone(0, RATE) / 32768
).astype(np.float32)
SILENCE = np.zeros(2000, np.float32)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def decibels(ratio: float) -> float:
    return 10 * np.log10(ratio)


def pitch(wav: np.ndarray) -> float:
    """The strongest frequency in Hz."""
    return np.abs(np.fft.rfft(wav * np.hanning(len(wav)), 2 * RATE)).argmax() / 2


def sine(hertz: float) -> np.ndarray:
    return np.sin(2 * np.pi * hertz * SECOND).astype(np.float32)


def lag(changed: np.ndarray, wav: np.ndarray) -> int:
    """Samples by which ``changed`` comes late."""
    return int(correlate(changed, wav, method="fft").argmax()) - (len(wav) - 1)


def wav_scp(folder, audio: dict[str, np.ndarray], rate: int = RATE) -> str:
    for key, wav in audio.items():
        sf.write(folder / f"{key}.wav", wav, rate, subtype="FLOAT")
    (folder / "wav.scp").write_text("".join(f"{key} {folder}/{key}.wav\n" for key in sorted(audio)))
    return str(folder / "wav.scp")


@pytest.fixture
def musan(tmp_path):
    """Files of three kinds, talkers of different loudness, longer and shorter than an utterance."""
    lengths = {"noise-1": 4 * RATE, "noise-2": 300, "music-1": 2 * RATE}
    lengths |= {f"speech-{talker}": (talker + 1) * RATE for talker in range(5)}
    audio = {
        key: tone(n + 1, samples) / 32768 * (n + 1)
        for n, (key, samples) in enumerate(lengths.items())
    }
    return wav_scp(tmp_path, audio)


@pytest.fixture
def read(monkeypatch):
    """Samples that each reading of an audio file asked for."""
    asked, original = [], sf.SoundFile.read

    def spy(file, frames=-1, **options):
        asked.append(frames)
        return original(file, frames, **options)

    monkeypatch.setattr(sf.SoundFile, "read", spy)
    return asked


def ready(augment, path: str):
    augment.prepare(path)
    return augment


# Files of noise and rooms


@pytest.mark.parametrize("kind", ["noise", "music", "babble"])
def test_the_ratio_of_the_mix_is_the_one_asked_for(musan, kind):
    only = {"noise": None, "music": None, "babble": None} | {kind: (7.0, 7.0)}
    augment = ready(AdditiveNoise(1.0, **only), musan)
    for seed in range(4):
        noise = augment(WAV, rng(seed)) - WAV
        assert decibels(power(WAV) / power(noise)) == pytest.approx(7, abs=1e-3)


def test_ratios_of_a_kind_fill_its_range_and_kinds_take_turns(musan):
    augment = ready(AdditiveNoise(1.0, (0.0, 1.0), (10.0, 11.0), (20.0, 21.0)), musan)
    found = [decibels(power(WAV) / power(augment(WAV, rng(seed)) - WAV)) for seed in range(60)]
    counts = np.histogram(found, [-0.01, 1.01, 9.99, 11.01, 19.99, 21.01])[0]
    assert counts[[1, 3]].sum() == 0 and counts[[0, 2, 4]].min() > 8
    assert np.ptp([one for one in found if one < 2]) > 0.5


def test_babble_is_three_to_seven_talkers_equally_loud(musan, monkeypatch):
    augment = ready(AdditiveNoise(1.0, None, None), musan)
    talkers = []
    monkeypatch.setattr(
        augment, "draw", lambda kind, samples, rng: talkers.append(kind) or sine(400 * len(talkers))
    )
    counts = set()
    for seed in range(40):
        talkers.clear()
        babble = augment(WAV, rng(seed)) - WAV
        counts.add(len(talkers))
        levels = np.abs(np.fft.rfft(babble))[400 * (np.arange(len(talkers)) + 1)]
        assert levels.max() < 1.05 * levels.min()
    assert counts == {3, 4, 5, 6, 7} and set(talkers) == {"speech"}


def test_only_the_part_that_is_needed_is_read_and_not_always_the_same(musan, read):
    augment = ready(AdditiveNoise(1.0, music=None, babble=None), musan)
    mixes = {augment(WAV[:1600], rng(seed)).tobytes() for seed in range(8)}
    assert set(read) == {1600, 300} and len(mixes) == 8
    read.clear()
    ready(Reverberation(1.0, max_seconds=0.01), musan)(WAV, rng())
    assert read == [160]


def test_a_unit_impulse_is_no_room_wherever_it_stands(tmp_path):
    for delay in (0, 100):
        response = np.zeros(400, np.float32)
        response[delay] = 0.3
        augment = ready(Reverberation(1.0), wav_scp(tmp_path, {"room": response}))
        np.testing.assert_allclose(augment(WAV, rng()), WAV, atol=1e-6)


def test_a_room_keeps_time_length_and_power(tmp_path):
    response = np.concatenate(
        [np.zeros(50), tone(1, 4000) / 32768 * np.exp(-np.arange(4000) / 800)]
    )
    response[50] = 1.0
    changed = ready(Reverberation(1.0), wav_scp(tmp_path, {"room": response}))(WAV, rng())
    assert len(changed) == len(WAV) and lag(changed, WAV) == 0
    assert power(changed) == pytest.approx(power(WAV), rel=1e-5)
    impulse = np.eye(1, RATE, 500, dtype=np.float32)[0]
    echo = ready(Reverberation(1.0), str(tmp_path / "wav.scp"))(impulse, rng())
    assert np.abs(echo).argmax() == 500 and power(echo[501:]) > 0


def test_silence_stays_silent_and_silent_noise_adds_nothing(tmp_path, musan):
    assert not ready(AdditiveNoise(1.0), musan)(SILENCE, rng()).any()
    path = wav_scp(tmp_path, {"noise-0": SILENCE, "room": SILENCE})
    augment = ready(AdditiveNoise(1.0, music=None, babble=None), path)
    np.testing.assert_array_equal(augment(WAV, rng()), WAV)
    with pytest.raises(
        InputError, match=r"room\.wav: digital silence|noise-0\.wav: digital silence"
    ):
        ready(Reverberation(1.0), path)(WAV, rng())


def test_lists_that_are_missing_unused_or_unfit_are_named(tmp_path, musan):
    for augment, option in [(AdditiveNoise(), "noise_data"), (Reverberation(), "reverb_data")]:
        with pytest.raises(InputError, match=f"{type(augment).__name__} .* needs --{option}"):
            prepare([Speed(), augment], noise_data=None, reverb_data=None)
        with pytest.raises(InputError, match=f"--{option} {musan}: no augmentation"):
            prepare([Speed()], **{option: musan})
    augments = [AdditiveNoise(), Reverberation()]
    prepare(augments, noise_data=musan, reverb_data=musan)
    assert len(augments[0].files["speech"]) == 5 and len(augments[1].files[""]) == 8
    for audio, rate, message in [
        ({"noise-1": SILENCE}, RATE, "no ids that begin with 'music'"),
        (
            {"noise-1": SILENCE, "music-1": SILENCE, "speech-1": SILENCE},
            999,
            "noise-1.*999 Hz, expected 1000 to",
        ),
    ]:
        with pytest.raises(InputError, match=message):
            prepare([AdditiveNoise()], noise_data=wav_scp(tmp_path, audio, rate))


def test_noise_and_rooms_of_any_rate_and_channels_fit(tmp_path):
    """Noise is resampled and mixed down; of a room response the first channel is taken."""
    random = np.random.default_rng(0)
    stereo = random.uniform(-0.5, 0.5, (44100, 2))
    for group in ("noise", "music", "speech"):
        sf.write(tmp_path / f"{group}.wav", stereo, 44100, subtype="FLOAT")
    lines = [f"{group}-1 {tmp_path / group}.wav" for group in ("noise", "music", "speech")]
    (tmp_path / "wav.scp").write_text("\n".join(lines) + "\n")
    noise, room = AdditiveNoise(), Reverberation()
    prepare(
        [noise, room], noise_data=str(tmp_path / "wav.scp"), reverb_data=str(tmp_path / "wav.scp")
    )
    mean = resample(np.float32(stereo).mean(1), 44100, RATE)
    assert np.array_equal(noise.draw("noise", RATE, rng()), mean)
    assert len(noise.draw("noise", 1000, rng())) == 1000
    first = resample(np.float32(stereo[:, 0]), 44100, RATE)
    assert np.array_equal(room.draw("", 5000, rng(), anywhere=False), first[:5000])


def test_training_does_not_start_without_them():
    experiment = SimpleNamespace(data=DataConfig(augment=[AdditiveNoise()]))
    with pytest.raises(InputError, match="--noise_data"):
        train(experiment, "exp", "no.list", "no.utt2lab")


# RawBoost


def test_rawboost_algorithms_are_what_their_numbers_say():
    one, two, three = (
        getattr(RawBoost(), name) for name in ("convolutive", "impulsive", "stationary")
    )
    series = {
        1: [one],
        2: [two],
        3: [three],
        4: [one, two, three],
        5: [one, two],
        6: [one, three],
        7: [two, three],
    }
    for algorithm, steps in series.items():
        expected, chance = WAV, rng(5)
        chance.random()  # which decides whether anything is done
        for step in steps:
            expected = step(expected, chance)
        np.testing.assert_array_equal(RawBoost(1.0, algorithm)(WAV, rng(5)), np.float32(expected))
    chance = rng(5)
    chance.random()
    expected = one(WAV, chance) + two(WAV, chance)
    np.testing.assert_allclose(RawBoost(1.0, 8)(WAV, rng(5)), expected, atol=1e-6)
    assert np.abs(RawBoost(1.0, 8)(WAV / np.abs(WAV).max(), rng(5))).max() <= 1


@pytest.mark.parametrize("algorithm", range(1, 9))
def test_rawboost_keeps_time_and_length_and_leaves_silence(algorithm):
    augment = RawBoost(1.0, algorithm)
    changed = augment(WAV, rng(1))
    assert changed.dtype == np.float32 and changed.shape == WAV.shape and lag(changed, WAV) == 0
    assert not augment(SILENCE, rng(1)).any()


def test_rawboost_filters_stop_bands_and_nothing_gets_louder():
    for seed in range(5):
        taps = RawBoost().band_stops(rng(seed))
        magnitude = np.abs(freqz(taps, worN=512)[1])
        assert len(taps) % 2 and np.allclose(taps, taps[::-1])
        assert magnitude.max() == pytest.approx(1) and magnitude.min() < 0.7


@given(
    count=st.integers(5, 50).map(lambda half: 2 * half + 1),
    edges=st.tuples(st.floats(0.001, 0.999), st.floats(0.001, 0.999)),
)
def test_a_band_stop_is_that_of_scipy(count, edges):
    low, high = sorted(edges)
    assume(high - low > 1e-3)
    taps = band_stop(count, np.array([low, high]))
    np.testing.assert_allclose(taps, firwin(count, [low, high]), atol=1e-12)


@given(samples=st.integers(1, 3000), counts=st.lists(st.integers(0, 200), min_size=1, max_size=3))
def test_filtering_by_blocks_is_convolution(samples, counts):
    chance = rng(samples)
    wavs = [chance.standard_normal(samples) for _ in counts]
    filters = [chance.standard_normal(2 * half + 1) for half in counts]
    expected = np.zeros(samples)
    for wav, taps in zip(wavs, filters):
        middle = len(taps) // 2
        expected += np.convolve(wav, taps)[middle : middle + samples]
    added = filter_and_add(wavs, filters)
    assert added.dtype == np.float32
    np.testing.assert_allclose(added, expected, atol=1e-4 * np.abs(expected).max())


def test_rawboost_convolves_the_first_power_and_softer_the_others():
    """Of a constant h, powers are constants too: without filters, gains can be read off."""
    augment = RawBoost()
    augment.band_stops = lambda rng: np.ones(1)
    one, half = (np.full(4, level) * [1, 1, -1, -1] for level in (1.0, 0.5))
    np.testing.assert_allclose(augment.convolutive(half / 1e6, rng(1)), half / 1e6, rtol=1e-4)
    for seed in range(9):
        odd = augment.convolutive(half, rng(seed))[0] - half[0]  # even powers have no mean here
        assert 10**-1 * (2**-3 + 2**-5) <= odd <= 10**-0.25 * (2**-3 + 2**-5)
    assert np.abs(augment.convolutive(one, rng(1))).max() == 1


def test_rawboost_impulses_are_few_and_bounded():
    found = []
    for seed in range(20):
        changed = RawBoost().impulsive(WAV / 10, rng(seed))
        ratio = changed[WAV != 0] / (WAV / 10)[WAV != 0]
        assert ratio.min() > -1.001 and ratio.max() < 3.001
        found.append(np.mean(ratio != 1))
    assert 0.06 < max(found) < 0.1 and min(found) < 0.03


def test_rawboost_adds_stationary_noise_at_10_to_40_db():
    found = [
        decibels(power(WAV) / power(RawBoost().stationary(WAV, rng(seed)) - WAV))
        for seed in range(40)
    ]
    assert 9.99 < min(found) < 13 and 37 < max(found) < 40.01


# Speed, pitch, bandwidth, silence


def test_speed_changes_length_and_pitch():
    changed = Speed(1.0, (1.25, 1.25))(sine(1000), rng())
    assert len(changed) == RATE / 1.25 and pitch(changed) == 1250
    assert {len(Speed(1.0)(WAV, rng(seed))) > RATE for seed in range(9)} == {True, False}


def test_speeds_are_those_of_a_list_alone():
    augment = Speed(1.0, speeds=[0.9, 1.0, 1.1])
    lengths = {len(augment(WAV, rng(seed))) for seed in range(40)}
    assert lengths == {-(-RATE * 100 // 90), RATE, -(-RATE * 100 // 110)}
    assert augment.stretch == 1.1
    for speeds, message in [([], r"speeds is \[\]"), ([1.005], "speeds has 1.005, expected")]:
        with pytest.raises(InputError, match=message):
            Speed(speeds=speeds)


@pytest.mark.parametrize("semitones", [-2, 1])
def test_pitch_changes_and_length_does_not(semitones):
    changed = PitchShift(1.0, (semitones, semitones))(sine(1000), rng())
    assert len(changed) == RATE
    assert pitch(changed) == pytest.approx(1000 * 2 ** (semitones / 12), abs=6)
    assert power(changed) == pytest.approx(0.5, rel=0.25)


@pytest.mark.parametrize("samples", [RATE, RATE - 1, 50])
@pytest.mark.parametrize("factor", [0.9, 1.0, 1.12])
def test_the_phase_vocoder_is_that_of_angles_and_exponentials(samples, factor):
    # Noise in all bins: where there is next to nothing, its phase is that of rounding.
    wav = rng().standard_normal(samples).astype(np.float32) / 10
    _, _, spectrum = stft(np.pad(wav, (0, 512)), nperseg=512, noverlap=384)
    positions = np.arange(0, spectrum.shape[1] - 1, 1 / factor)
    before = positions.astype(int)
    share = positions - before
    magnitude = (1 - share) * np.abs(spectrum[:, before]) + share * np.abs(spectrum[:, before + 1])
    advance = np.angle(spectrum[:, before + 1]) - np.angle(spectrum[:, before])
    phase = np.angle(spectrum[:, :1]) + np.cumsum(advance, axis=1) - advance
    _, expected = istft(magnitude * np.exp(1j * phase), nperseg=512, noverlap=384)
    np.testing.assert_allclose(stretch_time(wav, factor), expected, atol=1e-4)


def test_pitch_of_what_is_shorter_than_a_frame():
    assert len(PitchShift(1.0)(WAV[:50], rng())) == 50


def test_a_low_pass_halves_at_its_cutoff_and_delays_nothing():
    augment = LowPass(1.0, (3000, 3000))
    levels = [power(augment(sine(hertz), rng())) ** 0.5 for hertz in (500, 3000, 6000)]
    assert np.array(levels) * np.sqrt(2) == pytest.approx([1, 0.5, 0], abs=0.01)
    assert lag(augment(WAV, rng()), WAV) == 0


@pytest.mark.parametrize("cutoff_hz", [50.0, 3000.0, 7900.0])
def test_a_low_pass_is_the_butterworth_filter_there_and_back(cutoff_hz):
    sections = butter(4, cutoff_hz, fs=RATE, output="sos")
    wav = WAV + np.float32(0.5)  # which neither end takes for a step
    expected = sosfiltfilt(sections, wav, padlen=0)
    changed = LowPass(1.0, (cutoff_hz, cutoff_hz))(wav, rng())
    np.testing.assert_allclose(changed, expected, atol=1e-6)


def test_a_lower_sample_rate_takes_the_upper_band_and_no_time():
    augment = Resample(1.0, (8000,))
    assert power(augment(sine(5000), rng())) < 1e-4 and power(augment(sine(2000), rng())) > 0.49
    assert lag(augment(WAV, rng()), WAV) == 0
    assert {len(Resample(1.0)(WAV[:-seed], rng(seed))) + seed for seed in range(1, 6)} == {RATE}


def test_silence_is_trimmed_down_to_a_rest():
    wav = np.concatenate([np.zeros(3200), sine(300)[:6400], np.zeros(3200)]).astype(np.float32)
    wav[:3200] += 1e-4
    np.testing.assert_array_equal(SilenceTrim(1.0, rest_ms=(0.0, 0.0))(wav, rng()), wav[3200:9600])
    np.testing.assert_array_equal(
        SilenceTrim(1.0, rest_ms=(50.0, 50.0))(wav, rng()), wav[2400:10400]
    )
    np.testing.assert_array_equal(SilenceTrim(1.0, rest_ms=(500.0, 500.0))(wav, rng()), wav)
    np.testing.assert_array_equal(
        SilenceTrim(1.0, threshold_db=90.0, rest_ms=(0.0, 0.0))(wav, rng()), wav[:9600]
    )
    assert len(SilenceTrim(1.0)(SILENCE, rng())) == len(SILENCE)


# Codecs


@pytest.mark.parametrize("name", CODECS)
def test_codecs_change_the_audio_and_keep_it_in_time(name):
    augment = Codec(1.0, (name,))
    augment.prepare(None)
    for kbit_s in CODECS[name].kbit_s[::2]:
        changed = augment.transcode(WAV, name, kbit_s)
        assert changed.dtype == np.float32 and changed.shape == WAV.shape
        assert not np.array_equal(changed, WAV)
        assert abs(lag(changed, WAV)) <= (
            name == "opus"
        )  # which may shift it by less than a sample
        assert np.corrcoef(changed, WAV)[0, 1] > (0.4 if name == "opus" else 0.85)
    assert np.abs(augment(SILENCE, rng())).max() < 1e-3
    assert augment(WAV[:100], rng()).shape == (100,)


@pytest.mark.parametrize("name", CODECS)
def test_codecs_keep_time_at_another_sample_rate(name):
    augment = Codec(1.0, (name,))
    augment.sample_rate = 8000
    assert abs(lag(augment(WAV[::2], rng()), WAV[::2])) <= 1


def test_a_codec_that_cannot_be_used_is_named(monkeypatch):
    monkeypatch.setitem(CODECS, "opus", CODECS["opus"]._replace(encoder="no_such_encoder"))
    with pytest.raises(InputError, match="this PyAV has no no_such_encoder; take opus from codecs"):
        prepare([Codec()])
    prepare([Codec(codecs=("mulaw", "aac"))])


# In the loader


def test_crops_keep_their_length_whatever_augmentation_does_to_it(tmp_path):
    samples = 800
    index = make_corpus(tmp_path, [4 * samples] * 6).index("raw")
    config = DataConfig(crop_seconds=samples / RATE, batch_size=6, pad="zero")
    for augment in (Speed(1.0, (2.0, 2.0)), Speed(1.0, (0.5, 0.5)), Speed(1.0)):
        batch = next(TrainLoader(index, replace(config, augment=[augment]), 1).epoch(1))
        assert batch.wav_BT.shape == (6, samples) and set(batch.lengths_B.tolist()) == {samples}
    quiet = make_corpus(tmp_path / "quiet", [samples] * 2)
    for path in quiet.wavs.values():
        sf.write(path, np.concatenate([np.zeros(640), np.ones(160)]) / 2, RATE)
    trim = SilenceTrim(1.0, rest_ms=(0.0, 0.0))
    for pad, length in [("zero", 160), ("repeat", samples)]:
        loader = TrainLoader(
            quiet.index("raw"), replace(config, batch_size=2, pad=pad, augment=[trim]), 1
        )
        batch = next(loader.epoch(1))
        assert batch.wav_BT.shape == (2, samples) and set(batch.lengths_B.tolist()) == {length}


def test_a_crop_that_came_out_longer_is_cut_anywhere(tmp_path):
    index = make_corpus(tmp_path, [800]).index("raw")
    config = DataConfig(crop_seconds=0.05, batch_size=30, augment=[Speed(1.0, (0.8, 0.8))])
    batch = next(
        TrainLoader([replace(index[0], key=f"u{n}") for n in range(30)], config, 1).epoch(1)
    )
    assert (
        batch.wav_BT.shape == (30, 800) and len({tuple(row) for row in batch.wav_BT.tolist()}) > 15
    )


def test_augmentation_knows_the_sample_rate_of_the_data():
    augment = DataConfig(sample_rate=8000, augment=[RawBoost()]).augment[0]
    assert augment.sample_rate == 8000
    assert augment(WAV, rng()).shape == WAV.shape
