"""MUSAN and RIRS_NOISES, as published, to tables for augmentation."""

import numpy as np
import pytest
import soundfile as sf
from commands import run_script
from corpora import RATE, tone

from wedefense_lite.audio.reading import ALLOW_PIPES
from wedefense_lite.files import read_table

MUSAN = (
    "noise/free-sound/noise-free-sound-0000",
    "music/fma/music-fma-0001",
    "speech/us-gov/speech-us-gov-0002",
)
ROOMS = ("smallroom", "mediumroom", "largeroom")
REAL = "RVB2014_type1_rir_largeroom1_far_angla"


def prepare(folder, *words):
    return run_script(folder, "tools/prepare_noise.py", *words)


def table(folder, name):
    return read_table(folder / name / "wav.scp")


@pytest.fixture
def musan(tmp_path):
    for number, name in enumerate(MUSAN):
        path = tmp_path / f"musan/{name}.wav"
        path.parent.mkdir(parents=True)
        sf.write(path, tone(number, 1600), RATE)
    (tmp_path / "musan/noise/free-sound/LICENSE").write_text("of each file")
    return tmp_path


@pytest.fixture
def rirs(tmp_path):
    """A room of each size, a real response of two channels, and a noise outside of its list."""
    top = tmp_path / "RIRS_NOISES"
    for room in ROOMS:
        folder = top / f"simulated_rirs/{room}/Room001"
        folder.mkdir(parents=True)
        sf.write(folder / "Room001-00001.wav", tone(1, 800), RATE)
        wav = folder.relative_to(tmp_path) / "Room001-00001.wav"
        line = f"--rir-id {room}-Room001-00001 --room-id Room001 {wav}\n"
        (folder.parent / "rir_list").write_text(line)
    real = top / "real_rirs_isotropic_noises"
    real.mkdir()
    sf.write(real / f"{REAL}.wav", np.stack([tone(2, 800), tone(3, 800)], axis=1), RATE)
    sf.write(real / "RVB2014_type1_noise_largeroom1_1.wav", tone(4, 800), RATE)
    line = f"--rir-id 1 --room-id 1 RIRS_NOISES/real_rirs_isotropic_noises/{REAL}.wav\n"
    (real / "rir_list").write_text(line)
    return tmp_path


def test_musan_by_kind_and_whole(musan, caplog):
    caplog.set_level("INFO")
    assert prepare(musan, "musan", "musan", "data/musan") == (0, "")
    wavs = {name.split("/")[-1]: f"musan/{name}.wav" for name in sorted(MUSAN)}
    assert table(musan, "data/musan") == wavs
    for kind in ("noise", "music", "speech"):
        rows = {key: wav for key, wav in wavs.items() if key.startswith(f"{kind}-")}
        assert len(rows) == 1
        assert table(musan, f"data/musan/{kind}") == rows
    assert "CC BY 4.0" in caplog.text


def test_responses_by_kind_with_one_channel_each(rirs, caplog):
    caplog.set_level("INFO")
    assert prepare(rirs, "rirs", "RIRS_NOISES", "data/rirs") == (0, "")
    simulated = {
        f"{room}-Room001-00001": f"RIRS_NOISES/simulated_rirs/{room}/Room001/Room001-00001.wav"
        for room in ROOMS
    }
    real = {f"real-{REAL}": f"data/rirs/mono/real-{REAL}.wav"}
    assert table(rirs, "data/rirs/simulated") == simulated
    assert table(rirs, "data/rirs/real") == real
    assert table(rirs, "data/rirs") == simulated | real
    mono, rate = sf.read(rirs / real[f"real-{REAL}"])
    assert rate == RATE
    assert np.array_equal(mono, tone(2, 800) / 2**15)
    assert "Apache 2.0" in caplog.text


def test_ids_hold_no_dots(musan):
    folder = musan / "musan/noise/free-sound"
    (folder / "noise-free-sound-0000.wav").rename(folder / "a.b.wav")
    assert prepare(musan, "musan", "musan", "data")[0] == 0
    assert list(table(musan, "data/noise")) == ["noise-a_b"]


def no_music(top):
    (top / "music/fma/music-fma-0001.wav").unlink()


def text_as_music(top):
    (top / "music/fma/music-fma-0001.wav").write_text("x")


def noise_of_999_hz(top):
    sf.write(top / "noise/a.wav", tone(0, 100), 999)


def two_noises_of_one_name(top):
    sf.write(top / "noise/noise-free-sound-0000.wav", tone(0, 9), RATE)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (no_music, "musan: no music/**/*.wav"),
        (text_as_music, "music-fma-0001.wav: "),
        (noise_of_999_hz, "sample rate 999 Hz, expected 1000 to 768000 Hz"),
        (two_noises_of_one_name, "are there more than once"),
    ],
)
def test_what_can_not_be_used_is_named_and_nothing_is_written(musan, change, message):
    change(musan / "musan")
    status, errors = prepare(musan, "musan", "musan", "data")
    assert status == 2
    assert message in errors.splitlines()[-1]
    assert "Traceback" not in errors
    assert not (musan / "data").exists()


def test_a_response_that_is_listed_and_missing_is_named(rirs):
    (rirs / f"RIRS_NOISES/real_rirs_isotropic_noises/{REAL}.wav").unlink()
    status, errors = prepare(rirs, "rirs", "RIRS_NOISES", "data")
    assert status == 2
    assert f"{REAL}.wav" in errors.splitlines()[-1]
    assert "Traceback" not in errors


def test_the_name_of_a_file_is_no_command(rirs, monkeypatch):
    folder = rirs / "RIRS_NOISES/real_rirs_isotropic_noises"
    name = "y;cd..;touch${IFS}ran|"
    (folder / f"{REAL}.wav").rename(folder / name)
    line = f"--rir-id 1 --room-id 1 RIRS_NOISES/real_rirs_isotropic_noises/{name}\n"
    (folder / "rir_list").write_text(line)
    monkeypatch.setenv(ALLOW_PIPES, "1")
    status, errors = prepare(rirs, "rirs", "RIRS_NOISES", "data")
    assert status == 2
    assert "1 names of files end in '|'" in errors.splitlines()[-1]
    assert not list(rirs.rglob("ran*"))
