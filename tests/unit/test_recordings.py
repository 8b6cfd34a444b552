"""A recording that somebody has: its speech is scored, and too little of it is told."""

from dataclasses import replace

import numpy as np
import pytest
import scipy.signal
import soundfile as sf
import tiny
from tiny import talking

from wedefense_lite.audio import activity
from wedefense_lite.audio.activity import _band_pass, _levels_of_band, is_steady
from wedefense_lite.files import InputError
from wedefense_lite.scoring.bundle import Detector
from wedefense_lite.scoring.recordings import Span, merger, speech_span, windows_of

RATE = tiny.RATE


@pytest.fixture(scope="module")
def detector(tmp_path_factory):
    """Detector of windows of a second."""
    folder = tmp_path_factory.mktemp("models") / "tiny"
    return Detector(tiny.bundle(folder, data={"eval_seconds": 1.0}, class_prior=(0.5, 0.5)))


def test_silence_around_speech_changes_nothing(detector):
    speech = talking(0.9)
    llr = detector.score(speech)
    before = np.concatenate([np.zeros(70000), speech, np.zeros(20000)])
    # The margins hold silence where the recording begins with speech.
    assert detector.score(before) == pytest.approx(llr, abs=2)
    # Frames of 20 ms lie otherwise.
    longer = np.concatenate([np.zeros(140000), before])
    assert detector.score(longer) == pytest.approx(detector.score(before), abs=0.05)
    with pytest.raises(InputError, match="silence"):
        detector.score(before, trim=False)


def test_silence_of_eight_bits_is_silence_on_either_side_of_zero():
    quiet = np.concatenate([np.zeros(20000), talking(0.9), np.zeros(30000)])
    for middle in (127.0, 128.0):
        samples = np.floor(quiet * 127 + middle + 0.5).astype(np.uint8)
        assert set(samples[:20000]) == {middle}
        wav = (samples.astype(np.float64) - 128) / 128
        span = speech_span(wav, RATE)
        assert 17000 < span.first < 23000
        assert 31000 < span.end < 38000


@pytest.mark.parametrize(
    ("wav", "note"),
    [
        (np.zeros(RATE), "no speech in 1.00 s"),
        (talking(1)[:16], "too short: 0.001 s, 0.5 s of speech needed"),
        (0.1 * np.random.default_rng(0).standard_normal(60 * RATE), "no speech in 60.00 s"),
        (0.3 * np.sin(np.arange(3 * RATE) * 2 * np.pi * 440 / RATE), "no speech in 3.00 s"),
        (np.concatenate([talking(0.25), np.zeros(RATE)]), "0.12 s of speech, 0.5 s needed"),
    ],
    ids=["silence", "16 samples", "noise", "a tone", "a word"],
)
def test_too_little_speech_is_an_answer(detector, wav, note):
    answer = detector.answer(wav)
    assert (answer.llr, answer.evidence, answer.windows) == (None, None, [])
    assert answer.note == f"samples: {note}"
    with pytest.raises(InputError, match=note):
        detector.score(wav)


def test_one_of_many_that_can_not_be_scored_ends_nothing(detector, tmp_path):
    sf.write(tmp_path / "a.wav", talking(1.5), RATE)
    (tmp_path / "b.wav").write_text("text")
    recordings = [tmp_path / "a.wav", tmp_path / "b.wav", np.zeros(100), tmp_path / "a.wav"]
    answers = detector.answers(recordings)
    assert [answer.llr is not None for answer in answers] == [True, False, False, True]
    assert answers[0] == answers[3] and answers[0].llr == detector.score(tmp_path / "a.wav")
    assert "b.wav" in answers[1].note


def test_windows_cover_the_speech_and_are_merged_as_stated(detector):
    wav = talking(2.4)
    whole = Span(0, len(wav))
    assert windows_of(whole, RATE, "all") == [
        Span(0, RATE),
        Span(RATE, 2 * RATE),
        Span(len(wav) - RATE, len(wav)),
    ]
    assert windows_of(whole, RATE, "first") == [Span(0, RATE)]
    assert windows_of(whole, 0, "all") == windows_of(whole, len(wav), "all") == [whole]
    assert windows_of(Span(0, 2 * RATE), RATE, "all") == [Span(0, RATE), Span(RATE, 2 * RATE)]
    answer = detector.answer(wav, windows="all", trim=False)
    alone = [
        detector.score(np.float32(wav)[span.first : span.end], trim=False)
        for span in windows_of(whole, RATE, "all")
    ]
    assert [window.llr for window in answer.windows] == alone and len(alone) == 3
    assert [window.start for window in answer.windows] == [0, 1, 1.4]
    assert answer.llr == pytest.approx(np.mean(alone))
    assert detector.score(wav, windows="all", trim=False, merge="min") == min(alone)
    lowest = detector.score(wav, windows="all", trim=False, merge="lowest2")
    assert lowest == pytest.approx(sum(sorted(alone)[:2]) / 2)
    assert detector.answer(wav, trim=False).windows[0].llr == alone[0]


def test_a_window_within_a_pause_has_no_score_and_the_others_have(detector):
    wav = np.concatenate([talking(1.0), np.zeros(RATE), talking(1.0, seed=1)])
    answer = detector.answer(wav, windows="all", trim=False)
    assert [(window.start, window.end) for window in answer.windows] == [(0, 1), (2, 3)]
    assert answer.llr == pytest.approx(np.mean([window.llr for window in answer.windows]))


@pytest.mark.parametrize("crop", ["first", "centre"])
def test_the_first_window_is_that_of_stage_4_in_seconds_of_the_recording(
    detector, tmp_path, monkeypatch, crop
):
    """Of a file of another rate too."""
    monkeypatch.setattr(detector, "data", replace(detector.data, eval_crop=crop))
    sf.write(tmp_path / "a.wav", np.repeat(talking(3.0), 2), 2 * RATE)
    (window,) = detector.answer(tmp_path / "a.wav", trim=False).windows
    assert (window.start, window.end) == ((1, 2) if crop == "centre" else (0, 1))
    wav = talking(3.0)
    (span,) = windows_of(Span(0, len(wav)), RATE, "first", crop)
    alone = detector.score(np.float32(wav)[span.first : span.end], trim=False)
    assert detector.score(np.float32(wav), trim=False) == alone


def test_options_that_mean_nothing_are_refused(detector):
    with pytest.raises(InputError, match="merge 'median', expected mean, min, or lowest3"):
        detector.score(talking(1), merge="median")
    with pytest.raises(InputError, match="windows 'last', expected first or all"):
        detector.score(talking(1), windows="last")
    assert merger("lowest9")(np.array([1.0, 3.0])) == 2.0


def test_speech_has_margins_of_a_tenth_of_a_second():
    wav = np.concatenate([np.zeros(RATE), talking(1.0), np.zeros(RATE)])
    span = speech_span(wav, RATE)
    # Frames of 20 ms; the first syllable begins with silence, the last one ends with it.
    assert 0.9 * RATE <= span.first <= 0.97 * RATE and 1.9 * RATE <= span.end <= 2.1 * RATE


def test_levels_are_those_behind_a_butterworth_filter():
    band = (200.0, 3400.0)
    hertz_Q = np.fft.rfftfreq(8000, 1 / 16000)
    sections = scipy.signal.butter(4, band, btype="bandpass", fs=16000, output="sos")
    _, response_Q = scipy.signal.sosfreqz(sections, hertz_Q[:-1], fs=16000)
    gain_Q = _band_pass(8000, band, 16000)
    np.testing.assert_allclose(gain_Q[:-1], np.abs(response_Q), atol=1e-9)
    assert gain_Q[-1] < 1e-9
    # A tone in the band has its level in each frame; one far outside has less than 60 dB of it.
    time_T = np.arange(4 * 16000) / 16000
    levels = _levels_of_band(np.sqrt(2) * np.sin(2 * np.pi * 1000 * time_T), band, 16000)
    np.testing.assert_allclose(levels, 0, atol=0.05)
    levels = _levels_of_band(np.sqrt(2) * np.sin(2 * np.pi * 25 * time_T), band, 16000)
    assert len(levels) == 200 and levels[5:-5].max() < -60


def test_levels_do_not_depend_on_where_a_block_ends(monkeypatch):
    wav_T = 0.1 * np.random.default_rng(0).standard_normal(RATE * 2)
    whole = _levels_of_band(wav_T, (200.0, 3400.0), RATE)
    monkeypatch.setattr(activity, "BLOCK_SECONDS", 0.3)
    np.testing.assert_allclose(_levels_of_band(wav_T, (200.0, 3400.0), RATE), whole, atol=0.01)


def test_steady_sounds_are_told_from_speech_in_noise():
    noise = np.random.default_rng(0).standard_normal(RATE)
    assert is_steady(0.1 * noise, RATE)
    speech = talking(1.0)
    assert not is_steady(speech, RATE)
    assert not is_steady(speech + speech.std() * noise, RATE)
    assert not is_steady(talking(1.0)[::2], RATE // 2)
