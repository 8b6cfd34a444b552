"""Streams: windows as samples come, a row each, and the alarm of a change."""

import io
import json
import math
import re
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile as sf
import tiny
import torch

from wedefense_lite import cli
from wedefense_lite.audio.live import (
    Block,
    container_blocks,
    device_blocks,
    live_windows,
    pcm_blocks,
)
from wedefense_lite.audio.reading import read
from wedefense_lite.audio.utterance import Utterance
from wedefense_lite.bin.score import score
from wedefense_lite.files import InputError
from wedefense_lite.scoring.bundle import Detector
from wedefense_lite.scoring.live import Cusum, alarm_threshold, count_alarms, kept_llrs
from wedefense_lite.separators.base import Separator


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    """Bundle of windows of a second."""
    folder = tmp_path_factory.mktemp("models") / "tiny"
    return tiny.bundle(
        folder,
        data={"eval_seconds": 1.0},
        class_prior=(0.5, 0.5),
        thresholds={"EER": 0.0},
        threshold=0.0,
    )


def run(monkeypatch, capsys, data: bytes, *words) -> tuple[int, list[dict], str]:
    """Exit status, rows and standard error of a stream."""
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(data)))
    monkeypatch.setattr(sys, "argv", ["score", "--stream", "--format", "json", *map(str, words)])
    status = 0
    try:
        cli.run(score, from_hub=True, builds_systems=True, several="files")
    except SystemExit as stop:
        status = stop.code
    output, errors = capsys.readouterr()
    return status, [json.loads(line) for line in output.splitlines()], errors


def wav_bytes(wav_T: np.ndarray, kind: str = "WAV") -> bytes:
    buffer = io.BytesIO()
    sf.write(buffer, wav_T, tiny.RATE, format=kind, subtype="PCM_16")
    return buffer.getvalue()


# ---- The alarm


def test_a_cusum_is_what_is_summed_by_hand():
    """-2 and the first 1 stop at 0; 1, 3, 2 and 6 follow, an alarm, and then it begins anew."""
    cusum = Cusum(5.0)
    totals = []
    alarms = []
    for llr in (2, -1, -2, 1, -4, -1, 3):
        alarms.append(cusum.add(llr))
        totals.append(cusum.total)
    assert totals == [0, 1, 3, 2, 6, 1, 0]
    assert alarms == [False, False, False, False, True, False, False]


def test_a_window_counts_by_its_share_of_new_samples():
    cusum = Cusum(3.0)
    assert not cusum.add(-4.0, share=0.25)
    assert not cusum.add(-4.0, share=0.25)
    assert cusum.total == 2.0
    assert cusum.add(-4.0, share=0.25)


@pytest.mark.parametrize("threshold", [0.0, -1.0, math.inf, math.nan])
def test_a_threshold_that_no_sum_can_reach_is_refused(threshold):
    with pytest.raises(InputError, match="expected nats above 0"):
        Cusum(threshold)


def test_without_dev_the_threshold_is_the_bound_of_calibrated_llrs():
    """Windows of 4 s are 900 an hour, and 450 from one of two alarms to the next."""
    assert alarm_threshold((), 4.0, 1.0) == pytest.approx(math.log(900))
    assert alarm_threshold((), 4.0, 2.0) == pytest.approx(math.log(450))
    # Bona fide speech of dev that gives no evidence for spoof leaves it so.
    assert alarm_threshold([3.0, 5.0], 4.0, 1.0) == pytest.approx(math.log(900))


def test_dev_raises_the_threshold_until_its_alarms_are_few_enough():
    """Too sure of itself: a share of 2 % of bona fide speech has an LLR of -20."""
    llrs = [-20.0] + [10.0] * 49
    threshold = alarm_threshold(llrs, 4.0, 1.0)
    assert threshold > 20
    stream = np.random.default_rng(1).choice(llrs, 900 * 200).tolist()
    assert count_alarms(stream, threshold) / 200 <= 1.5
    assert count_alarms(stream, math.log(900)) / 200 > 10
    assert alarm_threshold(llrs, 4.0, 0.2) >= threshold


def test_alarms_are_counted_by_hand():
    # Sums of 3, 5 (an alarm), 0, 4 (an alarm), 1, 0, 3.
    assert count_alarms([-3.0, -2.0, 1.0, -4.0, -1.0, 2.0, -3.0], 4.0) == 2


@pytest.mark.parametrize(
    ("false_alarms", "reason"), [(900.0, "fewer than the 900 windows"), (1e-4, "0.045 or more")]
)
def test_rates_of_alarms_that_can_not_be_are_refused(false_alarms, reason):
    with pytest.raises(InputError, match=reason):
        alarm_threshold([1.0], 4.0, false_alarms)


def test_a_bundle_keeps_llrs_or_quantiles_of_them():
    assert kept_llrs(np.array([2.0, -1.0])) == (-1.0, 2.0)
    many = kept_llrs(np.random.default_rng(0).normal(size=5000))
    assert len(many) == 1000 and list(many) == sorted(many)


# ---- Windows


@pytest.mark.parametrize("rate", [16000, 48000, 22050])
def test_windows_of_a_stream_are_those_of_a_file(tmp_path, rate):
    """To the last bit, however the samples come in."""
    wav_T = np.random.default_rng(0).uniform(-0.5, 0.5, round(2.3 * rate)).astype(np.float32)
    sf.write(tmp_path / "a.wav", wav_T, rate, subtype="FLOAT")
    whole_T = read(Utterance("a", str(tmp_path / "a.wav")), 16000, floats=True)
    for pieces in (1, 7, 300):
        blocks = [Block(part_T, rate) for part_T in np.array_split(wav_T, pieces)]
        windows = list(live_windows(blocks, 16000, size=16000, hop=4000))
        assert [window.first for window in windows] == [0, 4000, 8000, 12000, 16000, 20000, 20800]
        for window in windows:
            assert len(window.wav_T) == 16000
            assert np.array_equal(window.wav_T, whole_T[window.first : window.end])


def test_a_window_comes_as_soon_as_its_last_sample():
    blocks = iter([Block(np.zeros(500, np.float32), 16000)] * 5)
    windows = live_windows(blocks, 16000, size=1000, hop=500)
    next(windows)
    assert len(list(blocks)) == 3


@pytest.mark.parametrize(
    ("samples", "ends"), [(300, [300]), (1000, [1000]), (1600, [1000, 1500, 1600])]
)
def test_the_end_of_a_stream_is_in_a_window(samples, ends):
    blocks = [Block(np.zeros(samples, np.float32), 16000)]
    windows = list(live_windows(blocks, 16000, size=1000, hop=500))
    assert [window.end for window in windows] == ends
    assert windows[-1].first == max(0, samples - 1000)


def test_bytes_of_a_sample_may_come_apart():
    class Slow(io.BytesIO):
        def read1(self, count):
            return super().read1(min(count, 3))

    wav_T = np.arange(-5, 6, dtype="<i2")
    blocks = pcm_blocks(Slow(wav_T.tobytes()), "s16le", 8000)
    assert np.array_equal(np.concatenate([block.wav_T for block in blocks]), wav_T / 2**15)


def test_a_channel_of_a_container_is_taken():
    stereo_TA = np.float32([[0.5, -0.25]] * 3000)
    for channel, value in ((0, 0.125), (1, 0.5), (2, -0.25)):
        blocks = container_blocks(io.BytesIO(wav_bytes(stereo_TA)), channel)
        assert {float(sample) for block in blocks for sample in block.wav_T} == {value}
    with pytest.raises(InputError, match="2 channels, expected channel 3 among them"):
        list(container_blocks(io.BytesIO(wav_bytes(stereo_TA)), 3))


# ---- The command


@pytest.mark.parametrize("kind", ["WAV", "FLAC", "s16le"])
def test_a_stream_has_the_scores_of_the_windows_of_a_file(
    monkeypatch, capsys, tmp_path, bundle, kind
):
    wav_T = np.round(tiny.talking(2.6) * 2**15).astype("<i2")
    sf.write(tmp_path / "a.wav", wav_T, tiny.RATE)
    answer = Detector(bundle, trim=False).answer(tmp_path / "a.wav", windows="all")
    words = ["--model", bundle, "--trim", "false", "--hop_seconds", 1]
    data = wav_T.tobytes() if kind == "s16le" else wav_bytes(wav_T, kind)
    if kind == "s16le":
        words += ["--pcm", "s16le", "--rate", tiny.RATE]
    status, rows, _ = run(monkeypatch, capsys, data, *words)
    assert status == 0
    assert [(row["start"], row["end"], row["llr"]) for row in rows] == list(answer.windows)
    # The last window has 0.6 s that the one before hasn't.
    total = 0.0
    for row, share in zip(rows, (1.0, 1.0, 0.6)):
        total = max(0.0, total - share * row["llr"])
        assert row["cusum"] == pytest.approx(total) and not row["alarm"]


def test_an_alarm_is_told_and_silence_has_no_score(monkeypatch, capsys, caplog, bundle):
    wav_T = np.concatenate([np.zeros(tiny.RATE), tiny.talking(1.0)])
    words = ("--model", bundle, "--trim", "false", "--hop_seconds", 1)
    _, rows, _ = run(monkeypatch, capsys, wav_bytes(wav_T), *words)
    assert rows[0]["llr"] is None and "silence" in rows[0]["note"] and rows[0]["cusum"] == 0
    # An alarm of next to nothing, where there is any evidence for spoof, as there is here.
    status, rows, _ = run(monkeypatch, capsys, wav_bytes(wav_T), *words, "--alarm", 1e-9)
    assert status == 0
    assert rows[1]["llr"] < 0 and rows[1]["alarm"]
    with caplog.at_level("INFO"):
        run(monkeypatch, capsys, wav_bytes(wav_T), *words)
    assert "windows of 1 s every 1 s, an alarm at 8.189 nats (1 false alarms an hour" in caplog.text


@pytest.mark.parametrize(
    ("data", "words", "reason"),
    [
        (b"\0" * 32001, ["--pcm", "s16le", "--rate", "16000"], "ends 1 bytes into sample 16000"),
        (b"\xff" * 8, ["--pcm", "f32le", "--rate", "16000"], "is it s16le"),
        (b"", ["--pcm", "s16le", "--rate", "16000"], "standard input: no samples"),
        (b"", [], "Format not recognised.*need --pcm and --rate"),
        (b"text" * 1000, [], "Format not recognised"),
        (b"", ["--pcm", "s16le"], "--pcm and --rate: expected both"),
        (b"", ["a.wav"], "expected no files"),
        (b"", ["--jobs", "2"], "expected no files, --output"),
        (b"", ["--window_seconds", "2"], "--window_seconds 2, expected 0.5 to 1"),
        (b"", ["--hop_seconds", "1.5"], "--hop_seconds 1.5, expected more than 0, and at most"),
        (b"", ["--pcm", "s16le", "--rate", "8000", "--channel", "2"], "--pcm has one channel"),
    ],
)
def test_a_stream_that_was_cut_or_is_none_is_told_in_a_line(
    monkeypatch, capsys, bundle, data, words, reason
):
    status, _, errors = run(monkeypatch, capsys, data, "--model", bundle, *words)
    assert status == 2
    (line,) = [line for line in errors.splitlines() if "error" in line]
    assert re.search(reason, line)


def test_a_cut_flac_is_told_behind_its_rows(monkeypatch, capsys, bundle):
    data = wav_bytes(tiny.talking(3.0), "FLAC")
    status, rows, errors = run(
        monkeypatch, capsys, data[: len(data) * 2 // 3], "--model", bundle, "--trim", "false"
    )
    assert status == 2 and rows
    assert "standard input: damaged behind" in errors


def test_options_of_a_stream_need_one(monkeypatch, capsys, bundle):
    monkeypatch.setattr(sys, "argv", ["score", "a.wav", "--model", str(bundle), "--alarm", "3"])
    with pytest.raises(SystemExit):
        cli.run(score, from_hub=True, builds_systems=True, several="files")
    assert "need --stream" in capsys.readouterr().err


def test_scores_that_are_no_llrs_need_a_threshold_of_the_user(monkeypatch, capsys, tmp_path):
    folder = tiny.bundle(tmp_path / "none", has_posterior=False)
    status, _, errors = run(monkeypatch, capsys, b"", "--model", folder)
    assert status == 2 and "give a threshold by --alarm" in errors


# ---- A device


class Microphone:
    """Stand-in for sounddevice: a device of 8 kHz and two channels that ends after its blocks."""

    PortAudioError = type("PortAudioError", (Exception,), {})

    def __init__(self, blocks, lost=()):
        self.blocks = blocks
        self.lost = lost

    def query_devices(self, device, kind):
        if device not in (None, 3, "USB"):
            raise ValueError(f"No input device matching {device!r}")
        assert kind == "input"
        return {"default_samplerate": 8000.0, "max_input_channels": 2}

    def InputStream(self, device, channels, samplerate, dtype):  # noqa: N802
        assert (channels, samplerate, dtype) == (2, 8000, "float32")
        return self

    def __enter__(self):
        self.number = -1
        return self

    def __exit__(self, *error):
        return False

    def read(self, count):
        self.number += 1
        if self.number == len(self.blocks):
            raise self.PortAudioError("Unanticipated host error [-9999]")
        return self.blocks[self.number], self.number in self.lost


@pytest.mark.parametrize("name", ["default", "3", "USB"])
def test_blocks_of_a_device_are_mono_at_its_rate(monkeypatch, name):
    stereo_TA = np.float32([[0.5, -0.25]] * 800)
    monkeypatch.setitem(sys.modules, "sounddevice", Microphone([stereo_TA] * 2))
    for channel, value in ((0, 0.125), (1, 0.5), (2, -0.25)):
        blocks = device_blocks(name, channel)
        first = next(blocks)
        assert first.rate == 8000 and first.wav_T.shape == (800,)
        assert (first.wav_T == value).all()
        next(blocks)
        with pytest.raises(InputError, match=f"{name}: Unanticipated host error"):
            next(blocks)


def test_a_device_that_is_none_or_lacks_a_channel_is_refused(monkeypatch):
    monkeypatch.setitem(sys.modules, "sounddevice", Microphone([]))
    with pytest.raises(InputError, match="--audio_device 7: No input device matching 7"):
        next(device_blocks("7"))
    with pytest.raises(InputError, match="2 channels, expected channel 3 among them"):
        next(device_blocks("USB", 3))


def test_samples_that_a_device_lost_are_told(monkeypatch, caplog):
    blocks = [np.zeros((800, 2), np.float32)] * 3
    monkeypatch.setitem(sys.modules, "sounddevice", Microphone(blocks, lost=[1]))
    heard = device_blocks("USB")
    next(heard)
    assert not caplog.text
    next(heard)
    assert "USB: samples were lost" in caplog.text


def test_a_device_has_the_scores_of_its_samples(monkeypatch, capsys, bundle):
    """Rows come before the device ends, which is an error behind them."""
    wav_T = np.float32(tiny.talking(2.0))[::2]
    stereo_TA = np.stack([wav_T, wav_T], 1)
    monkeypatch.setitem(sys.modules, "sounddevice", Microphone(np.array_split(stereo_TA, 10)))
    words = ("--model", bundle, "--trim", "false", "--hop_seconds", 1)
    status, rows, errors = run(monkeypatch, capsys, b"", *words, "--audio_device", "USB")
    assert status == 2 and "--audio_device USB: Unanticipated host error" in errors
    data = wav_T.astype("<f4").tobytes()
    pcm = ("--pcm", "f32le", "--rate", 8000)
    _, expected, _ = run(monkeypatch, capsys, data, *words, *pcm)
    assert rows == expected[:1] and rows[0]["llr"] is not None


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["--audio_device", "default"], "pip install 'wedefense_lite\\[live\\]'"),
        (["--audio_device", "3", "--pcm", "s16le", "--rate", "8000"], "expected no --pcm and"),
    ],
)
def test_a_device_without_its_package_is_told_in_a_line(monkeypatch, capsys, bundle, words, reason):
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    status, rows, errors = run(monkeypatch, capsys, b"", "--model", bundle, *words)
    assert status == 2 and not rows
    (line,) = [line for line in errors.splitlines() if "error" in line]
    assert re.search(reason, line)


# ---- Talkers


class Swapping(Separator):
    """Talkers below and above 1 kHz; each separation gives them in the other order."""

    num_talkers = 2
    sample_rate = tiny.RATE

    def __init__(self):
        super().__init__()
        self.calls = 0

    def forward(self, wav_BT):
        self.calls += 1
        spectrum_BF = torch.fft.rfft(wav_BT)
        is_low_F = torch.fft.rfftfreq(wav_BT.shape[1], 1 / self.sample_rate) < 1000
        streams = []
        for chosen_F in (is_low_F, ~is_low_F):
            streams.append(torch.fft.irfft(spectrum_BF * chosen_F, wav_BT.shape[1]))
        return torch.stack(streams[:: 1 if self.calls % 2 else -1], 1)


def voice(hertz: float, seconds: float, *spoken: tuple[float, float]) -> np.ndarray:
    """A tone in syllables, four in a second, within the times when it speaks."""
    time = np.arange(round(seconds * tiny.RATE)) / tiny.RATE
    tone_T = 0.2 * np.sin(2 * np.pi * hertz * time) * np.maximum(0, np.sin(8 * np.pi * time)) ** 2
    is_spoken_T = np.zeros(len(time), dtype=bool)
    for start, end in spoken:
        is_spoken_T |= (time >= start) & (time < end)
    return tone_T * is_spoken_T


@pytest.fixture
def talkers(monkeypatch, bundle):
    """Options of a stream of talkers; the separator is a stand-in."""
    monkeypatch.setattr(
        "wedefense_lite.mixtures.separation.trained_separator", lambda *paths: Swapping()
    )
    return ["--model", bundle, "--separator_config", "c", "--separator_model", "m"]


def test_each_talker_has_a_row_and_is_followed_through_the_windows(
    monkeypatch, capsys, bundle, talkers
):
    low_T = voice(300, 2.5, (0.0, 2.5))
    high_T = voice(2500, 2.5, (0.0, 2.5))
    _, rows, _ = run(monkeypatch, capsys, wav_bytes(low_T + high_T), *talkers, "--hop_seconds", 0.5)
    assert [(row["talker"], row["start"]) for row in rows] == [
        (talker, start) for start in (0.0, 0.5, 1.0, 1.5) for talker in (1, 2)
    ]
    detector = Detector(bundle, trim=False)
    expected = [detector.score(low_T[: tiny.RATE]), detector.score(high_T[: tiny.RATE])]
    assert abs(expected[0] - expected[1]) > 0.05, "the two can be told apart"
    for talker in (1, 2):
        llrs = [row["llr"] for row in rows if row["talker"] == talker]
        other = expected[2 - talker]
        for llr in llrs:
            assert abs(llr - expected[talker - 1]) < abs(llr - other)
        # The evidence of a talker is added up by itself.
        total = 0.0
        for llr, share in zip(llrs, (1.0, 0.5, 0.5, 0.5)):
            total = max(0.0, total - share * llr)
        (last,) = [row for row in rows if row["talker"] == talker and row["start"] == 1.5]
        assert last["cusum"] == pytest.approx(total)


def test_a_talker_who_is_silent_has_no_score_and_may_be_another_one_behind(
    monkeypatch, capsys, talkers
):
    """Both are silent in what the window at 1 s shares with the one before."""
    low_T = voice(300, 3.0, (0.0, 0.9))
    high_T = voice(2500, 3.0, (0.0, 0.9), (1.6, 3.0))
    words = [*talkers, "--hop_seconds", 0.5]
    _, rows, _ = run(monkeypatch, capsys, wav_bytes(low_T + high_T), *words)
    by_place = {(row["start"], row["talker"]): row for row in rows}
    # From 1.0 to 1.5 s nobody speaks: who speaks from 1.6 s on may be either.
    for talker in (1, 2):
        for start in (0.0, 0.5, 1.5, 2.0):
            assert "may be another talker" not in by_place[start, talker]["note"]
        assert "may be another talker" in by_place[1.0, talker]["note"]
        assert by_place[0.0, talker]["llr"] is not None
    for start in (1.0, 1.5, 2.0):
        scored = [talker for talker in (1, 2) if by_place[start, talker]["llr"] is not None]
        assert len(scored) <= 1
    (silent,) = [talker for talker in (1, 2) if by_place[2.0, talker]["llr"] is None]
    assert "silence" in by_place[2.0, silent]["note"]


def test_a_silent_talker_is_not_scored_by_what_is_left_of_the_other(monkeypatch, capsys, talkers):
    """A fiftieth of the amplitude, 34 dB below, is residue and no voice."""
    wav_T = voice(300, 1.0, (0.0, 1.0)) + 0.02 * voice(2500, 1.0, (0.0, 1.0))
    _, rows, _ = run(monkeypatch, capsys, wav_bytes(wav_T), *talkers)
    assert sorted(row["llr"] is None for row in rows) == [False, True]


def test_rows_of_talkers_have_a_column_more(monkeypatch, capsys, talkers):
    data = wav_bytes(voice(300, 1.0, (0.0, 1.0)))
    for output_format, begin in (("tsv", "talker\tstart\tend\tllr"), ("table", "talker    start")):
        monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(data)))
        words = ["score", "--stream", "--format", output_format, *map(str, talkers)]
        monkeypatch.setattr(sys, "argv", words)
        cli.run(score, from_hub=True, builds_systems=True, several="files")
        lines = capsys.readouterr().out.splitlines()
        assert lines[0].startswith(begin) and len(lines) == 3
        assert lines[1].split()[0] == "1" and lines[2].split()[0] == "2"


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["--separator_config", "c"], "--separator_model is needed"),
        (["--separator_model", "m"], "--separator_config is needed"),
        (
            ["--separator_config", "c", "--separator_model", "m", "--hop_seconds", "1"],
            "--hop_seconds 1, expected less than a window, 1: talkers are followed by",
        ),
    ],
)
def test_talkers_need_a_separator_and_windows_that_overlap(
    monkeypatch, capsys, bundle, words, reason
):
    status, _, errors = run(monkeypatch, capsys, b"", "--model", bundle, *words)
    assert status == 2 and reason in errors
