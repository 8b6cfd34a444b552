"""Reading audio: all samples, only some of them, or one line that says why not."""

import io
import os
import struct

import numpy as np
import pytest
import soundfile as sf
from corpora import RATE, audio_bytes, flac_that_states, tone

from wedefense_lite.audio import decoders, reading
from wedefense_lite.audio.containers import check_length
from wedefense_lite.audio.reading import (
    ALLOW_PIPES,
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


@pytest.mark.parametrize("offset", [0, 1, 4096, 2**15, 2**15 + 1, 50000])
def test_parts_of_flac_are_the_same_whether_they_are_sought_or_decoded_up_to(tmp_path, offset):
    wav = tone(0, 60000)
    (tmp_path / "long.flac").write_bytes(audio_bytes(wav))
    row = at(tmp_path / "long.flac")
    assert np.array_equal(read(row, RATE, 100, offset), wav[offset : offset + 100])
    with open_audio(row, RATE) as file:  # in any order
        for place in (offset, 50, offset):
            assert np.array_equal(decode(file, 100, place), wav[place : place + 100])


def test_a_listed_file_is_not_checked_again_unless_it_has_changed(flac, monkeypatch):
    row = measure_lengths([at(flac)])[0]
    checks = []

    def check(stream):
        checks.append(stream.name)
        return check_length(stream)

    monkeypatch.setattr(reading, "check_length", check)
    assert np.array_equal(read(row, RATE), WAV)
    assert checks == []
    flac.write_bytes(flac.read_bytes()[:-1000])
    with pytest.raises(InputError, match=r"utt1: .*a\.flac: .*lost sync"):
        read(row, RATE)
    flac.write_bytes(audio_bytes(WAV[:-1]))
    with pytest.raises(InputError, match=r"7999 samples, but 8000 when it was listed"):
        read(row, RATE)
    assert len(checks) == 1


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


def test_the_output_of_a_command_is_read(flac, tmp_path, monkeypatch):
    monkeypatch.setenv(ALLOW_PIPES, "1")
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


def fifo(folder):
    os.mkfifo(folder / "fifo.wav")
    return at(folder / "fifo.wav")


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
        (cut("WAV empty"), "an empty file, expected audio"),
        (written(np.zeros(0, np.int16)), "no samples"),
        (written(WAV, 999), "sample rate 999 Hz, expected 1000 to 768000 Hz"),
        (written(np.array([0, np.nan], np.float32), subtype="FLOAT"), "not finite"),
        (written(np.array([0, np.inf], np.float32), subtype="FLOAT"), "not finite"),
        (at, "a folder or a device"),
        (lambda folder: at("/dev/zero"), "a folder or a device"),
        (lambda folder: at("/dev/zero", 10, 50, 100), "a folder or a device"),
        (fifo, "a folder or a device"),
        (lambda folder: at(f"{folder}/a\0b"), "NUL"),
        (listed_otherwise, "8000 samples, but 7999 when it was listed"),
        (short_shard, "file ends before the utterance, at byte 100"),
    ],
)
def test_what_cannot_be_used_is_one_line_naming_utterance_and_file(
    tmp_path, monkeypatch, damage, message
):
    monkeypatch.setenv(ALLOW_PIPES, "1")
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


# Headers that state another length than the file has


def with_size(kind: str, chunk: bytes, change, byteorder: str, size_bytes: int = 4) -> bytes:
    """A file in which the size behind the name of a chunk is changed."""
    data = audio_bytes(WAV, kind)
    begin = data.index(chunk) + len(chunk)
    size = int.from_bytes(data[begin : begin + size_bytes], byteorder)
    return data[:begin] + change(size).to_bytes(size_bytes, byteorder) + data[begin + size_bytes :]


def half(size: int) -> int:
    return size // 4 * 2


def both_sizes_halved() -> bytes:
    data = with_size("WAV", b"data", half, "little")
    return data[:4] + struct.pack("<I", len(data) // 2) + data[8:]


def silent_half() -> bytes:
    data = audio_bytes(np.zeros(8000, np.int16), "WAV")
    begin = data.index(b"data") + 4
    return data[:begin] + struct.pack("<I", 8000) + data[begin + 4 :]


def half_of_ogg(subtype: str) -> bytes:
    file = io.BytesIO()
    # Long enough that half of it is more than the headers: libsndfile reads it without a word.
    sf.write(file, tone(0, 80000), RATE, format="OGG", subtype=subtype)
    return file.getvalue()[: len(file.getvalue()) // 2]


RF64_SIZE = struct.pack("<Q", 104 - 8 + 16000)  # of the file without its head
LIES = {
    "FLAC half": lambda: flac_that_states(audio_bytes(WAV), 4000),
    "FLAC one less": lambda: flac_that_states(audio_bytes(WAV), 7999),
    "FLAC double": lambda: flac_that_states(audio_bytes(WAV), 16000),
    "FLAC behind a tag": lambda: (
        b"ID3\4\0\0\0\0\0\x0a" + bytes(10) + flac_that_states(audio_bytes(WAV), 4000)
    ),
    "WAV half": lambda: with_size("WAV", b"data", half, "little"),
    "WAV double": lambda: with_size("WAV", b"data", lambda size: 2 * size, "little"),
    "WAV half, both sizes": both_sizes_halved,
    "WAV half, silence": silent_half,
    "WAVEX half": lambda: with_size("WAVEX", b"data", half, "little"),
    "RF64 half": lambda: with_size("RF64", b"WAVEds64\x1c\0\0\0" + RF64_SIZE, half, "little"),
    "AIFF half": lambda: with_size("AIFF", b"SSND", half, "big"),
    "AU half": lambda: with_size("AU", b".snd\0\0\0\x18", half, "big"),
    "CAF half": lambda: with_size("CAF", b"data", half, "big", 8),
    "Vorbis cut": lambda: half_of_ogg("VORBIS"),
    "Opus cut": lambda: half_of_ogg("OPUS"),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_header_that_states_another_length_is_refused_whatever_is_read(tmp_path, lie):
    path = tmp_path / "a.audio"
    path.write_bytes(LIES[lie]())
    in_shard = at(path, 0, 0, path.stat().st_size)
    for utterance in (at(path), in_shard):
        with pytest.raises(InputError, match=r"^utt1: .*a\.audio: "):
            read(utterance, RATE)
        with pytest.raises(InputError, match=r"^utt1: .*a\.audio: "):
            read(utterance, RATE, count=1000)
    with pytest.raises(InputError, match="1 of 1 utterances can't be used: utt1"):
        measure_lengths([at(path)], decodes=True)


WHOLE = {
    "list behind the audio": b"LIST" + struct.pack("<I", 10) + b"INFOICMT\0\0",
    "ID3v1": b"TAG" + b"a" * 125,
    "a few bytes": b"trailing tag",
    "a padded sector": bytes(2048),
}


@pytest.mark.parametrize("ending", WHOLE)
def test_what_programs_leave_behind_the_audio_is_let_pass(tmp_path, ending):
    for kind in ("WAV", "FLAC"):
        (tmp_path / "a.audio").write_bytes(audio_bytes(WAV, kind) + WHOLE[ending])
        assert np.array_equal(read(at(tmp_path / "a.audio"), RATE), WAV)


@pytest.mark.parametrize("kind", ["WAV", "WAVEX", "FLAC", "AIFF", "AU", "CAF", "W64", "RF64"])
@pytest.mark.parametrize("samples", [1, 191, 4096, 4097, 8192, 70001])
def test_whole_files_of_any_length_are_whole(kind, samples):
    for wav in (tone(0, samples), np.zeros(samples, np.int16)):
        check_length(io.BytesIO(audio_bytes(wav, kind)))


def test_damage_in_the_middle_is_found_where_lists_are_made(tmp_path):
    data = bytearray(audio_bytes(tone(0, 40000)))
    middle = len(data) // 2
    data[middle : middle + 2000] = bytes(2000)
    (tmp_path / "a.flac").write_bytes(data)
    assert measure_lengths([at(tmp_path / "a.flac")])[0].samples == 40000
    with pytest.raises(InputError, match="1 of 1 utterances can't be used: utt1"):
        measure_lengths([at(tmp_path / "a.flac")], decodes=True)


# Commands


def test_a_command_runs_only_where_somebody_allowed_it(flac, tmp_path, monkeypatch):
    monkeypatch.delenv(ALLOW_PIPES, raising=False)
    command = f"touch {tmp_path}/ran; cat {flac} |"
    for path in (command, f"{command} "):
        with pytest.raises(
            InputError, match="utt1: .*which was not run: .*WEDEFENSE_ALLOW_PIPES=1"
        ):
            read(at(path), RATE)
    assert not (tmp_path / "ran").exists()
    monkeypatch.setenv(ALLOW_PIPES, "1")
    assert np.array_equal(read(at(command), RATE), WAV)
    assert (tmp_path / "ran").exists()


# Plain WAV files, which are read without libsndfile


@pytest.mark.parametrize("in_memory", [False, True])
def test_plain_wav_has_the_samples_of_libsndfile(tmp_path, in_memory):
    path = tmp_path / "a.wav"
    wav = np.random.default_rng(0).integers(-32768, 32768, 5000).astype(np.int16)
    sf.write(path, wav, 16000)
    source = path.read_bytes() if in_memory else str(path)
    decoder = decoders.open_as_listed(source, 5000, 16000)
    assert isinstance(decoder, decoders.PlainWavDecoder)
    for offset, count in ((0, 5000), (0, 1), (1, 4999), (1234, 777)):
        samples = decoder.read(count, offset)
        assert samples.dtype == np.int16 and samples.flags.writeable
        assert samples.tolist() == wav[offset : offset + count].tolist()
    decoder.check_all()
    decoder.close()
    open_files = [os.path.realpath(f"/proc/self/fd/{name}") for name in os.listdir("/proc/self/fd")]
    assert str(path.resolve()) not in open_files


@pytest.mark.parametrize(
    ("samples", "rate", "options"),
    [
        (99, 16000, {}),
        (100, 8000, {}),
        (100, 16000, {"subtype": "PCM_24"}),
        (100, 16000, {"subtype": "FLOAT"}),
        (100, 16000, {"format": "WAVEX"}),
    ],
)
@pytest.mark.parametrize("in_memory", [False, True])
def test_any_other_wav_is_libsndfiles(tmp_path, samples, rate, options, in_memory):
    path = tmp_path / "a.wav"
    sf.write(path, np.zeros(100), 16000, **{"format": "WAV", "subtype": "PCM_16"} | options)
    source = path.read_bytes() if in_memory else str(path)
    decoder = decoders.open_as_listed(source, samples, rate)
    assert not isinstance(decoder, decoders.PlainWavDecoder)
    if decoder is not None:
        decoder.close()


def test_a_stereo_or_longer_wav_is_none_that_is_plain(tmp_path):
    """Of as many bytes as the list says, and of more."""
    path = tmp_path / "a.wav"
    sf.write(path, np.zeros((50, 2)), 16000)
    assert decoders.open_as_listed(str(path), 100, 16000) is None
    sf.write(path, np.zeros(100), 16000)
    path.write_bytes(path.read_bytes() + b"LIST")
    decoder = decoders.open_as_listed(str(path), 100, 16000)
    assert isinstance(decoder, decoders.SoundFileDecoder)
    decoder.close()
