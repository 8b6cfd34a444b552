"""Readers of lists and tables given anything: an ``InputError``, or a row for each line."""

import io
import json
import re
import runpy
import tarfile
from pathlib import Path

import pytest
from av_files import encoded, mp3_without_xing, wav_from_a_pipe
from commands import ROOT
from corpora import audio_bytes, tone
from examples import examples
from hypothesis import given
from hypothesis import strategies as st

from wedefense_lite.audio.data_dir import check_data_dir
from wedefense_lite.audio.index import read_index
from wedefense_lite.audio.protocol import read_protocol
from wedefense_lite.audio.reading import read
from wedefense_lite.audio.segments import read_rttm
from wedefense_lite.audio.shards import _read_shard_index, read_shard
from wedefense_lite.audio.utterance import Utterance
from wedefense_lite.files import InputError, read_columns, read_labels, read_table
from wedefense_lite.interop.score_tables import read_score_table
from wedefense_lite.interop.verification_tables import read_verification_table
from wedefense_lite.labels import LABELS
from wedefense_lite.localization.published import read_reference
from wedefense_lite.mixtures.plan import read_plan

# Recipes' own readers: functions of their scripts by name.
PARTIALSPOOF = runpy.run_path(str(ROOT / "egs/partialspoof/local/prepare_data.py"))
IN_THE_WILD = runpy.run_path(str(ROOT / "egs/in_the_wild/local/prepare_data.py"))
# What breaks readers: white space and line ends of other scripts, controls, numbers of other kinds.
PIECES = (
    " ", "\t", "\n", "\r", "\r\n", "\x00", "\x0b", "\x0c", "\x1b[31m", "\x1c", "\x85", "\xa0",
    "\u2028", "\u3000", "\u200b", "\ufeff", "|", "..", "/", "../../x", "-", "nan", "inf", "-1",
    "1e400", "1_000", "\u0661", "1" * 5000, "true", "null", "[", "{", '"', "\\ud800", ",",
)  # fmt: skip
TABLES = {
    "wav.scp": "u1 a b.flac\nu2 c.flac\n",
    "utt2lab": "u1 spoof\nu2 bonafide\n",
    "key": "filename cm-label\nu1 spoof\nu2 bonafide\n",
    "raw.list": '{"key": "u1", "wav": "a.flac", "lab": "spoof", "samples": 9}\n'
    '{"key": "u2", "wav": "b.flac", "lab": "bonafide", "samples": 8}\n',
    "rttm": "SPEAKER u1 1 0.0 1.0 <NA> <NA> spoof <NA> <NA>\n"
    "SPEAKER u2 1 0.5 1.0 <NA> <NA> bonafide <NA> <NA>\n",
    "protocol": "S1 u1 - A01 spoof\nS2 u2 - - bonafide\n",
    "vad": "0.0 0.5 1\n0.5 1.0 0\n",
    "meta.csv": 'file,speaker,label\n1.wav,A B,spoof\n2.wav,"C, D",bona-fide\n',
    "scores": "u1 1.5\nu2 -0.5\n",
    "ASV scores": "A07 spoof 1\nbonafide target 2.5\nbonafide nontarget -3\n",
    "timed labels": "u1 1.5 spoof 0.00-1.00-bonafide 1.00-1.50-spoof\n"
    "u2 0.5 bonafide 0.00-0.50-bonafide\n",
    "plan": "mixture label seconds source_1 label_1 speaker_1 attack_1 offset_1 gain_1 source_2 "
    "label_2 speaker_2 attack_2 offset_2 gain_2 overlap level_difference sex\n"
    "m1 SB 2.0 a spoof s1 A01 0.0 1.0 b bonafide s2 - 0.5 1.0 0.75 - same\n"
    "m2 BB 2.0 a bonafide s1 - 0.0 1.0 b bonafide s2 - 0.5 1.0 0.75 3.0 -\n",
}


def read_key(path: Path) -> int:
    return len(read_columns(path, {"cm-label": str}))


def read_segments(path: Path) -> int:
    return sum(len(segments.start) for segments in read_rttm(path).values())


# Reader of each table, and the number of its header lines.
READERS = {
    "wav.scp": (lambda path: len(read_table(path)), 0),
    "utt2lab": (lambda path: len(read_labels(path)), 0),
    "key": (read_key, 1),
    "raw.list": (lambda path: len(read_index(str(path), "raw")), 0),
    "rttm": (read_segments, 0),
    "protocol": (
        lambda path: len(read_protocol(path, "speaker key - attack label", Path("flac"))),
        0,
    ),
    "vad": (lambda path: len(list(PARTIALSPOOF["read_vad"](path))), 0),
    "meta.csv": (lambda path: len(IN_THE_WILD["read_meta"](path)), 1),
    "scores": (lambda path: len(read_score_table(path).scores), 0),
    "ASV scores": (lambda path: len(read_verification_table(path).lines), 0),
    "timed labels": (lambda path: len(read_reference(path, {})), 0),
    "plan": (lambda path: len(read_plan(path)), 1),
}


@st.composite
def mutants(draw, text: str) -> bytes:
    """A text with a few changes, as bytes."""
    for _ in range(draw(st.integers(1, 3))):
        place = draw(st.integers(0, len(text)))
        removed = draw(st.integers(0, 8))
        piece = draw(st.sampled_from(PIECES) | st.text(max_size=3))
        text = text[:place] + piece + text[place + removed :]
    content = text.encode("utf-8", "surrogatepass")
    if draw(st.integers(0, 9)) == 0:
        place = draw(st.integers(0, len(content)))
        content = content[:place] + draw(st.binary(max_size=3)) + content[place:]
    return content


def count_lines(content: bytes) -> int:
    """Lines that are not blank, whatever system wrote their ends."""
    text = content.decode("utf-8-sig").replace("\r\n", "\n")
    if "\n" not in text.rstrip("\n"):
        text = text.replace("\r", "\n")
    return len([line for line in re.split(r"\n", text) if line.strip(" \t\r")])


@pytest.mark.parametrize("kind", READERS)
@examples(60)
@given(st.data())
def test_a_reader_refuses_or_gives_a_row_for_each_line(tmp_path, kind, data):
    read, headers = READERS[kind]
    path = tmp_path / "table"
    content = data.draw(mutants(TABLES[kind]))
    path.write_bytes(content)
    try:
        count = read(path)
    except InputError as error:
        assert len(str(error).splitlines()) == 1 or not str(error).isprintable()
        return
    assert count == count_lines(content) - headers


VALUES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3)
JSON = st.recursive(VALUES, lambda inner: st.lists(inner, max_size=3), max_leaves=6)
FIELDS = ("key", "wav", "lab", "samples", "more")


@examples(60)
@given(st.dictionaries(st.sampled_from(FIELDS), JSON))
def test_a_row_of_a_raw_list_has_types(tmp_path, fields):
    path = tmp_path / "raw.list"
    row = {"key": "u1", "wav": "a.flac", "lab": "spoof", "samples": 9} | fields
    path.write_text(json.dumps(row))
    try:
        (utterance,) = read_index(str(path), "raw")
    except InputError:
        return
    assert isinstance(utterance.key, str) and isinstance(utterance.path, str)
    assert type(utterance.samples) is int and utterance.samples > 0
    assert utterance.label in (None, *LABELS)


@examples(60)
@given(JSON)
def test_an_index_is_refused_or_has_types(tmp_path, content):
    (tmp_path / "x.tar").write_bytes(bytes(1024))
    index = tmp_path / "x.tar.index"
    index.write_text(json.dumps(content))
    with pytest.raises(InputError):
        _read_shard_index(index, str(tmp_path / "x.tar"), "hash")


@examples(60)
@given(st.sampled_from(["wav.scp", "utt2lab"]), st.data())
def test_a_data_directory_is_refused_or_checked(tmp_path, name, data):
    tables = {kind: TABLES[kind].encode() for kind in ("wav.scp", "utt2lab")}
    tables[name] = data.draw(mutants(TABLES[name]))
    for kind, content in tables.items():
        (tmp_path / kind).write_bytes(content)
    try:
        check_data_dir(tmp_path)
    except InputError:
        return


CONTAINERS = ("WAV", "RF64", "FLAC", "OGG", "AIFF", "AU", "CAF", "W64", "MP3")
SHORT_WAV = audio_bytes(tone(0, 1000), "WAV")
AUDIO = {kind: audio_bytes(tone(0, 5000), kind) for kind in CONTAINERS}
NOISE = tone(0, 5000) / 2**15
AUDIO |= {
    "M4A": encoded(NOISE, 48000, "ipod", "aac", 64000),
    "WebM": encoded(NOISE, 48000, "webm", "libopus", 32000),
    "MP3 without Xing": mp3_without_xing(NOISE, 44100),
    "WAV of a pipe": wav_from_a_pipe(AUDIO["WAV"], 0),
}


@pytest.mark.parametrize("kind", AUDIO)
@examples(60)
@given(st.data())
def test_audio_is_refused_or_read(kind, data):
    content = bytearray(AUDIO[kind])
    for _ in range(data.draw(st.integers(1, 3))):
        # Most of what a container says is at its begin.
        place = data.draw(st.integers(0, 80) | st.integers(0, len(content)))
        content[place : place + data.draw(st.integers(0, 4))] = data.draw(st.binary(max_size=4))
    if data.draw(st.booleans()):
        del content[data.draw(st.integers(0, len(content))) :]
    utterance = Utterance("u1", "a.audio", data=bytes(content))
    try:
        assert len(read(utterance, 0))
    except InputError as error:
        assert str(error).startswith("u1: a.audio: ")


def write_shard(path: Path, keys: str) -> None:
    """A shard of short utterances."""
    with tarfile.open(path, "w") as tar:
        for key in keys:
            for name, member in ((f"{key}.wav", SHORT_WAV), (f"{key}.lab", b"spoof")):
                info = tarfile.TarInfo(name)
                info.size = len(member)
                tar.addfile(info, io.BytesIO(member))


@examples(60)
@given(st.data())
def test_a_list_of_shards_is_refused_or_has_those_of_each_line(tmp_path, data):
    for name, key in (("ab.tar", "a"), ("b.tar", "b")):
        if not (tmp_path / name).exists():
            write_shard(tmp_path / name, key)
    path = tmp_path / "shard.list"
    content = data.draw(mutants(f"{tmp_path}/ab.tar\n{tmp_path}/b.tar\n"))
    path.write_bytes(content)
    try:
        rows = read_index(str(path), "shard")
    except InputError as error:
        assert len(str(error).splitlines()) == 1 or not str(error).isprintable()
        return
    assert len(rows) == count_lines(content)


@examples(60)
@given(st.data())
def test_a_shard_is_refused_or_read(tmp_path, data):
    write_shard(tmp_path / "x.tar", "ab")
    content = bytearray((tmp_path / "x.tar").read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, 511)) + 512 * data.draw(st.integers(0, 13))
        change = data.draw(st.binary(max_size=4))
        content[place : place + len(change)] = change
    (tmp_path / "x.tar").write_bytes(content)
    (tmp_path / "x.tar.index").unlink(missing_ok=True)
    try:
        rows = read_shard(str(tmp_path / "x.tar"))
    except InputError as error:
        assert "x.tar" in str(error)
        return
    assert read_shard(str(tmp_path / "x.tar")) == rows
