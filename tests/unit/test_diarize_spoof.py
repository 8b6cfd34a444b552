"""Who speaks when and is spoofed, and how long that takes, with stand-ins for trained systems."""

import itertools
import json
import time
from types import SimpleNamespace

import benchmark_latency
import numpy as np
import pytest
import soundfile as sf
import tiny
import torch
from commands import refused, run
from corpora import audio_bytes, flac_that_states, tone
from examples import examples
from hypothesis import given
from hypothesis import strategies as st

import wedefense_lite
from wedefense_lite.audio.activity import activity
from wedefense_lite.bin import diarize_spoof
from wedefense_lite.files import InputError
from wedefense_lite.mixtures.separation import trained_separator
from wedefense_lite.scoring.facts import BundleFacts
from wedefense_lite.separators.base import Separator

RATE = 16000


class ByBand(Separator):
    """Two talkers, below and above 1 kHz, with a tenth of each in the other's stream."""

    num_talkers = 2

    def __init__(self, sample_rate: int = RATE):
        super().__init__()
        self.sample_rate = sample_rate

    def forward(self, wav_BT):
        spectrum_BF = torch.fft.rfft(wav_BT)
        is_low_F = torch.fft.rfftfreq(wav_BT.shape[1], 1 / self.sample_rate) < 1000
        parts = [
            torch.fft.irfft(spectrum_BF * chosen_F, wav_BT.shape[1])
            for chosen_F in (is_low_F, ~is_low_F)
        ]
        return torch.stack([parts[0] + 0.1 * parts[1], parts[1] + 0.1 * parts[0]], 1)


class Judge:
    """Low voices are bona fide (LLR 2), high ones spoofed (LLR -2); less than 0.3 s is refused."""

    data, facts = SimpleNamespace(sample_rate=RATE), BundleFacts()
    task = SimpleNamespace(head=lambda embedding_BE: embedding_BE[:, :2])

    def logits(self, wav_T):
        assert np.abs(wav_T).max() <= 1
        if len(wav_T) < 0.3 * RATE:
            raise InputError("too short")
        crossings = np.mean(np.diff(np.sign(wav_T)) != 0) * RATE / 2
        return np.array([0.0, 2.0 if crossings < 1000 else -2.0])

    def embed(self, wav_T):
        return np.append(self.logits(wav_T), 1).astype(np.float32)


def tones(
    seconds: float, *parts: tuple[float, float, float], rate: int = RATE, loud: float = 0.2
) -> np.ndarray:
    """Silence with tones ``(Hz, start, end)``."""
    wav_T, at = np.zeros(round(seconds * rate)), np.arange(round(seconds * rate)) / rate
    for hertz, start, end in parts:
        wav_T += loud * np.sin(2 * np.pi * hertz * at) * ((at >= start) & (at < end))
    return wav_T


@pytest.fixture
def words(monkeypatch, tmp_path):
    """Options; stand-ins take the place of the bundle and of the trained separator."""
    monkeypatch.setattr(wedefense_lite, "load", lambda folder, device, trim: Judge())
    for module in (diarize_spoof, benchmark_latency):
        monkeypatch.setattr(module, "trained_separator", lambda config, model_path: ByBand())
    return ["--detector", "d", "--separator_config", "c", "--separator_model", "m"]


def diarized(monkeypatch, tmp_path, words, wav, rate=RATE, name="call 1.wav") -> dict:
    sf.write(tmp_path / name, wav, rate)
    out = "--out_dir", tmp_path / "out"
    run(monkeypatch, diarize_spoof.diarize_spoof, tmp_path / name, *words, *out, positional=True)
    return json.loads((tmp_path / "out/call_1.json").read_text())


def near(segments, expected) -> bool:
    """Segments as expected, to a frame and the edge of a filter."""
    found = [(one["start"], one["end"]) for one in segments]
    return np.shape(found) == np.shape(expected) and np.allclose(found, expected, atol=0.041)


def test_who_speaks_when_and_who_is_spoofed(monkeypatch, capsys, tmp_path, words):
    # The low talker pauses for 1 s. The high one speaks, for 0.5 s at the same time, and once for
    # 0.2 s.
    wav = tones(4, (300, 0.5, 1.5), (300, 2.5, 3.5), (3000, 1, 2), (3000, 3.7, 3.9))
    found = diarized(monkeypatch, tmp_path, words, wav)
    low, high = found["talkers"].values()
    assert (found["result"], found["seconds"], found["sample_rate"]) == ("speech", 4, RATE)
    assert near(low["segments"], [(0.5, 1.5), (2.5, 3.5)]) and near(
        high["segments"], [(1, 2), (3.7, 3.9)]
    )
    assert (low["llr"], low["decision"], high["llr"], high["decision"]) == (
        2,
        "bonafide",
        -2,
        "spoof",
    )
    assert [one["llr"] for one in high["segments"]] == [-2, None]
    assert low["seconds"] == pytest.approx(2, abs=0.1)
    rows = [line.split() for line in (tmp_path / "out/call_1.rttm").read_text().splitlines()]
    assert [(row[0], row[1], row[2], *row[5:]) for row in rows] == [
        ("SPEAKER", "call_1", "1", "<NA>", "<NA>", f"talker_{talker}", "<NA>", "<NA>")
        for talker in (1, 2, 1, 2)
    ]
    assert [float(row[3]) for row in rows] == [
        one["start"]
        for one in sorted(low["segments"] + high["segments"], key=lambda one: one["start"])
    ]
    printed = capsys.readouterr().out
    assert (tmp_path / "out/call_1.txt").read_text() == printed and "talker_2" in printed
    assert "<svg" in (tmp_path / "out/call_1.svg").read_text()


def test_a_separator_of_a_lower_rate_is_said_in_the_report(monkeypatch, capsys, tmp_path, words):
    monkeypatch.setattr(diarize_spoof, "trained_separator", lambda config, model_path: ByBand(8000))
    found = diarized(monkeypatch, tmp_path, words, tones(1, (300, 0.2, 0.8)))
    assert found["lost_band_hz"] == [4000, 8000]
    assert "judged without 4000 to 8000 Hz, which separation lost" in capsys.readouterr().out


def test_any_rate_and_one_of_two_channels_or_both(monkeypatch, caplog, tmp_path, words):
    # As loud as syllables, which no tone is.
    syllables = 1 - 0.8 * np.cos(2 * np.pi * 5 * np.arange(2 * 44100) / 44100)
    first = syllables * tones(2, (300, 0.5, 1.5), rate=44100, loud=0.1)
    second = syllables * tones(2, (3000, 0.2, 0.8), rate=44100, loud=0.1)
    wav = np.stack([first, second], 1)
    with caplog.at_level("INFO"):
        found = diarized(monkeypatch, tmp_path, [*words, "--channel", 1], wav, rate=44100)
    low, high = found["talkers"].values()
    assert near(low["segments"], [(0.5, 1.5)])
    assert (high["segments"], high["llr"], high["decision"], high["seconds"]) == ([], None, None, 0)
    assert (found["sample_rate"], found["channels"], found["seconds"]) == (44100, 2, 2)
    assert "WAV 44100 Hz 2 channels: resampled to 16000 Hz, channel 1" in caplog.text
    with caplog.at_level("INFO"):
        found = diarized(monkeypatch, tmp_path, words, wav, rate=44100)
    low, high = found["talkers"].values()
    assert near(low["segments"], [(0.5, 1.5)])
    assert near(high["segments"], [(0.2, 0.8)])
    assert "resampled to 16000 Hz, mixed down" in caplog.text


@pytest.mark.parametrize("steady", ["a tone", "noise"])
def test_what_has_one_level_throughout_is_no_speech(monkeypatch, capsys, tmp_path, words, steady):
    wav = tones(2, (300, 0.5, 1.5))
    if steady == "noise":
        wav = 0.1 * np.random.default_rng(0).standard_normal(2 * RATE)
    diarized(monkeypatch, tmp_path, words, wav)
    assert "no speech in 2.00 s" in capsys.readouterr().out


@pytest.mark.parametrize("level", [0, 1e-4])
def test_silence_is_no_speech(monkeypatch, capsys, tmp_path, words, level):
    noise = level * np.random.default_rng(0).standard_normal(RATE)
    found = diarized(monkeypatch, tmp_path, words, noise)
    assert (found["result"], found["talkers"]) == ("no speech", {})
    assert capsys.readouterr().out.endswith("call 1.wav: no speech in 1.00 s\n")
    assert (tmp_path / "out/call_1.rttm").read_text() == ""
    assert not (tmp_path / "out/call_1.svg").exists()


def test_what_is_no_recording_is_one_line(monkeypatch, capsys, tmp_path, words):
    (tmp_path / "text.wav").write_text("hello")
    sf.write(tmp_path / "empty.wav", np.zeros(0), RATE)
    sf.write(tmp_path / "nan.wav", np.full(9, np.nan), RATE, subtype="FLOAT")
    flac = audio_bytes(tone(0, 16))
    (tmp_path / "half.flac").write_bytes(flac_that_states(flac, 8))
    for name, message in {
        "none.wav": "none.wav: ",
        "text.wav": "Format not recognised",
        "empty.wav": "no samples",
        "nan.wav": "not finite",
        "half.flac": "8 samples by its header, 16 by its last FLAC frame",
    }.items():
        options = tmp_path / name, *words, "--out_dir", tmp_path / "out"
        assert message in refused(
            monkeypatch, capsys, diarize_spoof.diarize_spoof, *options, positional=True
        )
    assert not (tmp_path / "out").exists()
    needed = refused(
        monkeypatch, capsys, diarize_spoof.diarize_spoof, tmp_path / "none.wav", positional=True
    )
    assert "--detector is needed" in needed


def test_a_system_without_a_separator_is_named(tmp_path):
    with pytest.raises(
        InputError, match=r"tiny.yaml: its system is a Detection without a separator"
    ):
        trained_separator(str(tiny.write_config(tmp_path)), "none.pt")


def test_pauses_are_bridged_and_clicks_dropped():
    # A pause of 0.2 s, one of 0.4 s, and 0.06 s alone.
    wav_T = tones(3, (300, 0.2, 0.6), (300, 0.8, 1.2), (300, 1.6, 2), (300, 2.5, 2.56))
    assert activity(wav_T[None], RATE) == [[(0.2, 1.2), (1.6, 2)]]


def test_what_is_left_of_another_talker_is_no_speech():
    low, high = tones(2, (300, 0, 1)), tones(2, (3000, 1, 2), loud=0.02)
    # 14 dB below the other stream counts, 16 dB does not. While the other is silent, a soft talker
    # is heard.
    assert activity([low, 10**-0.7 * low], RATE)[1] == [(0, 1)]
    assert activity([low, 10**-0.8 * low], RATE)[1] == []
    assert activity([low, 10**-0.8 * low + high], RATE)[1] == [(1, 2)]
    assert activity([low, 10**-1.6 * high], RATE)[1] == []  # 52 dB below the loud frames


@examples(30)
@given(
    st.lists(st.booleans(), min_size=1, max_size=60),
    st.sampled_from([8000, 11025, 16000]),
    st.integers(0, 100),
)
def test_segments_are_in_order_within_the_recording_and_apart(voiced, rate, more):
    wav_T = np.append(np.repeat(voiced, round(0.05 * rate)), np.zeros(more)) * 0.1
    (segments,) = activity(wav_T[None], rate)
    times = np.ravel(segments)
    assert (np.diff(times) > 0).all() and (times >= 0).all() and (times <= len(wav_T) / rate).all()
    assert all(end - start > 0.09 for start, end in segments)
    assert all(after[0] - before[1] > 0.29 for before, after in itertools.pairwise(segments))


def test_latency_of_each_stage_on_a_clock_that_counts(monkeypatch, capsys, tmp_path, words):
    clock = itertools.count()
    monkeypatch.setattr(time, "perf_counter", lambda: float(next(clock)))
    options = "--repeats", 3, "--windows", "1,4", "--json", tmp_path / "out.json"
    run(monkeypatch, benchmark_latency.benchmark_latency, *words, *options)
    found = json.loads((tmp_path / "out.json").read_text())
    four = found["windows"]["4"]
    assert list(four["stages"]) == ["separation", "front end and model", "scoring", "total"]
    assert four["stages"]["scoring"] == {"seconds": 1, "real_time_factor": 0.25}
    assert (four["stages"]["total"]["real_time_factor"], four["first_decision_seconds"]) == (
        0.75,
        7,
    )
    assert (found["windows"]["1"]["first_decision_seconds"], found["repeats"]) == (4, 3)
    printed = capsys.readouterr().out.splitlines()
    assert printed[-1].split() == ["first", "decision", "after,", "s", "4.000", "7.000"]
    run(monkeypatch, benchmark_latency.benchmark_latency, *words[:2], *options)
    assert (
        list(json.loads((tmp_path / "out.json").read_text())["windows"]["1"]["stages"])[0]
        == "front end and model"
    )
    run(monkeypatch, benchmark_latency.benchmark_latency, *words[2:], *options)
    assert list(json.loads((tmp_path / "out.json").read_text())["windows"]["1"]["stages"]) == [
        "separation",
        "total",
    ]


def test_latency_of_nothing_is_one_line(monkeypatch, capsys, words):
    for options, message in (
        ([], "expected one of them or both"),
        ([*words, "--windows", "0"], "expected seconds above 0"),
        ([*words, "--windows", "1,x"], "could not convert"),
        (words[:4], "--separator_model is needed"),
    ):
        assert message in refused(
            monkeypatch, capsys, benchmark_latency.benchmark_latency, *options
        )
