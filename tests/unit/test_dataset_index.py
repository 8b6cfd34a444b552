"""Lists and shards: one index, the corpus's own bytes, and nothing lost in silence."""

import io
import json
import logging
import os
import tarfile
from pathlib import Path

import pytest
import soundfile as sf
import webdataset as wds
from corpora import audio_bytes, make_corpus, tone
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from wedefense_lite.audio.index import check_keys, read_corpus, read_index, write_raw_list
from wedefense_lite.audio.shards import pack, read_shard
from wedefense_lite.audio.utterance import Utterance
from wedefense_lite.files import InputError, read_table, write_lines, write_table

LENGTHS = [400 + 10 * n for n in range(13)]
SETTINGS = settings(
    max_examples=40, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
KEYS = st.text(st.characters(exclude_categories=("C", "Z"), exclude_characters="./"), min_size=1)


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
    "line", ["not json", "[1]", '{"key": "a"}', '{"key": "a", "wav": "b", "lab": "fake"}']
)
def test_a_malformed_raw_list_is_refused_with_its_line(tmp_path, line):
    path = tmp_path / "raw.list"
    write_lines(path, ['{"key": "a", "wav": "b", "lab": "spoof", "samples": 1}', line])
    with pytest.raises(InputError, match=r"raw\.list: .*expected"):
        read_index(str(path), "raw")


@pytest.mark.parametrize("data_type", ["raw", "shard"])
def test_an_empty_list_is_refused(tmp_path, data_type):
    (tmp_path / "list").write_text("\n")
    with pytest.raises(InputError, match="no utterances in the list"):
        read_index(str(tmp_path / "list"), data_type)


@SETTINGS
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


@SETTINGS
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
    assert len(list((corpus.folder / "shards").iterdir())) == 5


def test_one_missing_file_fails_and_earlier_shards_stay(corpus):
    path = Path(corpus.list("shard"))
    write_table(corpus.folder / "wav.scp", corpus.wavs)
    write_table(corpus.folder / "utt2lab", corpus.labels)
    before = {file: file.read_bytes() for file in [path, *(corpus.folder / "shards").iterdir()]}
    os.unlink(corpus.wavs["u03"])
    with pytest.raises(InputError, match=r"1 of 13 .*u03: .*u03\.flac: No such file"):
        read_corpus(corpus.folder / "wav.scp", corpus.folder / "utt2lab", 16000, 2)
    rows = [Utterance(key, wav, label="spoof") for key, wav in corpus.wavs.items()]
    with pytest.raises(FileNotFoundError):  # gone between the check and the copy
        pack(rows, corpus.folder / "shards", path, num_utts_per_shard=2)
    assert {
        file: file.read_bytes() for file in [path, *(corpus.folder / "shards").iterdir()]
    } == before


def test_commands_are_packed_under_the_format_they_give(corpus):
    corpus.wavs["u01"] = f"cat {corpus.wavs['u01']} |"
    index = corpus.index("shard")
    assert index[1].samples == LENGTHS[1]
    assert "u01.flac" in members(shards_of(corpus)[0])


@pytest.mark.parametrize("key", ["a.b", "a/b", "a b", "", "a\tb"])
def test_ids_that_webdataset_would_cut_are_refused(key):
    with pytest.raises(InputError, match="here: 1 ids hold"):
        check_keys("here", ["good", key])


@SETTINGS
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


def test_an_index_of_another_tar_is_replaced(tmp_path):
    path = foreign_shard(tmp_path / "x.tar", {"a.wav": audio_bytes(tone(0, 100), "WAV")})
    read_index(path, "shard")
    foreign_shard(
        tmp_path / "x.tar", {f"b{n}.wav": audio_bytes(tone(0, 9000), "WAV") for n in range(2)}
    )
    os.utime(tmp_path / "x.tar", ns=(0, 0))  # size alone gives it away
    assert [row.key for row in read_index(path, "shard")] == ["b0", "b1"]
    foreign_shard(
        tmp_path / "x.tar", {f"c{n}.wav": audio_bytes(tone(0, 9000), "WAV") for n in range(2)}
    )
    os.utime(tmp_path / "x.tar.index", ns=(0, 0))  # age alone does
    assert [row.key for row in read_index(path, "shard")] == ["c0", "c1"]


def test_a_folder_that_cannot_be_written_needs_no_index_file(tmp_path, caplog):
    path = foreign_shard(tmp_path / "x.tar", {"a.wav": audio_bytes(tone(0, 100), "WAV")})
    (tmp_path / "x.tar.index").mkdir()
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
