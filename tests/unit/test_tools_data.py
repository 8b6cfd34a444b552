"""Stages 1 and 2 as they are typed: from a corpus as published to data directories and lists."""

import pytest
import soundfile as sf
from commands import run_script as run
from corpora import RATE, tone

from wedefense_lite.audio import data_dir
from wedefense_lite.audio.data_dir import Trial, check_data_dirs, write_data_dirs
from wedefense_lite.audio.index import read_index
from wedefense_lite.files import InputError, read_labels, read_table, write_lines, write_table

PREPARE = "egs/asvspoof2019_la/local/prepare_data.py"
PER_SET = 6


def write_la(folder):
    """Write a corpus in the layout of ASVspoof 2019 LA.

    Its flac folders hold more than the protocols list, and the protocols are not sorted.
    """
    protocols = folder / "DB/LA/ASVspoof2019_LA_cm_protocols"
    protocols.mkdir(parents=True)
    for name, suffix in {"train": "train.trn", "dev": "dev.trl", "eval": "eval.trl"}.items():
        flac = folder / f"DB/LA/ASVspoof2019_LA_{name}/flac"
        flac.mkdir(parents=True)
        lines = []
        for n in reversed(range(PER_SET)):
            key = f"LA_{name[0].upper()}_{n}"
            sf.write(flac / f"{key}.flac", tone(n, 1600 + n), RATE)
            attack_and_label = f"A0{n} spoof" if n % 3 else "- bonafide"
            lines.append(f"LA_{n % 2} {key} - {attack_and_label}\n")
        sf.write(flac / "LA_enrolment.flac", tone(0, 1600), RATE)
        (protocols / f"ASVspoof2019.LA.cm.{suffix}.txt").write_text("".join(lines))


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    folder = tmp_path_factory.mktemp("la")
    write_la(folder)
    options = ["--corpus_dir", "DB", "--data_dir", "data", "--expect_counts", "false"]
    status, errors = run(folder, PREPARE, *options)
    assert status == 0, errors
    return folder


def contents(folder):
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


# Stage 1


def test_preparation_writes_what_the_protocol_lists(prepared):
    flac = prepared / "DB/LA/ASVspoof2019_LA_dev/flac"
    labels = ["bonafide", "spoof", "spoof", "bonafide", "spoof", "spoof"]
    attacks = ["-", "A01", "A02", "-", "A04", "A05"]
    utterances = range(PER_SET)
    expected = {
        "wav.scp": "".join(f"LA_D_{n} {flac}/LA_D_{n}.flac\n" for n in utterances),
        "utt2lab": "".join(f"LA_D_{n} {labels[n]}\n" for n in utterances),
        "utt2dur": "".join(f"LA_D_{n} {(1600 + n) / RATE:.4f}\n" for n in utterances),
        "utt2spk": "".join(f"LA_D_{n} LA_{n % 2}\n" for n in utterances),
        "utt2attack": "".join(f"LA_D_{n} {attacks[n]}\n" for n in utterances),
        "lab2utt": "bonafide LA_D_0 LA_D_3\nspoof LA_D_1 LA_D_2 LA_D_4 LA_D_5\n",
        "spk2utt": "LA_0 LA_D_0 LA_D_2 LA_D_4\nLA_1 LA_D_1 LA_D_3 LA_D_5\n",
        "lab2num_utts": "bonafide 2\nspoof 4\n",
        "cm_key_file.txt": "filename\tcm-label\n"
        + "".join(f"LA_D_{n}\t{labels[n]}\n" for n in utterances),
    }
    written = {path.name: path.read_text() for path in (prepared / "data/dev").iterdir()}
    assert written == expected


def test_preparation_expects_the_published_counts(prepared):
    before = contents(prepared / "data")
    status, errors = run(prepared, PREPARE, "--corpus_dir", "DB", "--data_dir", "data")
    assert status == 2
    assert errors.count("\n") == 1
    assert "'bonafide': 2580, 'spoof': 22800} published; --expect_counts false" in errors
    assert contents(prepared / "data") == before


def test_a_listed_file_that_is_missing_is_named_and_nothing_is_written(tmp_path):
    write_la(tmp_path)
    flac = "DB/LA/ASVspoof2019_LA_eval/flac"
    for key in ("LA_E_1", "LA_E_4"):
        (tmp_path / flac / f"{key}.flac").unlink()
    status, errors = run(tmp_path, PREPARE, "--corpus_dir", "DB", "--expect_counts", "false")
    assert status == 2
    assert f"2 of 18 utterances can't be used: LA_E_1: {flac}/LA_E_1.flac: No" in errors
    assert not (tmp_path / "data").exists()


def trial(key="a", wav="a.flac", label="spoof", speaker="s", attack="A01"):
    return Trial(key, wav, label, speaker, attack)


@pytest.mark.parametrize(
    ("sets", "message"),
    [
        ({"train": [trial(), trial()]}, "1 utterances are there more than once: a"),
        ({"train": [trial()], "dev": [trial()]}, "1 utterances are there more than once: a"),
        ({"train": [trial(label="fake")]}, r"train: labels \['fake'\], expected"),
        ({"train": [trial(key="a.b")]}, "1 ids hold"),
        ({"train": [trial(key="filename")]}, "an utterance named 'filename'"),
        ({"train": [trial(wav="touch x|")]}, r"1 names of files end in '\|' .*a: 'touch x\|'"),
        ({"train": [trial(wav="touch x| ")]}, "1 names of files end"),
        ({"train": [trial(wav="x\ny.flac")]}, "1 names of files end"),
    ],
)
def test_a_protocol_that_contradicts_itself_is_refused(tmp_path, sets, message):
    with pytest.raises(InputError, match=message):
        write_data_dirs(tmp_path / "data", sets)
    assert not (tmp_path / "data").exists()


def test_prepared_directories_are_valid_and_shared_speakers_are_reported(prepared, caplog):
    folders = ["data/train", "data/dev", "data/eval"]
    assert run(prepared, "tools/validate_data_dir.py", *folders) == (0, "")
    assert "data/train and data/dev: 2 speakers in both: LA_0, LA_1" in caplog.text


def edit(name, old, new):
    """Change of a folder that replaces a text in one of its files."""

    def change(folder):
        text = (folder / name).read_text()
        assert old in text
        (folder / name).write_text(text.replace(old, new, 1))

    return change


def all_spoof(folder):
    write_table(folder / "utt2lab", dict.fromkeys(read_table(folder / "wav.scp"), "spoof"))


def unsorted(folder):
    lines = (folder / "utt2lab").read_text().splitlines()
    write_lines(folder / "utt2lab", reversed(lines))


def no_wav_scp(folder):
    (folder / "wav.scp").unlink()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            edit("utt2lab", "LA_T_1 spoof\n", ""),
            "wav.scp: 1 utterances are not in both lists: LA_T_1",
        ),
        (
            edit("utt2dur", "LA_T_1", "LA_T_7"),
            "utt2dur: 2 utterances are not in both lists: LA_T_1",
        ),
        (
            edit("utt2spk", "LA_T_1 LA_1\n", ""),
            "utt2spk: 1 utterances are not in both lists: LA_T_1",
        ),
        (edit("wav.scp", "LA_T_1", "LA_T_0"), "LA_T_0 is there twice"),
        (edit("utt2lab", "spoof", "fake"), "LA_T_1 has label 'fake', expected spoof or bonafide"),
        (all_spoof, "LA_T_0 is spoof, its attack -"),
        (edit("utt2dur", "LA_T_1 0.1001", "LA_T_1 0"), "LA_T_1 lasts '0' s, expected more than 0"),
        (edit("utt2dur", "LA_T_1 0.1001", "LA_T_1 nan"), "LA_T_1 lasts 'nan' s"),
        (edit("utt2dur", "LA_T_1 0.1001", "LA_T_1 long"), "LA_T_1 lasts 'long' s"),
        (edit("utt2attack", "LA_T_1 A01", "LA_T_1 -"), "LA_T_1 is spoof, its attack -"),
        (edit("utt2attack", "LA_T_0 -", "LA_T_0 A01"), "LA_T_0 is bonafide, its attack A01"),
        (edit("spk2utt", " LA_T_1", ""), "spk2utt: does not follow from the other files at LA_1"),
        (
            edit("lab2utt", " LA_T_3", ""),
            "lab2utt: does not follow from the other files at bonafide",
        ),
        (edit("lab2num_utts", "spoof 4", "spoof 5"), "lab2num_utts: does not follow .* at spoof"),
        (
            edit("cm_key_file.txt", "LA_T_1\tspoof", "LA_T_1\tbonafide"),
            "cm_key_file.txt: does not .*1",
        ),
        (unsorted, "utt2lab: not sorted"),
        (edit("wav.scp", "LA_T_1.flac", "LA_\0.flac"), r"wav\.scp:\d+: control character"),
        (edit("utt2lab", "LA_T_1", "LA\u00a0T_1"), "not in both|white space"),
        (no_wav_scp, "neither wav.scp nor shard.list"),
    ],
)
def test_validation_names_the_file_and_the_utterance(prepared, tmp_path, change, message):
    folder = tmp_path / "train"
    folder.mkdir()
    for path in (prepared / "data/train").glob("*"):
        if path.is_file() and path.name != "shard.list":
            (folder / path.name).write_bytes(path.read_bytes())
    check_data_dirs([folder])
    change(folder)
    with pytest.raises(InputError, match=message):
        check_data_dirs([folder])


def test_an_utterance_in_two_sets_is_refused(prepared):
    folder = prepared / "data/train"
    with pytest.raises(InputError, match="6 utterances in both: LA_T_0, LA_T_1, LA_T_2 ..."):
        check_data_dirs([folder, f"{folder}/../train"])
    with pytest.raises(InputError, match="data/train: given twice"):
        check_data_dirs([folder, folder])


def test_a_data_directory_that_is_being_written_has_no_labels(tmp_path, monkeypatch):
    """A run that is killed leaves labels and audio of two corpora in no folder."""
    for n in range(2):
        sf.write(tmp_path / f"{n}.flac", tone(n, 100), RATE)

    def sets(labels):
        trials = [trial(str(n), f"{tmp_path}/{n}.flac", label) for n, label in enumerate(labels)]
        return {"train": trials[:1], "dev": trials[1:]}

    write_data_dirs(tmp_path / "data", sets(["spoof", "bonafide"]))
    seen = []

    def write(path, table):
        seen.append((path.parent.name, path.name))
        others = "dev" if path.parent.name == "train" else "train"
        is_written = (others, "utt2lab") in seen
        assert not path.parent.joinpath("utt2lab").exists()
        assert (tmp_path / "data" / others / "utt2lab").exists() == is_written
        write_table(path, table)

    monkeypatch.setattr(data_dir, "write_table", write)
    write_data_dirs(tmp_path / "data", sets(["bonafide", "spoof"]))
    assert [name for _, name in seen].count("utt2lab") == 2


# Stage 2


@pytest.mark.parametrize("table", ["wav.scp", "utt2lab"])
@pytest.mark.parametrize("shards_are_there", [False, True])
def test_a_list_is_not_written_over_a_table_that_it_is_made_of(tmp_path, table, shards_are_there):
    sf.write(tmp_path / "u.wav", tone(0, 800), RATE)
    (tmp_path / "wav.scp").write_text("u u.wav\n")
    (tmp_path / "utt2lab").write_text("u spoof\n")
    words = ["wav.scp", "utt2lab", "shards"]
    if shards_are_there:
        assert run(tmp_path, "tools/make_shard_list.py", *words, "list")[0] == 0
    before = (tmp_path / table).read_text()
    status, said = run(tmp_path, "tools/make_shard_list.py", *words, table)
    assert status == 2 and said
    assert (tmp_path / table).read_text() == before


def test_lists_are_made_by_the_commands_that_people_type(prepared, monkeypatch):
    options = ["--num_utts_per_shard", "4", "--num_threads", "8", "--prefix", "shards", "--shuffle"]
    tables = ["data/train/wav.scp", "data/train/utt2lab"]
    paths = [*tables, "data/train/shards", "data/train/shard.list"]
    assert run(prepared, "tools/make_shard_list.py", *options, *paths)[0] == 0
    assert len(list((prepared / "data/train/shards").glob("shards_*.tar"))) == 2
    assert run(prepared, "tools/make_raw_list.py", *tables, "data/train/raw.list")[0] == 0
    monkeypatch.chdir(prepared)
    labels = read_labels("data/train/utt2lab")
    raw = read_index("data/train/raw.list", "raw", labels)
    shard = read_index("data/train/shard.list", "shard", labels)
    assert [row.key for row in raw] == list(labels)
    assert {row.key: row.samples for row in raw} == {row.key: row.samples for row in shard}
    assert [row.key for row in shard] != list(labels)
    # The same seed gives the same bytes, another one another order.
    packed = contents(prepared / "data/train/shards")
    assert run(prepared, "tools/make_shard_list.py", *options, *paths)[0] == 0
    assert contents(prepared / "data/train/shards") == packed
    assert run(prepared, "tools/make_shard_list.py", *options, "--seed", 7, *paths)[0] == 0
    reseeded = read_index("data/train/shard.list", "shard", labels)
    assert [row.key for row in reseeded] != [row.key for row in shard]
    assert run(prepared, "tools/wav2dur.py", "data/train/wav.scp", "utt2dur")[0] == 0
    assert read_table("utt2dur") == read_table("data/train/utt2dur")


@pytest.mark.parametrize("tool", ["make_shard_list", "make_raw_list", "wav2dur"])
def test_a_missing_file_fails_the_list_and_keeps_the_earlier_one(tmp_path, tool):
    for n in range(3):
        sf.write(tmp_path / f"u{n}.flac", tone(n, 100), RATE)
    write_table(tmp_path / "wav.scp", {f"u{n}": f"u{n}.flac" for n in range(3)})
    write_table(tmp_path / "utt2lab", {f"u{n}": "spoof" for n in range(3)})
    words = {"make_shard_list": ["utt2lab", "shards", "list"], "make_raw_list": ["utt2lab", "list"]}
    command = [f"tools/{tool}.py", "wav.scp", *words.get(tool, ["list"])]
    assert run(tmp_path, *command)[0] == 0
    (tmp_path / "u1.flac").unlink()
    before = contents(tmp_path)
    status, errors = run(tmp_path, *command)
    assert status == 2
    message = "error: 1 of 3 utterances can't be used: u1: u1.flac: No such file or directory"
    assert errors.splitlines()[-1].endswith(message)
    assert contents(tmp_path) == before


def test_a_table_that_is_a_link_to_nowhere_is_lost(tmp_path):
    folder = tmp_path / "train"
    trials = []
    for key, label, attack in (("utt1", "bonafide", "-"), ("utt2", "spoof", "A01")):
        sf.write(tmp_path / f"{key}.wav", tone(1, RATE), RATE)
        trials.append(Trial(key, str(tmp_path / f"{key}.wav"), label, "spk1", attack))
    write_data_dirs(tmp_path, {"train": trials})
    (folder / "utt2attack").unlink()
    check_data_dirs([folder])
    (folder / "utt2attack").symlink_to("nowhere")
    with pytest.raises(InputError, match="utt2attack: No such file"):
        check_data_dirs([folder])
