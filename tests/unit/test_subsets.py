"""Parts of data directories, and several as one."""

import pytest
from commands import run_script

from wedefense_lite.audio.data_dir import check_data_dirs
from wedefense_lite.audio.subsets import read_data_dir
from wedefense_lite.files import InputError, read_table, write_lines

ROWS = [  # utterance, label, speaker, attack, seconds, codec
    ("a1", "bonafide", "s1", "-", "3.0000", "none"),
    ("a2", "spoof", "s1", "A1", "1.0000", "alaw"),
    ("a3", "spoof", "s2", "A1", "2.0000", "none"),
    ("a4", "spoof", "s2", "A2", "4.0000", "alaw"),
    ("a5", "bonafide", "s2", "-", "5.0000", "alaw"),
]


def write_set(folder, rows, prefix="", without=()):
    folder.mkdir(parents=True)
    columns = {"utt2lab": 1, "utt2spk": 2, "utt2attack": 3, "utt2dur": 4}
    for name, column in columns.items():
        if name not in without:
            write_lines(folder / name, [f"{prefix}{row[0]} {row[column]}" for row in rows])
    write_lines(folder / "wav.scp", [f"{prefix}{row[0]} wav/{row[0]}.wav" for row in rows])
    if "meta.tsv" not in without:
        cells = [f"{prefix}{row[0]}\t{row[5]}" for row in rows]
        write_lines(folder / "meta.tsv", ["filename\tcodec", *cells])
    if "segments.rttm" not in without:
        lines = []
        for row in rows:
            key = f"{prefix}{row[0]}"
            for start in (0, 0.5):
                lines.append(f"SPEAKER {key} 1 {start} 0.5 <NA> <NA> {row[1]} <NA> <NA>")
        write_lines(folder / "segments.rttm", lines)


@pytest.fixture
def folder(tmp_path):
    write_set(tmp_path / "data/a", ROWS)
    return tmp_path


def subset(folder, *words):
    return run_script(folder, "tools/subset_data_dir.py", "data/a", "data/part", *words)


@pytest.mark.parametrize(
    ("words", "keys"),
    [
        (["--utt_list", "list"], "a2 a5"),
        (["--spk_list", "speakers"], "a1 a2"),
        (["--label", "spoof"], "a2 a3 a4"),
        (["--by", "attack", "--values", "A1"], "a2 a3"),
        (["--by", "codec", "--values", "alaw", "--label", "spoof"], "a2 a4"),
        (["--num", "2", "--order", "shortest"], "a2 a3"),
        (["--num", "2", "--order", "first"], "a1 a2"),
        (["--num", "2", "--order", "last"], "a4 a5"),
        (["--num", "1", "--num_per", "speaker", "--order", "first"], "a1 a3"),
    ],
)
def test_a_part_has_all_files_of_its_utterances_and_no_other(folder, words, keys):
    write_lines(folder / "list", ["a5 more", "a2"])
    write_lines(folder / "speakers", ["s1"])
    assert subset(folder, *words)[0] == 0
    part = folder / "data/part"
    keys = keys.split()
    for name in ("wav.scp", "utt2lab", "utt2spk", "utt2attack", "utt2dur"):
        whole = read_table(folder / "data/a" / name)
        assert read_table(part / name) == {key: whole[key] for key in keys}
    meta = (part / "meta.tsv").read_text().splitlines()
    assert [line.split()[0] for line in meta] == ["filename", *keys]
    rttm = (part / "segments.rttm").read_text().splitlines()
    assert [line.split()[1] for line in rttm] == sorted(keys * 2)
    check_data_dirs([part])


def test_a_random_part_depends_on_the_seed_alone(folder):
    parts = []
    for seed in ("1", "1", "2", "3", "4"):
        assert subset(folder, "--num", "3", "--seed", seed)[0] == 0
        parts.append(sorted(read_table(folder / "data/part/wav.scp")))
    assert parts[0] == parts[1]
    assert all(len(part) == 3 for part in parts)
    assert any(part != parts[0] for part in parts)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--num", "6"], "data/a: 5 utterances to take from, such as a1, but 6 are asked for"),
        (["--by", "attack", "--values", "A9"], "no attack is 'A9', expected some of -, A1, A2"),
        (["--by", "room", "--values", "x"], "no column 'room', expected attack, speaker, label"),
        (["--by", "codec"], "--by and --values go together"),
        (["--num_per", "label"], "--num_per goes with --num"),
        (["--utt_list", "list"], "list: 1 utterances are not in data/a: b1"),
    ],
)
def test_a_part_that_is_not_there_is_named(folder, words, message):
    write_lines(folder / "list", ["a5", "b1"])
    status, said = subset(folder, *words)
    assert status == 2
    assert message in said
    assert not (folder / "data/part").exists()


def test_a_data_directory_is_not_written_over_itself(folder):
    before = (folder / "data/a/wav.scp").read_text()
    words = ("data/a", "data/a", "--num", "2")
    status, said = run_script(folder, "tools/subset_data_dir.py", *words)
    assert status == 2
    assert "an input of this command" in said
    assert (folder / "data/a/wav.scp").read_text() == before
    assert (folder / "data/a/segments.rttm").exists()


def combine(folder, *words):
    return run_script(folder, "tools/combine_data_dirs.py", "data/all", *words)


def test_several_sets_are_one_that_knows_where_an_utterance_is_from(folder):
    write_set(folder / "data/b", ROWS, "b_")
    assert combine(folder, "data/a", "data/b")[0] == 0
    combined = folder / "data/all"
    for name in ("wav.scp", "utt2lab", "utt2spk", "utt2attack", "utt2dur"):
        expected = read_table(folder / "data/a" / name) | read_table(folder / "data/b" / name)
        assert read_table(combined / name) == expected
    meta = (combined / "meta.tsv").read_text().splitlines()
    assert meta[:2] == ["filename\tcodec\tset", "a1\tnone\ta"]
    assert meta[-1] == "b_a5\talaw\tb"
    assert len((combined / "segments.rttm").read_text().splitlines()) == 20
    check_data_dirs([combined])


def test_what_only_some_sets_have_is_filled_or_left_out(folder, caplog):
    without = ("utt2spk", "utt2attack", "utt2dur", "meta.tsv", "segments.rttm")
    write_set(folder / "data/b", ROWS, "b_", without)
    assert combine(folder, "data/a", "data/b")[0] == 0
    combined = folder / "data/all"
    attacks = read_table(combined / "utt2attack")
    assert (attacks["a2"], attacks["b_a1"], attacks["b_a2"]) == ("A1", "-", "unknown")
    assert read_table(combined / "utt2spk")["b_a1"] == "unknown"
    assert (combined / "meta.tsv").read_text().splitlines()[-1] == "b_a5\t-\tb"
    for name in ("utt2dur", "segments.rttm"):
        assert not (combined / name).exists()
        assert f"{name} is left out: not all of the data directories have it" in caplog.text
    check_data_dirs([combined])


def test_the_same_utterance_and_labels_in_some_sets_alone_are_refused(folder):
    status, said = combine(folder, "data/a", "data/a")
    assert status == 2
    assert "5 utterances are there more than once: a1, a2, a3 ..." in said
    write_set(folder / "data/c", ROWS, "c_", ("utt2lab", "utt2attack"))
    status, said = combine(folder, "data/a", "data/c")
    assert status == 2
    assert "data/c: no utt2lab, but data/a has one, expected it in all or in none" in said
    assert not (folder / "data/all").exists()


def test_sets_without_labels_stay_so(folder):
    write_set(folder / "data/c", ROWS, "c_", ("utt2lab", "utt2attack"))
    write_set(folder / "data/d", ROWS, "d_", ("utt2lab", "utt2attack"))
    assert combine(folder, "data/c", "data/d")[0] == 0
    assert not (folder / "data/all/utt2lab").exists()
    assert len(read_table(folder / "data/all/wav.scp")) == 10
    check_data_dirs([folder / "data/all"], has_labels=False)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "empty, expected lines"),
        ("filename\tx\tx\n{rows}", r"meta.tsv:1: a column is named twice: x x"),
        ("filename\tcodec\tx\n{rows}", r"meta.tsv:2: 2 columns, expected 3"),
        ("filename\tcodec\n{rows}{first}", r"is there twice"),
        ("filename\tcodec\n{first}", r"meta.tsv has no row of utterance"),
    ],
    ids=["empty", "a column twice", "a short row", "an utterance twice", "an utterance less"],
)
def test_a_meta_table_that_says_too_little_or_twice_is_refused(tmp_path, text, message):
    folder = tmp_path / "a"
    write_set(folder, ROWS)
    rows = (folder / "meta.tsv").read_text().splitlines(keepends=True)[1:]
    (folder / "meta.tsv").write_text(text.format(rows="".join(rows), first=rows[0]))
    with pytest.raises(InputError, match=message):
        read_data_dir(folder)
