"""Lists and shards: one index, the corpus's own bytes, and nothing lost in silence."""

import gc
import io
import json
import logging
import os
import shutil
import subprocess
import sys
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest
import soundfile as sf
import webdataset as wds
from corpora import audio_bytes, make_corpus, tone
from examples import examples
from hypothesis import given
from hypothesis import strategies as st

from wedefense_lite.audio import index as index_module
from wedefense_lite.audio import shards
from wedefense_lite.audio.index import (
    HEADER_ID,
    check_keys,
    read_corpus,
    read_index,
    write_raw_list,
)
from wedefense_lite.audio.reading import ALLOW_PIPES, file_bytes, measure_lengths
from wedefense_lite.audio.shards import ShardSet, _hash_rows, pack, read_shard, shard_writer
from wedefense_lite.audio.utterance import Utterance
from wedefense_lite.files import InputError, read_table, write_lines, write_table

LENGTHS = [400 + 10 * n for n in range(13)]
CHARACTERS = st.characters(exclude_categories=("C", "Z"), exclude_characters="./")
KEYS = st.text(CHARACTERS, min_size=1).filter(lambda key: key != HEADER_ID)


@pytest.fixture
def corpus(tmp_path):
    return make_corpus(tmp_path, LENGTHS)


def members(path):
    with tarfile.open(path) as tar:
        return {info.name: tar.extractfile(info).read() for info in tar}


def shards_of(corpus) -> list[Path]:
    return sorted((corpus.folder / "shards").glob("*.tar"))


def foreign_shard(path: Path, files: dict[str, bytes], **options) -> str:
    """A tar that another program wrote; gives its list."""
    with tarfile.open(path, "w", **options) as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size, info.mtime = len(data), 12.5
            tar.addfile(info, io.BytesIO(data))
    write_lines(f"{path}.list", [str(path)])
    return f"{path}.list"


# Reading


@pytest.mark.parametrize("data_type", ["raw", "shard"])
def test_an_index_has_every_utterance_in_list_order(corpus, data_type):
    index = corpus.index(data_type)
    assert [row.key for row in index] == list(corpus.wavs)
    assert [row.samples for row in index] == LENGTHS
    assert {row.key: row.label for row in index} == corpus.labels
    assert read_index(corpus.list(data_type), data_type) == index


def test_a_raw_list_without_lengths_is_completed_from_the_files(corpus):
    path = corpus.list("raw")
    rows = [json.loads(line) for line in Path(path).read_text().splitlines()]
    expected = read_index(path, "raw")
    write_lines(
        path, (json.dumps({name: row[name] for name in ("key", "wav", "lab")}) for row in rows)
    )
    assert read_index(path, "raw") == expected
    os.unlink(corpus.wavs["u03"])
    with pytest.raises(InputError, match="1 of 13 .*u03"):
        read_index(path, "raw")


def without(labels, key):
    return {name: label for name, label in labels.items() if name != key}


@pytest.mark.parametrize("data_type", ["raw", "shard"])
def test_a_list_that_disagrees_with_the_labels_is_refused(corpus, data_type):
    path = corpus.list(data_type)
    cases = {
        "1 utterances are not in both lists: u03": without(corpus.labels, "u03"),
        "1 utterances are not in both lists: u99": corpus.labels | {"u99": "spoof"},
        "1 utterances labelled otherwise in the list: u04": corpus.labels | {"u04": "bonafide"},
    }
    for message, labels in cases.items():
        with pytest.raises(InputError, match=message):
            read_index(path, data_type, labels)


def test_an_utterance_that_is_listed_twice_is_refused(corpus):
    for data_type in ("raw", "shard"):
        path = Path(corpus.list(data_type))
        lines = path.read_text().splitlines()
        write_lines(path, [*lines, lines[0]])
        with pytest.raises(InputError, match="there more than once: u00"):
            read_index(str(path), data_type)


@pytest.mark.parametrize(
    "line",
    [
        "not json",
        "[1]",
        "5",
        "null",
        "[" * 100000,
        '{"key": "a"}',
        '{"key": "a", "wav": "b", "lab": "fake"}',
        '{"key": "a", "wav": "b", "lab": ["spoof"]}',
        '{"key": 5, "wav": "b"}',
        '{"key": "a", "wav": 5}',
        '{"key": "a", "key": "c", "wav": "b"}',
        '{"key": "a", "wav": "b", "samples": -1}',
        '{"key": "a", "wav": "b", "samples": 1.5}',
        '{"key": "a", "wav": "b", "samples": "1"}',
        '{"key": "a", "wav": "b", "samples": true}',
        '{"key": "a", "wav": "b", "samples": NaN}',
        '{"key": "a", "wav": "b", "samples": 1e400}',
        f'{{"key": "a", "wav": "b", "samples": {10**15}}}',
    ],
)
def test_a_malformed_raw_list_is_refused_with_its_line(tmp_path, line):
    path = tmp_path / "raw.list"
    write_lines(path, ['{"key": "a", "wav": "b", "lab": "spoof", "samples": 1}', line])
    with pytest.raises(InputError, match=r"raw\.list:2: .*expected"):
        read_index(str(path), "raw")


OUR_ROW = '{"key": "a", "wav": "b", "lab": "spoof", "samples": 7, "rate": 16000}'


@pytest.mark.parametrize(
    ("ours", "changed"),
    [
        ('"spoof"', '"fake"'),
        ('"a"', '"a\tb"'),
        ('"b"', '"b\x00"'),
        ("7", "-7"),
        ("7", "07"),
        ("7", "\uff17"),
        ("7", "7.0"),
        ("7", str(2**48)),
        ("16000", "768001"),
        ("}", '} {"key": "c"}'),
        ('"wav"', '"key"'),
    ],
)
def test_a_line_that_looks_like_ours_is_looked_at_as_closely(tmp_path, ours, changed):
    path = tmp_path / "raw.list"
    write_lines(path, [OUR_ROW, OUR_ROW.replace(ours, changed)])
    with pytest.raises(InputError, match=r"raw\.list:2: .*expected"):
        read_index(str(path), "raw")


def test_lines_of_another_writer_are_read_among_ours(tmp_path):
    path = tmp_path / "raw.list"
    other = '  {"wav":"\\u00e9.wav", "samples": 5, "key":"\\u00e9", "note": "x", "rate": 192000 }  '
    last = OUR_ROW.replace('"a"', '"c"')
    path.write_text(f"{OUR_ROW}\r\n\n{other}\n{last}")
    ours = Utterance("a", "b", samples=7, label="spoof", rate=16000)
    assert read_index(str(path), "raw") == [
        ours,
        Utterance("\u00e9", "\u00e9.wav", samples=5, rate=192000),
        replace(ours, key="c"),
    ]


def test_our_own_lines_need_no_parser_of_json(corpus, monkeypatch):
    path = corpus.list("raw")
    expected = read_index(path, "raw")
    monkeypatch.setattr(index_module.json, "loads", None)
    assert read_index(path, "raw") == expected


@pytest.mark.parametrize("data_type", ["raw", "shard"])
def test_garbage_is_collected_again_whether_a_list_could_be_read_or_not(corpus, data_type):
    path = Path(corpus.list(data_type))
    read_index(str(path), data_type)
    assert gc.isenabled()
    write_lines(path, ["no shard and no JSON"])
    with pytest.raises(InputError):
        read_index(str(path), data_type)
    assert gc.isenabled()


@pytest.mark.parametrize("data_type", ["raw", "shard"])
def test_an_empty_list_is_refused(tmp_path, data_type):
    (tmp_path / "list").write_text("\n")
    with pytest.raises(InputError, match="no utterances in the list"):
        read_index(str(tmp_path / "list"), data_type)


@examples(40)
@given(
    st.dictionaries(
        KEYS,
        st.tuples(st.text(), st.integers(1, 10**9), st.sampled_from(["spoof", "bonafide"])),
        min_size=1,
    )
)
def test_a_raw_list_gives_back_what_was_written(tmp_path, rows):
    listed = [
        Utterance(key, wav, samples=samples, label=label)
        for key, (wav, samples, label) in rows.items()
    ]
    write_raw_list(tmp_path / "raw.list", listed)
    index = read_index(str(tmp_path / "raw.list"), "raw")
    assert index == listed


@examples(40)
@given(st.dictionaries(KEYS, KEYS, min_size=1))
def test_a_table_gives_back_what_was_written_in_byte_order(tmp_path, table):
    write_table(tmp_path / "table", table)
    assert list(read_table(tmp_path / "table").items()) == sorted(
        table.items(), key=lambda row: row[0].encode()
    )


# Packing


def test_plain_webdataset_reads_our_shards(corpus):
    corpus.list("shard")
    urls = [str(path) for path in shards_of(corpus)]
    samples = list(wds.WebDataset(urls, shardshuffle=False))
    assert [sample["__key__"] for sample in samples] == list(corpus.wavs)
    for sample in samples:
        assert sample["flac"] == Path(corpus.wavs[sample["__key__"]]).read_bytes()
        assert sample["lab"].decode() == corpus.labels[sample["__key__"]]


def utterances_of_every_kind(folder: Path) -> list[Utterance]:
    """Files of several kinds, listed and not, whose names need every sort of header."""
    rows = []
    keys = ["a", "é", "b" * 120, "c", "d", "e", "f"]
    kinds = ["FLAC", "WAV", "OGG", "FLAC", "MP3", "AIFF", "FLAC"]
    for number, (key, kind) in enumerate(zip(keys, kinds)):
        path = folder / f"{number}.{kind.lower()}"
        path.write_bytes(audio_bytes(tone(number, 1500 + number), kind))
        rows.append(Utterance(key, str(path), label=["spoof", "bonafide", None][number % 3]))
    (folder / "6.flac").rename(folder / "6.odd")  # the file itself says what it is
    rows[6] = replace(rows[6], path=str(folder / "6.odd"))
    return measure_lengths(rows[:5]) + rows[5:]


def test_shards_have_the_bytes_of_webdatasets_writer(tmp_path):
    rows = utterances_of_every_kind(tmp_path)
    pack(rows, tmp_path / "shards", tmp_path / "list", num_utts_per_shard=3)
    for number in range(3):
        expected = io.BytesIO()
        with wds.TarWriter(expected, encoder=False, mtime=0) as tar:
            for row in rows[3 * number : 3 * number + 3]:
                name = "flac" if row.path.endswith("odd") else row.path.rpartition(".")[2]
                sample = {"__key__": row.key, name: Path(row.path).read_bytes()}
                if row.label:
                    sample["lab"] = row.label.encode()
                tar.write(sample)
        shard = tmp_path / f"shards/shards_{number:09d}.tar"
        assert shard.read_bytes() == expected.getvalue()


def test_the_writer_knows_what_a_reader_of_the_shard_finds(tmp_path):
    pack(utterances_of_every_kind(tmp_path), tmp_path / "shards", tmp_path / "list")
    shard = tmp_path / "shards/shards_000000000.tar"
    index = index_of(shard)
    written = json.loads(index.read_text())
    index.unlink()
    assert len(read_shard(str(shard))) == 7
    assert json.loads(index.read_text())[2] == written[2]
    assert json.loads(index.read_text()) == written


def test_the_index_of_the_writer_is_read_and_not_made_anew(corpus, monkeypatch):
    corpus.list("shard")
    monkeypatch.setattr(shards, "read_tar", None)
    assert len(read_index(str(corpus.folder / "shard.list"), "shard")) == len(LENGTHS)


@pytest.mark.parametrize("kind", ["FLAC", "WAV"])
def test_a_file_that_is_cut_between_list_and_shard_is_refused(tmp_path, kind):
    """Its header still states what the list does."""
    path = tmp_path / f"a.{kind.lower()}"
    path.write_bytes(audio_bytes(tone(0, 9000), kind))
    rows = measure_lengths([Utterance("a", str(path), label="spoof")])
    path.write_bytes(path.read_bytes()[:-3000])
    with pytest.raises(InputError, match="^a: .*truncated"):
        pack(rows, tmp_path / "shards", tmp_path / "list")


def test_packing_is_deterministic_and_keeps_the_order_of_its_rows(corpus):
    rows = corpus.index("raw")[::-1]

    def packed():
        pack(rows, corpus.folder / "shards", corpus.folder / "list")
        return shards_of(corpus)[0].read_bytes()

    assert packed() == packed()
    assert [row.key for row in read_index(str(corpus.folder / "list"), "shard")] == [
        row.key for row in rows
    ]


def test_a_smaller_run_leaves_no_stale_shards(corpus):
    corpus.list("shard", per_shard=2)
    keep = corpus.folder / "shards" / "others_000000000.tar"
    keep.write_text("another prefix")
    assert len(shards_of(corpus)) == 8
    corpus.index("shard", per_shard=10)
    assert [path.name for path in shards_of(corpus)] == [
        keep.name,
        "shards_000000000.tar",
        "shards_000000001.tar",
    ]
    assert len(list((corpus.folder / "shards").glob("*.tar*"))) == 5


def test_one_missing_file_fails_and_earlier_shards_stay(corpus):
    path = Path(corpus.list("shard"))
    write_table(corpus.folder / "wav.scp", corpus.wavs)
    write_table(corpus.folder / "utt2lab", corpus.labels)
    before = {file: file.read_bytes() for file in [path, *(corpus.folder / "shards").iterdir()]}
    os.unlink(corpus.wavs["u03"])
    with pytest.raises(InputError, match=r"1 of 13 .*u03: .*u03\.flac: No such file"):
        read_corpus(corpus.folder / "wav.scp", corpus.folder / "utt2lab", 16000, 2)
    rows = [Utterance(key, wav, label="spoof") for key, wav in corpus.wavs.items()]
    with pytest.raises(InputError, match="u03: .*No such"):  # gone between the check and the copy
        pack(rows, corpus.folder / "shards", path, num_utts_per_shard=2)
    assert {
        file: file.read_bytes() for file in [path, *(corpus.folder / "shards").iterdir()]
    } == before


def test_commands_are_packed_under_the_format_they_give(corpus, monkeypatch):
    monkeypatch.setenv(ALLOW_PIPES, "1")
    corpus.wavs["u01"] = f"cat {corpus.wavs['u01']} |"
    index = corpus.index("shard")
    assert index[1].samples == LENGTHS[1]
    assert "u01.flac" in members(shards_of(corpus)[0])


@pytest.mark.parametrize("key", ["a.b", "a/b", "a b", "", "a\tb", "a\u00a0b", "a\u3000b"])
def test_ids_that_webdataset_would_cut_are_refused(key):
    with pytest.raises(InputError, match="here: 1 ids hold"):
        check_keys("here", ["good", key])


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("a\x1b[31m", r"1 ids hold characters that can't be printed: 'a\\x1b\[31m'"),
        ("a\u200b", "can't be printed"),
        ("a\ud800", "can't be printed"),
        ("filename", "an utterance named 'filename'"),
    ],
)
def test_ids_that_other_files_can_not_hold_are_refused(key, message):
    with pytest.raises(InputError, match=f"here: .*{message}"):
        check_keys("here", ["good", key])


@examples(40)
@given(st.sets(KEYS))
def test_other_ids_are_accepted(keys):
    check_keys("here", keys)


# The index beside a shard


def test_a_foreign_shard_gets_an_index_once(tmp_path):
    data = {key: audio_bytes(tone(n, 500 + n)) for n, key in enumerate("abc")}
    files = {"README": b"", "dir/a.lab": b"spoof\n", "dir/a.json": b"{}"}
    files |= {f"dir/{key}.flac": audio for key, audio in data.items()}
    path = foreign_shard(tmp_path / "x.tar", files)
    index = read_index(path, "shard", dict.fromkeys("abc", "spoof"))
    assert [(row.key, row.samples) for row in index] == [("a", 500), ("b", 501), ("c", 502)]
    raw = (tmp_path / "x.tar").read_bytes()
    assert {row.key: raw[row.offset : row.offset + row.size] for row in index} == data
    stamp = (tmp_path / "x.tar.index").stat().st_mtime_ns
    assert [row.label for row in read_index(path, "shard")] == ["spoof", None, None]
    assert (tmp_path / "x.tar.index").stat().st_mtime_ns == stamp


def test_a_shard_by_webdatasets_writer_is_read(tmp_path):
    with wds.TarWriter(str(tmp_path / "x.tar")) as tar:
        for n in range(3):
            tar.write(
                {"__key__": f"k{n}", "wav": audio_bytes(tone(n, 100), "WAV"), "lab": b"bonafide"}
            )
    assert [(row.key, row.samples, row.label) for row in read_shard(str(tmp_path / "x.tar"))] == [
        (f"k{n}", 100, "bonafide") for n in range(3)
    ]


def index_of(path: Path) -> Path:
    return path.with_name(f"{path.name}.index")


@pytest.mark.parametrize("date", [0, 2**61])
def test_an_index_belongs_to_the_content_of_its_tar_whatever_the_dates_are(tmp_path, date):
    """The other tar has the same utterances, of the same size, in another order."""
    audio = {key: audio_bytes(tone(n, 9000), "WAV") for n, key in enumerate("abc")}
    shard = tmp_path / "x.tar"
    path = foreign_shard(shard, {f"{key}.wav": audio[key] for key in "abc"})
    assert [row.key for row in read_index(path, "shard")] == ["a", "b", "c"]
    size = shard.stat().st_size
    foreign_shard(shard, {f"{key}.wav": audio[key] for key in "cab"})
    assert shard.stat().st_size == size
    os.utime(shard, ns=(date, date))
    for row in read_index(path, "shard"):
        assert file_bytes(row) == audio[row.key]
    # The index was made anew, and is that of this tar.
    assert [row[0] for row in json.loads(index_of(shard).read_text())[2]] == ["c", "a", "b"]


def test_a_label_of_the_same_size_makes_another_tar(tmp_path):
    files = {"a.wav": audio_bytes(tone(0, 100), "WAV"), "a.lab": b"bonafide"}
    path = foreign_shard(tmp_path / "x.tar", files)
    assert read_index(path, "shard")[0].label == "bonafide"
    foreign_shard(tmp_path / "x.tar", files | {"a.lab": b"spoof   "})
    assert read_index(path, "shard")[0].label == "spoof"


def test_an_index_of_the_first_version_is_made_anew(tmp_path):
    path = foreign_shard(tmp_path / "x.tar", {"a.wav": audio_bytes(tone(0, 100), "WAV")})
    expected = read_index(path, "shard")
    size = (tmp_path / "x.tar").stat().st_size
    old = json.dumps([size, [["a", 512, 244, 99, None]]])
    index_of(tmp_path / "x.tar").write_text(old)
    assert read_index(path, "shard") == expected
    assert index_of(tmp_path / "x.tar").read_text() != old


def change_rows(change):
    """Change of the rows of an index whose hash is put right."""

    def damage(content: list) -> list:
        tar_hash, _, rows = content
        rows = change(rows)
        return [tar_hash, _hash_rows(tar_hash, rows), rows]

    return damage


def change_rows_alone(change):
    """Change of the rows of an index that leaves its hashes."""
    return lambda content: [*content[:2], change(content[2])]


def change_cell(column: int, value):
    return change_rows(lambda rows: [rows[0][:column] + [value] + rows[0][column + 1 :], *rows[1:]])


DAMAGED_INDEXES = {
    "a row is missing": change_rows_alone(lambda rows: rows[1:]),
    "a row twice": change_rows_alone(lambda rows: rows[:1] + rows),
    "rows in another order": change_rows_alone(lambda rows: rows[::-1]),
    "a number": lambda content: 5,
    "null": lambda content: None,
    "an object": lambda content: {"rows": content[2]},
    "no rows": change_rows_alone(lambda rows: None),
    "no hash": lambda content: content[1:],
    "hashes that are none": lambda content: [None, None, content[2]],
    "null for a row": change_rows(lambda rows: [None, *rows]),
    "a row too short": change_rows(lambda rows: [rows[0][:4], *rows[1:]]),
    "a row too long": change_rows(lambda rows: [[*rows[0], 1, 2], *rows[1:]]),
    "a number as key": change_cell(0, 5),
    "text as offset": change_cell(1, "512"),
    "a negative offset": change_cell(1, -1),
    "an offset outside": change_cell(1, 10**9),
    "a fraction": change_cell(2, 1.5),
    "a size of 10^15": change_cell(2, 10**15),
    "a size of true": change_cell(2, True),
    "no samples": change_cell(3, 0),
    "an unknown label": change_cell(4, "fake"),
    "a list as label": change_cell(4, []),
}


@pytest.mark.parametrize("damage", DAMAGED_INDEXES)
def test_a_damaged_index_is_made_anew(tmp_path, damage, caplog):
    files = {f"{key}.wav": audio_bytes(tone(n, 900), "WAV") for n, key in enumerate("abc")}
    path = foreign_shard(tmp_path / "x.tar", files)
    expected = read_index(path, "shard")
    index = index_of(tmp_path / "x.tar")
    whole = index.read_text()
    index.write_text(json.dumps(DAMAGED_INDEXES[damage](json.loads(whole))))
    with caplog.at_level(logging.INFO):
        assert read_index(path, "shard") == expected
    assert f"{index}" in caplog.text
    assert index.read_text() == whole


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[" * 100000, b'{"a": NaN}'])
def test_an_index_that_is_no_json_is_made_anew(tmp_path, content):
    path = foreign_shard(tmp_path / "x.tar", {"a.wav": audio_bytes(tone(0, 100), "WAV")})
    expected = read_index(path, "shard")
    index_of(tmp_path / "x.tar").write_bytes(content)
    assert read_index(path, "shard") == expected


@pytest.mark.parametrize("is_folder", [True, False])
def test_an_index_that_cannot_be_written_is_kept_in_memory(tmp_path, caplog, is_folder):
    path = foreign_shard(tmp_path / "x.tar", {"a.wav": audio_bytes(tone(0, 100), "WAV")})
    index = index_of(tmp_path / "x.tar")
    if is_folder:
        index.mkdir()
    else:
        os.mkfifo(index)
    with caplog.at_level(logging.INFO):
        assert [row.key for row in read_index(path, "shard")] == ["a"]
    assert "kept in memory" in caplog.text


def truncated_inside(tar):
    return tar[:700]


def truncated_at_a_member(tar):
    return tar[: tar.rindex(b"c.wav")]


def zeroed_header(tar):
    start = tar.index(b"c.wav")
    return tar[:start] + bytes(512) + tar[start + 512 :]


def noisy_header(tar):
    start = tar.index(b"c.wav")
    return tar[:start] + b"?" * 512 + tar[start + 512 :]


def no_tar(tar):
    return b"?" * 5000


@pytest.mark.parametrize(
    "damage", [truncated_inside, truncated_at_a_member, zeroed_header, noisy_header, no_tar]
)
def test_a_damaged_shard_is_an_error_never_a_shorter_one(tmp_path, damage):
    files = {f"{key}.wav": audio_bytes(tone(0, 300), "WAV") for key in "abcd"}
    path = foreign_shard(tmp_path / "x.tar", files, format=tarfile.USTAR_FORMAT)
    (tmp_path / "x.tar").write_bytes(damage((tmp_path / "x.tar").read_bytes()))
    with pytest.raises(InputError, match=r"x\.tar: damaged or truncated shard: "):
        read_index(path, "shard")


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"a.lab": b"spoof"}, "a: 0 audio files, expected one"),
        ({"a.txt": b"spoof"}, "no utterances in the list"),
        ({"a.wav": b"no audio"}, r"a: .*x\.tar: Format not recognised"),
        (
            {
                "d/a.wav": audio_bytes(tone(0, 9)),
                "b.wav": audio_bytes(tone(0, 9)),
                "e/a.wav": audio_bytes(tone(0, 9)),
            },
            "1 utterances are there more than once: a",
        ),
        (
            {"a.wav": audio_bytes(tone(0, 9)), "a.flac": audio_bytes(tone(0, 9))},
            "a: 2 audio files, expected one",
        ),
        ({"a b.wav": audio_bytes(tone(0, 9))}, "1 ids hold '.', '/' or white space: a b"),
        (
            {"a.wav": audio_bytes(tone(0, 9)), "a.lab": b"fake"},
            "a: label 'fake', expected spoof or bonafide",
        ),
    ],
)
def test_a_shard_with_other_content_is_refused(tmp_path, files, message):
    with pytest.raises(InputError, match=message):
        read_index(foreign_shard(tmp_path / "x.tar", files), "shard")


def link(kind: bytes):
    def member(tar: tarfile.TarFile) -> None:
        info = tarfile.TarInfo("b.wav")
        info.type = kind
        info.linkname = "a.wav" if kind == tarfile.LNKTYPE else "/etc/passwd"
        tar.addfile(info)

    return member


def named(name: str, data: bytes = b""):
    def member(tar: tarfile.TarFile) -> None:
        info = tarfile.TarInfo(name)
        info.size = len(data)
        tar.addfile(info, io.BytesIO(data))

    return member


WAV = audio_bytes(tone(0, 900), "WAV")
NO_MEMBERS = {
    "symbolic link": (link(tarfile.SYMTYPE), "b.wav: a link"),
    "hard link": (link(tarfile.LNKTYPE), "b.wav: a link"),
    "device": (link(tarfile.CHRTYPE), "b.wav: a link, device"),
    "pipe": (link(tarfile.FIFOTYPE), "b.wav: a link, device"),
    "folder": (link(tarfile.DIRTYPE), "b.wav: a link, device, folder"),
    "unknown extension": (named("b.xyz", WAV), "b.xyz: another extension"),
    "no extension": (named("b", WAV), "x.tar: b: another extension"),
    "two extensions": (named("b.c.wav", WAV), "b.c.wav: an id ends at the first dot, here as 'b'"),
    "another field": (named("a.noisy.wav", WAV), "a.noisy.wav: an id ends at the first dot"),
}


@pytest.mark.parametrize("member", NO_MEMBERS)
def test_members_that_would_be_left_out_or_taken_for_audio_are_refused(tmp_path, member):
    add, message = NO_MEMBERS[member]
    with tarfile.open(tmp_path / "x.tar", "w") as tar:
        named("a.wav", WAV)(tar)
        add(tar)
    with pytest.raises(InputError, match=rf"x\.tar: .*{message}|{message}"):
        read_shard(str(tmp_path / "x.tar"))


def test_members_beside_audio_are_let_pass(tmp_path):
    with tarfile.open(tmp_path / "x.tar", "w") as tar:
        folder = tarfile.TarInfo("./")
        folder.type = tarfile.DIRTYPE
        tar.addfile(folder)
        for name in ("README", "meta.json", "a.txt", "a.phn", "a.clean.json"):
            named(name, b"text")(tar)
        named("a.WAV", WAV)(tar)
    assert [row.key for row in read_shard(str(tmp_path / "x.tar"))] == ["a"]


@pytest.mark.parametrize("kind", ["folder", "pipe", "/dev/zero"])
def test_a_list_of_what_is_no_shard_is_refused_without_reading_it(tmp_path, kind):
    path = tmp_path / "x.tar"
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path = Path(kind)
    write_lines(tmp_path / "list", [str(path)])
    with pytest.raises(InputError, match=f"{path}: a folder or a device, expected a file"):
        read_index(str(tmp_path / "list"), "shard")


def test_a_tar_that_does_not_end_is_refused(tmp_path):
    shard = tmp_path / "x.tar"
    path = foreign_shard(shard, {"a.wav": WAV})
    with open(shard, "r+b") as file:
        file.truncate(2**40)  # zeros that take no room on the disk
    with pytest.raises(InputError, match="damaged or truncated shard"):
        read_index(path, "shard")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("pipe:touch ran", "which was not run"),
        ("https://x/a b.tar", "is no URL"),
        ("https://x/';touch ran;'.tar", "is no URL"),
    ],
)
def test_streams_run_no_command_that_nobody_allowed(tmp_path, monkeypatch, line, message):
    monkeypatch.delenv(ALLOW_PIPES, raising=False)
    write_lines(tmp_path / "list", ["file:a.tar", line])
    with pytest.raises(InputError, match=rf"list:2: .*{message}"):
        read_index(str(tmp_path / "list"), "shard", {"a": "spoof"})


# One packer a folder


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_second_packer_in_a_folder_is_refused(corpus, monkeypatch):
    corpus.list("shard", per_shard=5)
    before = contents(corpus.folder)
    held = subprocess.Popen(
        [sys.executable, "-c", HOLD_LOCK, str(corpus.folder / "shards")], stdout=subprocess.PIPE
    )
    try:
        assert held.stdout.readline()
        with pytest.raises(InputError, match=f"shards: in use by packing, process {held.pid} "):
            corpus.list("shard", per_shard=3)
    finally:
        held.kill()
        held.wait()
    (corpus.folder / "shards/.lock").unlink()
    (corpus.folder / "raw.list").unlink(missing_ok=True)
    assert contents(corpus.folder) == before
    # A dead process holds nothing.
    corpus.list("shard", per_shard=3)


HOLD_LOCK = """
import sys, time
from wedefense_lite.files import folder_lock
with folder_lock(sys.argv[1], "packing"):
    print("held", flush=True)
    time.sleep(60)
"""


def test_the_shards_of_another_list_are_not_replaced(corpus):
    rows = corpus.index("raw")
    folder = corpus.folder / "shards"
    pack(rows, folder, corpus.folder / "train.list")
    before = contents(corpus.folder)
    with pytest.raises(
        InputError, match=r"shards: holds the shards of .*train\.list: give another"
    ):
        pack(rows[:3], folder, corpus.folder / "dev.list")
    assert contents(corpus.folder) == before
    pack(rows[:3], folder, corpus.folder / "dev.list", prefix="dev")
    pack(rows[::-1], folder, corpus.folder / "train.list")
    assert len(read_index(str(corpus.folder / "train.list"), "shard")) == len(rows)
    # Shards that no list names any more stand in nobody's way, and folders may move.
    (corpus.folder / "train.list").unlink()
    pack(rows[:3], folder, corpus.folder / "dev2.list")


def test_shards_of_the_first_version_are_those_of_the_list_that_names_them(corpus):
    path = Path(corpus.list("shard"))
    (corpus.folder / "shards/shards_list.txt").unlink()
    rows = corpus.index("raw")
    with pytest.raises(InputError, match=r"holds 6 shards shards_\* that .*other\.list does not"):
        pack(rows, corpus.folder / "shards", corpus.folder / "other.list")
    pack(rows, corpus.folder / "shards", path)


def test_a_list_is_gone_while_its_shards_are_packed(corpus):
    path = Path(corpus.list("shard"))
    before = path.read_text()
    shards = ShardSet(corpus.folder / "shards", path, 1)
    with pytest.raises(InputError, match="no work"), shards:
        assert not path.exists()  # what a kill would leave
        raise InputError("no work")
    assert path.read_text() == before
    with pytest.raises(InputError, match="no work"), shards:
        with shard_writer(shards.paths[0]) as add:
            add(Utterance("a", "a.wav", label="spoof", data=WAV))
        shards.replace_earlier()
        raise InputError("no work")
    assert not path.exists()  # its shards are gone


def test_a_folder_that_is_removed_while_shards_are_packed_is_told(corpus):
    path = corpus.folder / "shard.list"
    shards = ShardSet(corpus.folder / "shards", path, 2)
    with pytest.raises(InputError, match=r"removed while .* lacks shards_000000000\.tar"), shards:
        shutil.rmtree(corpus.folder / "shards")
        with shard_writer(shards.paths[1]) as add:
            add(Utterance("a", "a.wav", label="spoof", data=WAV))
    assert not path.exists()


def test_audio_that_changes_while_it_is_packed_is_refused(corpus):
    rows = corpus.index("raw")
    Path(rows[3].path).write_bytes(audio_bytes(tone(0, 77)))
    with pytest.raises(InputError, match=r"u03: .*u03\.flac: changed .*: 77 samples, expected 430"):
        pack(rows, corpus.folder / "shards", corpus.folder / "list")


def test_a_missing_shard_is_named(corpus):
    path = corpus.list("shard")
    shards_of(corpus)[1].unlink()
    with pytest.raises(InputError, match=r"shards_000000001\.tar: No such file"):
        read_index(path, "shard")


def test_a_file_may_hold_any_bytes(tmp_path):
    """What is packed is never decoded and encoded again."""
    corpus = make_corpus(tmp_path, [500])
    odd = Path(corpus.wavs["u00"])
    odd.write_bytes(odd.read_bytes() + b"trailing tag")
    corpus.list("shard")
    assert members(shards_of(corpus)[0])["u00.flac"] == odd.read_bytes()
    assert sf.info(io.BytesIO(odd.read_bytes())).frames == 500
