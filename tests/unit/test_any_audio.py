"""Audio as people have it: any container, rate and channels, and headers that state no length."""

import io
import json
import logging
import struct
import sys
from dataclasses import replace

import av
import numpy as np
import pytest
import scipy.signal
import soundfile as sf
from av_files import encoded, mp3_that_states, mp3_without_xing, wav_from_a_pipe
from corpora import RATE, audio_bytes, flac_that_states, tone
from make_shard_list import make_shard_list

from wedefense_lite.audio import resampling
from wedefense_lite.audio.containers import check_length, count_mpeg_frames
from wedefense_lite.audio.decoders import SoundFileDecoder
from wedefense_lite.audio.index import read_index, write_raw_list
from wedefense_lite.audio.reading import as_float, decode, measure_lengths, open_audio, read
from wedefense_lite.audio.resampling import resample, source_span
from wedefense_lite.audio.shards import pack, read_shard
from wedefense_lite.audio.utterance import Utterance
from wedefense_lite.files import InputError
from wedefense_lite.systems.config import DataConfig
from wedefense_lite.systems.samples import read_scoring_sample, read_training_sample

WAV = tone(0, 8000)


def speechlike(seconds: float, rate: int, channels: int = 1) -> np.ndarray:
    """Voiced sound of some bandwidth, ``(T,)`` or ``(T, A)``, the same at every rate."""
    time = np.arange(round(seconds * rate)) / rate
    wav = sum(np.sin(2 * np.pi * 150 * n * time + n * n) / n for n in range(1, 20))
    wav = 0.1 * wav * (1 + np.sin(2 * np.pi * 3 * time))
    if channels == 1:
        return wav
    return np.stack([wav * (1 + 0.5 * channel) for channel in range(channels)], axis=1)


def held(data: bytes, name: str = "a.audio") -> Utterance:
    return Utterance("utt1", name, data=data)


def on_disk(folder, data: bytes, name: str = "a.audio") -> Utterance:
    (folder / name).write_bytes(data)
    return Utterance("utt1", str(folder / name))


def lag_and_error(wav: np.ndarray, reference: np.ndarray) -> tuple[int, float]:
    """Samples by which ``wav`` is late, and its relative error without that lag."""
    size = len(wav) + len(reference)
    spectrum = np.fft.rfft(wav, size) * np.conj(np.fft.rfft(reference, size))
    lag = int(np.fft.irfft(spectrum, size).argmax())
    if lag > size // 2:
        lag -= size
    wav = wav[max(lag, 0) :]
    reference = reference[max(-lag, 0) :]
    count = min(len(wav), len(reference))
    difference = wav[:count] - reference[:count]
    return lag, float(np.sqrt((difference**2).mean() / (reference[:count] ** 2).mean()))


# Kinds of files

LOSSLESS = [
    ("WAV", "PCM_U8"), ("WAV", "PCM_16"), ("WAV", "PCM_24"), ("WAV", "PCM_32"), ("WAV", "FLOAT"),
    ("WAV", "DOUBLE"), ("WAV", "ULAW"), ("WAV", "ALAW"), ("WAVEX", "PCM_16"), ("RF64", "PCM_24"),
    ("FLAC", "PCM_16"), ("FLAC", "PCM_24"), ("AIFF", "PCM_16"), ("CAF", "ALAC_16"), ("AU", "ULAW"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "subtype"), LOSSLESS)
def test_files_of_libsndfile_give_their_samples(tmp_path, kind, subtype):
    wav = speechlike(0.5, RATE)
    sf.write(tmp_path / "a", wav, RATE, format=kind, subtype=subtype)
    [row] = measure_lengths([Utterance("utt1", str(tmp_path / "a"))], decodes=True)
    assert (row.samples, row.rate) == (8000, RATE)
    step = {"PCM_U8": 2**-7, "ULAW": 2**-5, "ALAW": 2**-5}.get(subtype, 2**-15)
    assert np.abs(read(row, RATE, floats=True) - wav).max() <= step


@pytest.mark.parametrize("subtype", ["VORBIS", "OPUS", "MPEG_LAYER_III"])
def test_lossy_files_of_libsndfile_give_as_many_samples_as_went_in(tmp_path, subtype):
    wav = speechlike(1, RATE)
    kind = "MP3" if subtype.startswith("MPEG") else "OGG"
    sf.write(tmp_path / "a", wav, RATE, format=kind, subtype=subtype)
    [row] = measure_lengths([Utterance("utt1", str(tmp_path / "a"))], decodes=True)
    assert row.samples == RATE
    lag, error = lag_and_error(read(row, RATE, floats=True), wav)
    assert lag == 0 and error < 0.2


FFMPEG = {
    "m4a": ("ipod", "aac", 48000, 2, 128000),
    "webm": ("webm", "libopus", 48000, 2, 64000),
    "mkv": ("matroska", "aac", 44100, 1, 96000),
    "aac": ("adts", "aac", 44100, 2, 128000),
    "wma": ("asf", "wmav2", 44100, 1, 96000),
    "g722": ("g722", "g722", 16000, 1, 0),
    "wav": ("wav", "g722", 16000, 1, 0),
    "ac3": ("ac3", "ac3", 48000, 2, 192000),
    "eac3": ("eac3", "eac3", 48000, 1, 96000),
    "ts": ("mpegts", "aac", 44100, 2, 128000),
    "avi": ("avi", "ac3", 48000, 2, 192000),
    "wv": ("wv", "wavpack", 44100, 1, 0),
    "tta": ("tta", "tta", 44100, 1, 0),
}


@pytest.mark.parametrize("extension", FFMPEG)
def test_what_libsndfile_does_not_know_is_read_all_the_same(tmp_path, extension):
    container, codec, rate, channels, bit_rate = FFMPEG[extension]
    wav = speechlike(2, rate, channels)
    data = encoded(wav, rate, container, codec, bit_rate)
    row = on_disk(tmp_path, data, f"a.{extension}")
    [measured] = measure_lengths([row], RATE, decodes=True)
    assert measured.rate == rate
    # A codec fills up its last frame, some keep the samples that warmed them up, and that of WMA
    # loses its last ones.
    assert -2048 < measured.samples - 2 * rate <= 4096
    with open_audio(measured, RATE) as file:
        decoded = decode(file)
        assert len(decoded) == file.samples == measured.samples_at(RATE)
    expected = speechlike(2, RATE) * (1 if channels == 1 else 1.25)
    lag, error = lag_and_error(decoded, expected)
    assert lag < 2048 * RATE / rate
    assert error < 0.15


def test_the_count_of_an_mp4_leaves_out_what_its_edit_list_does():
    wav = speechlike(2, 48000)
    row = held(encoded(wav, 48000, "ipod", "aac", 128000), "a.m4a")
    decoded = read(row, 48000)
    assert lag_and_error(decoded, wav)[0] == 0


@pytest.mark.parametrize("container", ["ipod", "matroska"])
def test_tags_that_are_no_utf_8_are_of_no_matter(container):
    data = encoded(speechlike(1, RATE), RATE, container, "aac", 64000)
    assert b"Lavf" in data
    latin = data.replace(b"Lavf", "é".encode("latin-1") * 4)
    assert np.array_equal(read(held(latin), RATE), read(held(data), RATE))


def test_amr_is_read(tmp_path):
    frames = np.random.default_rng(0).integers(0, 256, (50, 32), dtype=np.uint8)
    frames[:, 0] = 0x3C  # 12.2 kbit/s, a good frame: 160 samples at 8 kHz
    row = on_disk(tmp_path, b"#!AMR\n" + frames.tobytes(), "a.amr")
    [measured] = measure_lengths([row], decodes=True)
    assert (measured.samples, measured.rate) == (8000, 8000)
    assert len(read(measured, RATE)) == 16000


def test_the_audio_of_a_video_is_read_and_a_file_without_any_refused(tmp_path):
    def video(with_audio: bool) -> bytes:
        buffer = io.BytesIO()
        with av.open(buffer, "w", format="mp4") as file:
            pictures = file.add_stream("mpeg4", rate=10, width=32, height=32, pix_fmt="yuv420p")
            if with_audio:
                sound = file.add_stream("aac", rate=16000, layout="mono")
            for number in range(10):
                picture = av.VideoFrame(32, 32, "yuv420p")
                picture.pts = number
                file.mux(pictures.encode(picture))
            file.mux(pictures.encode(None))
            if with_audio:
                planes = speechlike(1, RATE).astype(np.float32)[None]
                frame = av.AudioFrame.from_ndarray(planes, format="fltp", layout="mono")
                frame.sample_rate = RATE
                frame.pts = 0
                file.mux(sound.encode(frame))
                file.mux(sound.encode(None))
        return buffer.getvalue()

    assert abs(len(read(held(video(True)), RATE)) - RATE) <= 1024
    with pytest.raises(InputError, match="no audio in it"):
        read(held(video(False)), RATE)


def test_play_lists_and_names_of_protocols_lead_to_no_other_file(tmp_path):
    (tmp_path / "a.wav").write_bytes(audio_bytes(WAV, "WAV"))
    lists = [
        f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{tmp_path}/a.wav\n#EXT-X-ENDLIST\n",
        f"ffconcat version 1.0\nfile '{tmp_path}/a.wav'\n",
    ]
    for number, text in enumerate(lists):
        row = on_disk(tmp_path, text.encode(), f"{number}.m4a")
        with pytest.raises(InputError, match="Format not recognised"):
            read(row, RATE)
    with pytest.raises(InputError, match="No such file"):
        read(Utterance("utt1", f"concat:{tmp_path}/a.wav"), RATE)


def test_truncated_files_of_ffmpeg_are_refused_where_lists_are_made(tmp_path):
    wav = speechlike(3, 48000)
    m4a = encoded(wav, 48000, "ipod", "aac", 128000)
    fast = encoded(wav, 48000, "ipod", "aac", 128000, movflags="faststart")
    webm = encoded(wav, 48000, "webm", "libopus", 64000)
    for data in (m4a, fast, webm):
        row = on_disk(tmp_path, data[: len(data) // 2])
        with pytest.raises(InputError, match=r"1 of 1 .*(truncated|damaged|not recognised)"):
            measure_lengths([row])


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "an empty file, expected audio"),
        (b"\0\0\0\x1cftypM4A \0\0\0\0mdat", r"truncated: an MP4 or M4A without its index \(moov\)"),
        (b"no audio at all", "Format not recognised"),
    ],
)
def test_a_file_of_no_kind_says_what_is_wrong_where_that_is_known(tmp_path, data, words):
    with pytest.raises(InputError, match=f"a.m4a: {words}"):
        read(on_disk(tmp_path, data, "a.m4a"), RATE)


# Lengths that no header states

OPEN_LENGTHS = {
    "WAV 0xFFFFFFFF": wav_from_a_pipe(audio_bytes(WAV, "WAV"), 0xFFFFFFFF),
    "WAV of sox": wav_from_a_pipe(audio_bytes(WAV, "WAV"), 0x7FFFF024),
    "WAV 0x7FFFFFFF": wav_from_a_pipe(audio_bytes(WAV, "WAV"), 0x7FFFFFFF),
    "WAV of arecord": wav_from_a_pipe(audio_bytes(WAV, "WAV"), 0x80000000),
    "WAV 0": wav_from_a_pipe(audio_bytes(WAV, "WAV"), 0),
    "WAVEX 0xFFFFFFFF": wav_from_a_pipe(audio_bytes(WAV, "WAVEX"), 0xFFFFFFFF),
    "WAVEX 0": wav_from_a_pipe(audio_bytes(WAV, "WAVEX"), 0),
    "FLAC 0": flac_that_states(audio_bytes(WAV), 0),
}


def with_field(kind: str, name: bytes, size: int, width: int, byteorder: str, gap: int = 0):
    data = audio_bytes(WAV, kind)
    begin = data.index(name) + len(name) + gap
    return data[:begin] + size.to_bytes(width, byteorder) + data[begin + width :]


OPEN_LENGTHS |= {
    "RF64 0": with_field("RF64", b"ds64", 0, 8, "little", 12),
    "RF64 -1": with_field("RF64", b"ds64", 2**64 - 1, 8, "little", 12),
    "AIFF -1": with_field("AIFF", b"SSND", 2**32 - 1, 4, "big"),
    "AIFF 0": with_field("AIFF", b"SSND", 0, 4, "big"),
    "AU -1": with_field("AU", b".snd\0\0\0\x18", 2**32 - 1, 4, "big"),
    "AU 0": with_field("AU", b".snd\0\0\0\x18", 0, 4, "big"),
    "CAF -1": with_field("CAF", b"data", 2**64 - 1, 8, "big"),
}


@pytest.mark.parametrize("kind", OPEN_LENGTHS)
def test_audio_of_an_open_length_goes_to_the_end_of_the_file(tmp_path, kind):
    row = on_disk(tmp_path, OPEN_LENGTHS[kind])
    [measured] = measure_lengths([row], decodes=True)
    assert measured.samples == 8000
    for place in (measured, replace(measured, size=len(OPEN_LENGTHS[kind]))):
        assert np.array_equal(read(place, RATE), WAV)
        assert np.array_equal(read(place, RATE, 100, 7000), WAV[7000:7100])


def test_a_file_without_audio_is_none_that_a_pipe_wrote(tmp_path):
    empty = audio_bytes(WAV[:0], "WAV")
    for data in (
        empty,
        empty + b"LIST" + struct.pack("<I", 10) + b"INFOICMT\0\0",
        empty + bytes(99),
    ):
        with pytest.raises(InputError, match="no samples"):
            read(on_disk(tmp_path, data), RATE)


# MP3


def frames_of(mp3: bytes) -> int:
    """Samples that FFmpeg decodes of an MP3."""
    with av.open(io.BytesIO(mp3), format="mp3") as file:
        return sum(frame.samples for frame in file.decode(audio=0))


def cover_art(mp3: bytes) -> bytes:
    """An MP3 behind a tag with a picture, in which there is what begins a frame."""
    picture = b"\0image/png\0\3\0" + b"\xff\xfb\x90\x64" * 700
    frame = b"APIC" + len(picture).to_bytes(4, "big") + b"\0\0" + picture
    size = len(frame)
    tag = b"ID3\3\0\0" + bytes([size >> 21 & 127, size >> 14 & 127, size >> 7 & 127, size & 127])
    return tag + frame + mp3


def bursts(rate: int) -> np.ndarray:
    """Speech, and nothing for as long, of which a variable bit rate makes little."""
    return np.concatenate([speechlike(2, rate), np.zeros(2 * rate)])


def mp3_without_length() -> bytes:
    """Two bit rates behind each other, as a variable one is, and no header."""
    loud = encoded(speechlike(2, 44100), 44100, "mp3", "libmp3lame", 128000, write_xing="0",
                   id3v2_version="0")  # fmt: skip
    return loud + mp3_without_xing(speechlike(2, 44100), 44100)


def test_an_mp3_without_a_length_is_counted(tmp_path):
    data = mp3_without_length()
    row = on_disk(tmp_path, data, "a.mp3")
    with sf.SoundFile(row.path) as file:
        assert file.frames != frames_of(data)  # it takes the first bit rate for all
    [measured] = measure_lengths([row], decodes=True)
    assert measured.samples == frames_of(data) == count_mpeg_frames(io.BytesIO(data)).samples
    whole = read(measured, RATE)
    assert len(whole) == measured.samples_at(RATE)
    # Listed or not: the part at a place is that of the whole.
    for place in (measured, row):
        assert np.array_equal(read(place, RATE, 5000, 12345), whole[12345:17345])


@pytest.mark.parametrize("factor", [0.25, 4, 100000])
def test_a_false_xing_header_is_not_believed(tmp_path, factor):
    wav = speechlike(2, 44100)
    mp3 = encoded(wav, 44100, "mp3", "libmp3lame", 64000)
    frames = count_mpeg_frames(io.BytesIO(mp3))
    assert frames.is_stated
    false = mp3_that_states(mp3, int(frames.samples // 1152 * factor))
    assert not count_mpeg_frames(io.BytesIO(false)).is_stated
    [measured] = measure_lengths([on_disk(tmp_path, false, "a.mp3")], decodes=True)
    decoded = read(measured, 44100)
    assert len(decoded) == measured.samples == len(wav)
    honest = read(on_disk(tmp_path, mp3, "honest.mp3"), 44100)
    assert np.allclose(decoded, honest, atol=1e-4)


def test_a_decoder_that_ends_early_is_noticed():
    mp3 = audio_bytes(WAV, "MP3")
    decoder = SoundFileDecoder(mp3_that_states(mp3, 100))
    for end in (decoder.samples, 9000):
        with pytest.raises(InputError, match=r"truncated: \d+ samples decoded, expected \d+"):
            decoder.read(end, 0)
    decoder.close()


def test_tags_and_pictures_are_no_audio(tmp_path):
    mp3 = audio_bytes(WAV, "MP3")
    without = mp3_without_xing(speechlike(1, RATE), RATE)
    for data in (mp3, without):
        plain = read(on_disk(tmp_path, data), RATE)
        for tagged in (cover_art(data), data + b"TAG" + b"a" * 125, cover_art(data) + bytes(500)):
            wav = read(on_disk(tmp_path, tagged), RATE)
            # Two decoders, which differ by rounding.
            assert len(wav) == len(plain) and np.abs(wav - plain).max() < 1e-4


def test_an_honest_mp3_is_decoded_as_ever(tmp_path):
    row = on_disk(tmp_path, audio_bytes(WAV, "MP3"))
    with sf.SoundFile(row.path) as file:  # sf.read seeks, which moves its last bits
        assert np.array_equal(read(row, RATE), file.read(dtype="float32"))


def test_an_mp3_that_ends_before_its_header_says_is_refused(tmp_path):
    mp3 = audio_bytes(tone(0, 40000), "MP3")
    with pytest.raises(InputError, match=r"1 of 1 .*truncated: \d+ of the \d+ bytes"):
        measure_lengths([on_disk(tmp_path, mp3[:-2000])])


def test_an_ogg_whose_pages_are_numbered_from_elsewhere_is_counted(tmp_path):
    """The second half of a stream: its first page begins later than at 0."""
    buffer = io.BytesIO()
    sf.write(buffer, speechlike(6, RATE), RATE, format="OGG", subtype="VORBIS")
    data = buffer.getvalue()
    pages = [n for n in range(len(data)) if data.startswith(b"OggS", n)]
    assert len(pages) > 4
    half = data[: pages[2]] + data[pages[-2] :]
    row = on_disk(tmp_path, half)
    [measured] = measure_lengths([row], decodes=True)
    assert 0 < measured.samples < 6 * RATE
    assert len(read(measured, RATE)) == measured.samples


# Rates and channels


@pytest.mark.parametrize("rate", [8000, 11025, 22050, 44100, 48000, 96000])
@pytest.mark.parametrize("channels", [1, 2])
def test_a_part_is_what_the_whole_has_there_to_the_last_bit(tmp_path, rate, channels):
    rng = np.random.default_rng(rate)
    wav = rng.uniform(-0.5, 0.5, (rate, channels)).astype(np.float32)
    sf.write(tmp_path / "a.flac", wav, rate)
    row = Utterance("utt1", str(tmp_path / "a.flac"))
    stored = sf.read(row.path, dtype="float32", always_2d=True)[0].mean(1)
    whole = read(row, RATE)
    assert np.array_equal(whole, resample(stored, rate, RATE))
    assert len(whole) == RATE
    for offset in (0, 1, *rng.integers(0, RATE, 20), RATE - 1):
        count = int(rng.integers(1, 5000))
        part = read(row, RATE, count, int(offset))
        assert np.array_equal(part, whole[offset : offset + count])


def test_a_part_is_read_without_the_rest():
    span = source_span(16000, 1600, 480000, 48000, 16000)
    assert (span.begin, span.end) == (48000 - 30, 48000 + 3 * 1599 + 31)
    assert span.skip == 10


def test_the_filter_is_the_one_that_is_stated():
    time = np.arange(48000) / 48000

    def gain_db(hertz: float) -> float:
        wav = resample(np.sin(2 * np.pi * hertz * time), 48000, RATE)[1000:-1000]
        return 10 * np.log10(2 * (wav**2).mean())

    for hertz in (100, 1000, 5000, 6800):
        assert abs(gain_db(hertz)) < 0.06
    assert gain_db(7000) == pytest.approx(-0.25, abs=0.02)
    for hertz in (9500, 12000, 20000):
        assert gain_db(hertz) < -53


def test_a_tone_keeps_its_time_and_level_from_any_rate(tmp_path):
    expected = 0.3 * np.sin(2 * np.pi * 440 * np.arange(RATE) / RATE)
    for rate in (8000, 22050, 44100, 48000):
        wav = 0.3 * np.sin(2 * np.pi * 440 * np.arange(rate) / rate)
        sf.write(tmp_path / "a.wav", wav, rate, subtype="FLOAT")
        decoded = read(Utterance("utt1", str(tmp_path / "a.wav")), RATE)
        assert np.abs(decoded - expected)[500:-500].max() < 1e-3


def test_channels_are_mixed_down_or_one_is_chosen(tmp_path):
    left, right = tone(1, 8000), tone(2, 8000)
    sf.write(tmp_path / "a.wav", np.stack([left, right], 1), RATE)
    row = Utterance("utt1", str(tmp_path / "a.wav"))
    mean = (as_float(left) + as_float(right)) / 2
    assert np.array_equal(read(row, RATE), mean)
    assert np.array_equal(read(row, RATE, channel=1), left)
    assert np.array_equal(read(row, RATE, 100, 50, channel=2), right[50:150])
    with pytest.raises(InputError, match="2 channels, expected channel 3 among them"):
        read(row, RATE, channel=3)


# Lists


def test_lists_carry_the_rate_and_the_true_number_of_samples(tmp_path, caplog):
    files = {
        "m4a": encoded(speechlike(1, 48000, 2), 48000, "ipod", "aac", 128000),
        "mp3": mp3_without_length(),
        "g722": encoded(speechlike(1, RATE), RATE, "g722", "g722"),
        "wav": wav_from_a_pipe(audio_bytes(WAV, "WAV"), 0),
        "flac": audio_bytes(WAV),
    }
    rows = []
    for name, data in files.items():
        rows.append(replace(on_disk(tmp_path, data, f"a.{name}"), key=name, label="spoof"))
    with caplog.at_level(logging.INFO):
        measured = measure_lengths(rows, RATE, decodes=True)
    assert "5 files: " in caplog.text
    for kind in (
        "1 mov/aac 48000 Hz 2 channels",
        "1 mp3/mp3float 44100 Hz mono",
        "1 FLAC 16000 Hz",
    ):
        assert kind in caplog.text
    assert "2 are converted to 16000 Hz mono when they are read" in caplog.text
    write_raw_list(tmp_path / "raw.list", measured)
    assert read_index(str(tmp_path / "raw.list"), "raw") == measured
    pack(measured, tmp_path / "shards", tmp_path / "shard.list")
    for _ in range(2):  # without its index, and with it
        packed = read_shard(str(tmp_path / "shards/shards_000000000.tar"))
        for row, measured_row in zip(packed, measured, strict=True):
            assert (row.samples, row.rate) == (measured_row.samples, measured_row.rate)
            assert np.array_equal(read(row, RATE), read(measured_row, RATE))


def test_a_file_that_changed_its_rate_is_refused(tmp_path):
    sf.write(tmp_path / "a.wav", WAV, 8000)
    row = Utterance("utt1", str(tmp_path / "a.wav"), samples=8000, rate=16000)
    with pytest.raises(InputError, match="8000 Hz, but 16000 Hz when it was listed"):
        read(row, RATE)


def test_lists_of_before_are_those_of_files_at_the_rate_of_the_system(tmp_path):
    for name, rate in (("a", RATE), ("b", 8000)):
        sf.write(tmp_path / f"{name}.wav", WAV, rate)
    lines = []
    for name in "ab":
        row = {"key": name, "wav": str(tmp_path / f"{name}.wav"), "lab": "spoof", "samples": 8000}
        lines.append(json.dumps(row))
    (tmp_path / "raw.list").write_text("\n".join(lines) + "\n")
    same, other = read_index(str(tmp_path / "raw.list"), "raw")
    assert np.array_equal(read(same, RATE), WAV)
    with pytest.raises(InputError, match="b.wav: 8000 Hz, which its list doesn't say, .*list anew"):
        read(other, RATE)


def test_a_length_at_another_rate_is_that_of_the_samples():
    row = Utterance("utt1", "a", samples=44101, rate=44100)
    assert row.samples_at(RATE) == len(resample(np.zeros(44101), 44100, RATE)) == 16001
    assert Utterance("utt1", "a", samples=7).samples_at(RATE) == 7


def test_whole_files_are_left_as_they_are():
    for kind in ("WAV", "WAVEX", "FLAC", "AIFF", "AU", "CAF", "RF64"):
        assert not check_length(io.BytesIO(audio_bytes(WAV, kind))).is_open


# The whole of stage 2, and of training and scoring from what it writes


@pytest.fixture
def mixed(tmp_path):
    """A data directory of files as people have them; the last two utterances are loud."""
    files = {
        "a.m4a": encoded(speechlike(1, 48000, 2), 48000, "ipod", "aac", 128000),
        "b.mp3": mp3_without_length(),
        "c.wav": wav_from_a_pipe(audio_bytes(WAV, "WAV"), 0xFFFFFFFF),
        "d.flac": audio_bytes(WAV),
        "e.flac": audio_bytes(np.stack([tone(1, 8000), tone(2, 8000)], 1), rate=8000),
        "f.wav": audio_bytes(np.where(tone(3, 44100) > 0, 32767, -32768).astype(np.int16), "WAV", 44100),
    }  # fmt: skip
    keys = [name[0] for name in files]
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    scp = [f"{name[0]} {tmp_path / name}" for name in files]
    labels = [f"{key} {'spoof' if key < 'c' else 'bonafide'}" for key in keys]
    (tmp_path / "wav.scp").write_text("\n".join(scp) + "\n")
    (tmp_path / "utt2lab").write_text("\n".join(labels) + "\n")
    return tmp_path


def listed(folder, **options) -> list[Utterance]:
    make_shard_list(
        str(folder / "wav.scp"),
        str(folder / "utt2lab"),
        str(folder / "shards"),
        str(folder / "shard.list"),
        num_threads=2,
        **options,
    )
    return read_index(str(folder / "shard.list"), "shard")


def test_shards_hold_the_files_or_what_becomes_of_them(mixed, caplog):
    as_they_are = listed(mixed)
    wavs = {row.key: read(row, RATE, floats=True) for row in as_they_are}
    with caplog.at_level(logging.INFO):
        converted = listed(mixed, convert=True)
    assert "5 of 6 files were converted to FLAC" in caplog.text
    assert "1 of them were clipped: f" in caplog.text
    for row, flac in zip(as_they_are, converted, strict=True):
        assert (flac.key, flac.label, flac.rate) == (row.key, row.label, RATE)
        assert flac.samples == row.samples_at(RATE)
        wav = read(flac, RATE)
        assert wav.dtype == np.int16 and len(wav) == flac.samples
        expected = wavs[row.key].clip(-1, 1 - 2**-15)
        assert np.abs(as_float(wav) - expected).max() <= 2**-16
    [row] = [row for row in converted if row.key == "d"]
    with open(row.path, "rb") as shard:
        shard.seek(row.offset)
        assert shard.read(row.size) == (mixed / "d.flac").read_bytes()


def test_a_channel_is_converted_where_one_is_chosen(mixed):
    (mixed / "wav.scp").write_text(f"e {mixed}/e.flac\n")
    (mixed / "utt2lab").write_text("e spoof\n")
    [row] = listed(mixed, convert=True, channel=2)
    expected = resample(as_float(tone(2, 8000)), 8000, RATE)
    assert np.abs(read(row, RATE, floats=True) - expected).max() <= 2**-16
    with pytest.raises(InputError, match="--channel goes with --convert true"):
        listed(mixed, channel=2)


def test_stage_2_refuses_by_name_what_can_not_be_used(mixed):
    m4a = (mixed / "a.m4a").read_bytes()
    flac = (mixed / "d.flac").read_bytes()
    (mixed / "a.m4a").write_bytes(m4a[: len(m4a) // 2])
    (mixed / "c.wav").write_bytes(b"")
    (mixed / "d.flac").write_bytes(flac[:-3000])
    with pytest.raises(InputError, match="3 of 6 utterances can't be used: a: .* c: .* d: "):
        listed(mixed)


def test_crops_and_scores_are_those_of_converted_audio(mixed):
    as_they_are = listed(mixed)
    config = DataConfig(crop_seconds=0.2, eval_seconds=0.3)
    crops = [
        read_training_sample(row, config, np.random.default_rng((1, 2))) for row in as_they_are
    ]
    scored = [read_scoring_sample(row, config) for row in as_they_are]
    converted = listed(mixed, convert=True)
    for row, crop, sample in zip(converted, crops, scored, strict=True):
        # The same place, to the 16 bits of FLAC: chance is drawn from equal numbers of samples.
        for other, own in (
            (read_training_sample(row, config, np.random.default_rng((1, 2))), crop),
            (read_scoring_sample(row, config), sample),
        ):
            wav = as_float(other.signals.wav_T)
            expected = as_float(own.signals.wav_T).clip(-1, 1 - 2**-15)
            assert len(wav) == len(expected) == other.length
            assert (wav - expected).abs().max() <= 2**-16


@pytest.mark.parametrize("rates", [(44100, 16000), (48000, 16000), (8000, 16000), (16000, 11025)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_audio_is_resampled_to_the_same_bits_where_there_is_no_scipy(monkeypatch, rates, dtype):
    rng = np.random.default_rng(0)
    for shape in ((3000,), (2, 1001), (1,), (0,)):
        wav = rng.standard_normal(shape).astype(dtype)
        expected = resampling.resample(wav, *rates)
        with monkeypatch.context() as patch:
            patch.setattr(resampling, "scipy", None)
            resampled = resampling.resample(wav, *rates)
        assert resampled.dtype == dtype
        np.testing.assert_array_equal(resampled, expected)


def test_the_filter_is_that_of_scipy():
    for up, down in ((1, 3), (160, 441), (2, 1)):
        longer = max(up, down)
        expected = scipy.signal.firwin(20 * longer + 1, 1 / longer, window=("kaiser", 5.0))
        np.testing.assert_allclose(resampling._taps(up, down), expected, rtol=0, atol=1e-15)


def test_what_libsndfile_does_not_read_says_what_is_missing_where_there_is_no_ffmpeg(
    tmp_path, monkeypatch
):
    path = tmp_path / "a.m4a"
    path.write_bytes(encoded(speechlike(1, RATE), RATE, "ipod", "aac", 64000))
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(InputError, match=r"a\.m4a: .*FFmpeg isn't here: pip install av"):
        read(Utterance("a", str(path)), RATE)
    wav = tmp_path / "a.wav"
    sf.write(wav, speechlike(1, RATE), RATE)
    assert len(read(Utterance("a", str(wav)), RATE)) == RATE
