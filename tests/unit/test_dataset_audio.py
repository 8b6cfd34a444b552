"""Reading audio: all samples, only some of them, or one line that says why not."""

import struct

import numpy as np
import pytest
import soundfile as sf
from corpora import RATE, audio_bytes, tone

from wedefense_lite.audio.reading import (
    decode,
    measure_lengths,
    open_audio,
    random_offset,
    read,
    spare_samples,
)
from wedefense_lite.audio.utterance import Utterance
from wedefense_lite.files import InputError

WAV = tone(0, 8000)


def at(path, samples=0, offset=0, size=0) -> Utterance:
    return Utterance("utt1", str(path), offset, size, samples, None)


@pytest.fixture
def flac(tmp_path):
    path = tmp_path / "a.flac"
    path.write_bytes(audio_bytes(WAV))
    return path


@pytest.mark.parametrize("kind", ["wav", "flac", "aiff", "au"])
def test_lossless_16_bit_files_give_their_own_samples(tmp_path, kind):
    sf.write(tmp_path / f"a.{kind}", WAV, RATE, subtype="PCM_16")
    utterance = at(tmp_path / f"a.{kind}")
    assert np.array_equal(read(utterance, RATE), WAV)
    assert read(utterance, RATE).dtype == np.int16


@pytest.mark.parametrize("kind", ["ogg", "mp3"])
def test_lossy_files_give_as_many_samples_as_their_header_says(tmp_path, kind):
    sf.write(tmp_path / f"a.{kind}", WAV, RATE)
    wav = read(at(tmp_path / f"a.{kind}"), RATE)
    assert wav.dtype == np.float32
    assert len(wav) == measure_lengths([at(tmp_path / f"a.{kind}")])[0].samples


def test_sources_of_more_than_16_bits_are_not_rounded(tmp_path):
    fine = np.array([0.25 + 2**-20, -0.5], dtype=np.float32)
    sf.write(tmp_path / "a.wav", fine, RATE, subtype="FLOAT")
    assert np.array_equal(read(at(tmp_path / "a.wav"), RATE), fine)


def read_anywhere(utterance, count, rng):
    with open_audio(utterance, RATE) as file:
        return decode(file, count, random_offset(spare_samples(file, count), rng))


def test_a_part_is_a_slice_and_its_place_is_drawn(flac):
    starts = set()
    for seed in range(20):
        part = read_anywhere(at(flac), 1000, np.random.default_rng(seed))
        start = next(n for n in range(7001) if np.array_equal(WAV[n : n + 1000], part))
        starts.add(start)
    assert len(starts) > 10
    assert np.array_equal(read(at(flac), RATE, 1000), WAV[:1000])
    assert len(read_anywhere(at(flac), 9000, np.random.default_rng(0))) == 8000


def test_the_place_reaches_both_ends(flac):
    rng = np.random.default_rng(0)
    parts = [read_anywhere(at(flac), 7999, rng) for _ in range(30)]
    assert {part[0] for part in parts} == {WAV[0], WAV[1]}


def test_a_member_of_a_larger_file_is_read_in_place(tmp_path):
    data = audio_bytes(WAV)
    (tmp_path / "big").write_bytes(b"x" * 700 + data + b"y" * 700)
    assert np.array_equal(read(at(tmp_path / "big", 8000, 700, len(data)), RATE), WAV)
    held = Utterance("utt1", "url", data=data)
    assert np.array_equal(read(held, RATE), WAV)


def test_the_output_of_a_command_is_read(flac, tmp_path):
    assert np.array_equal(read(at(f"cat {flac} |"), RATE), WAV)
    piped = bytearray(audio_bytes(WAV, "WAV"))  # a pipe's header states no length
    size = piped.find(b"data") + 4
    piped[4:8] = piped[size : size + 4] = struct.pack("<I", 0xFFFFFFFF)
    (tmp_path / "piped.wav").write_bytes(piped)
    assert np.array_equal(read(at(f"cat {tmp_path}/piped.wav |"), RATE), WAV)


def cut(name):
    def damage(folder):
        kind, part = name.split()
        data = audio_bytes(WAV, kind)
        kept = {"half": data[: len(data) // 2], "headless": bytes(99) + data[99:], "empty": b""}[
            part
        ]
        (folder / "bad").write_bytes(kept)
        return at(folder / "bad")

    return damage


def written(wav, rate=RATE, **options):
    def damage(folder):
        sf.write(folder / "bad.wav", wav, rate, **options)
        return at(folder / "bad.wav")

    return damage


def listed_otherwise(folder):
    (folder / "a.flac").write_bytes(audio_bytes(WAV))
    return at(folder / "a.flac", samples=7999)


def short_shard(folder):
    (folder / "shard.tar").write_bytes(bytes(100))
    return at(folder / "shard.tar", 10, 50, 100)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: at(folder / "gone.flac"), "No such file"),
        (lambda folder: at("false |"), "command ended with status 1"),
        (lambda folder: at("echo broken >&2; exit 7 |"), "status 7: broken"),
        (cut("FLAC half"), "lost sync|truncated"),
        (cut("WAV half"), "truncated"),
        (cut("AIFF half"), "truncated"),
        (cut("AU half"), "truncated"),
        (cut("MP3 half"), "truncated"),
        (cut("FLAC headless"), "Format not recognised"),
        (cut("WAV empty"), "Format not recognised"),
        (written(np.zeros(0, np.int16)), "no samples"),
        (written(np.zeros((100, 2), np.int16)), "2 channels, expected mono"),
        (written(WAV, 8000), "sample rate 8000 Hz, expected 16000 Hz"),
        (written(np.array([0, np.nan], np.float32), subtype="FLOAT"), "not finite"),
        (written(np.array([0, np.inf], np.float32), subtype="FLOAT"), "not finite"),
        (listed_otherwise, "8000 samples, but 7999 when it was listed"),
        (short_shard, "file ends before the utterance, at byte 100"),
    ],
)
def test_what_cannot_be_used_is_one_line_naming_utterance_and_file(tmp_path, damage, message):
    utterance = damage(tmp_path)
    with pytest.raises(InputError, match=message) as caught:
        read(utterance, RATE)
    assert str(caught.value).startswith(f"utt1: {utterance.path}: ")
    assert "\n" not in str(caught.value)


def test_headers_count_all_that_is_wrong(flac, tmp_path):
    good = Utterance("good", str(flac))
    bad = [Utterance(f"bad{n}", str(tmp_path / f"gone{n}")) for n in range(5)]
    with pytest.raises(
        InputError, match=r"5 of 6 utterances can't be used: bad0: .*gone0: No such.* \.\.\."
    ):
        measure_lengths([good, *bad])
    assert [row.samples for row in measure_lengths([good], RATE)] == [8000]
    with pytest.raises(InputError, match="good: .*sample rate 16000 Hz, expected 8000 Hz"):
        measure_lengths([good], 8000)
