"""Published corpora, each a hand-made miniature in its layout, to data directories.

``published/<corpus>.yaml`` has the cases of ``egs/<corpus>``: options of its preparation, tables
and names of audio files as they are published, and the files of data directories by hand.
"""

import runpy
import subprocess
from pathlib import Path

import pytest
import soundfile as sf
import yaml
from commands import ROOT, run_script
from corpora import RATE, tone

from wedefense_lite.audio.data_dir import Counts, Trial, write_data_dirs
from wedefense_lite.audio.published import find_audio, read_csv
from wedefense_lite.files import InputError

FILES = sorted((ROOT / "tests/unit/published").glob("*.yaml"))
CASES = {}
for file in FILES:
    for name, case in yaml.safe_load(file.read_text()).items():
        CASES[f"{file.stem} {name}"] = case | {"recipe": file.stem}
SPOOFS_ONLY = [name for name, case in CASES.items() if case.get("spoofs_only")]


def write_corpus(folder, case, more_audio=()):
    for name, text in case.get("tables", {}).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    for number, name in enumerate([*case["audio"], *more_audio]):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        sf.write(folder / name, tone(number, 800 + number), case.get("rate", RATE))


def prepare(folder, case, *more):
    words = case["options"].split()
    if case.get("has_counts", True) and "--expect_counts" not in more:
        words += ["--expect_counts", "false"]
    return run_script(folder, f"egs/{case['recipe']}/local/prepare_data.py", *words, *more)


@pytest.mark.parametrize("name", CASES)
def test_a_corpus_as_published_becomes_data_directories(tmp_path, name):
    case = CASES[name]
    write_corpus(tmp_path, case)
    status, said = prepare(tmp_path, case)
    assert status == 0, said
    for folder, tables in case["expected"].items():
        for file, text in tables.items():
            rows = (tmp_path / folder / file).read_text().replace("\t", " ")
            assert rows == text, f"{folder}/{file}"
        for line in (tmp_path / folder / "wav.scp").read_text().splitlines():
            assert (tmp_path / line.partition(" ")[2]).is_file()
    written = {str(path.parent.relative_to(tmp_path)) for path in tmp_path.glob("data/*/utt2lab")}
    assert written == set(case["expected"])
    folders = [tmp_path / folder for folder in case["expected"]]
    assert run_script(tmp_path, "tools/validate_data_dir.py", *folders) == (0, "")


@pytest.mark.parametrize("name", SPOOFS_ONLY)
def test_spoofed_speech_alone_is_never_bona_fide(tmp_path, name):
    """Neither are recordings that somebody put beside it."""
    case = CASES[name]
    write_corpus(tmp_path, case, case["beside"])
    status, said = prepare(tmp_path, case)
    if status:
        assert (status, case["refusal"] in said) == (2, True)
        return
    for folder, tables in case["expected"].items():
        labels = (tmp_path / folder / "utt2lab").read_text()
        assert labels == tables["utt2lab"]
        assert {line.split()[1] for line in labels.splitlines()} == {"spoof"}


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if "counts" in case])
def test_published_counts_are_expected(tmp_path, name):
    case = CASES[name]
    write_corpus(tmp_path, case)
    status, said = prepare(tmp_path, case, "--expect_counts", "true")
    assert status == 2 and "--expect_counts false accepts a part" in said
    module = runpy.run_path(str(ROOT / f"egs/{case['recipe']}/local/prepare_data.py"))
    totals = {}
    for key, count in _leaves(module["COUNTS"]):
        totals[key] = sum(count) if isinstance(count, Counts) else count
    assert totals == case["counts"]


def test_the_table_of_corpora_has_every_recipe():
    text = (ROOT / "egs/README.md").read_text()
    recipes = sorted(path.parent.name for path in ROOT.glob("egs/*/README.md"))
    assert [name for name in recipes if f"| [{name}]({name})" not in text] == []


def _leaves(counts, begin=""):
    for key, value in counts.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{begin}{key} ")
        else:
            yield f"{begin}{key}", value


def test_every_corpus_refuses_a_folder_that_is_not_there(tmp_path):
    for case in CASES.values():
        status, said = prepare(tmp_path, case)
        assert status == 2 and "Traceback" not in said
        assert "no audio file" in said or "No such file" in said
    assert not (tmp_path / "data").exists()


def test_columns_of_a_table_are_taken_by_their_names(tmp_path):
    path = tmp_path / "meta.csv"
    path.write_text('language,file,label\nen,"a,b.wav",Real\nde,c.wav,Fake\n')
    rows = read_csv(path, {"file": "key", "label": "label"})
    assert rows == [
        (f"{path}:2", {"key": "a,b.wav", "label": "Real"}),
        (f"{path}:3", {"key": "c.wav", "label": "Fake"}),
    ]
    path.write_text("file,labels\na.wav,real\n")
    with pytest.raises(InputError, match="meta.csv:1: 'file,labels', expected file,label below"):
        read_csv(path, {"file": "key", "label": "label"})


def test_audio_is_found_by_its_extension_and_hidden_files_are_left_out(tmp_path):
    for name in ("b/x.MP3", "a/x.flac", "a/._x.flac", ".trash/x.wav", "a/readme.txt", "x.wav"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert find_audio(tmp_path, "*/*") == ["a/x.flac", "b/x.MP3"]
    with pytest.raises(InputError, match="no audio file c/"):
        find_audio(tmp_path, "c/*")


@pytest.mark.parametrize("published", [3, Counts(0, 3), Counts(1, 1)])
def test_other_numbers_than_published_are_refused(tmp_path, published):
    sf.write(tmp_path / "a.wav", tone(0, 800), RATE)
    trials = [Trial(key, str(tmp_path / "a.wav"), "spoof", "s", "A01") for key in "ab"]
    with pytest.raises(InputError, match="published; --expect_counts false"):
        write_data_dirs(tmp_path, {"set": trials}, {"set": published})
    for right in (2, Counts(0, 2)):
        write_data_dirs(tmp_path, {"set": trials}, {"set": right})
    assert Path(tmp_path, "set/utt2lab").read_text() == "a spoof\nb spoof\n"


def train_corpus(*words):
    command = ["bash", ROOT / "tools/train_corpus.sh", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_a_corpus_with_a_split_is_trained_on_by_one_command(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_corpus(tmp_path, CASES["decro all_english"])
    words = ["--corpus", "decro", "--corpus_dir", "DB", "--data_dir", "data", "--exp_dir", "exp"]
    more = ["--prepare_options", "--language en --expect_counts false", "--stop_stage", "1"]
    process = train_corpus(*words, *more)
    assert process.returncode == 0, process.stderr
    assert "== stage 1: prepare data" in process.stdout
    for name, tables in CASES["decro all_english"]["expected"].items():
        assert (tmp_path / name / "utt2lab").read_text() == tables["utt2lab"]


@pytest.mark.parametrize("corpus", ["mlaad", "../egs/decro/../mlaad", "no_such", ""])
def test_a_corpus_without_a_split_is_not_trained_on(tmp_path, corpus):
    process = train_corpus("--corpus", corpus, "--corpus_dir", tmp_path)
    assert process.returncode == 2
    (line,) = process.stderr.splitlines()
    assert "--corpus is a folder of egs whose preparation has --subset all" in line


@pytest.mark.parametrize(
    ("spoof", "message"),
    [
        ("real/fake", "more than once: real%2Ffake%2F1"),
        ("/DB/fake", "/DB/fake: expected the name of a folder below DB"),
        ("../fake", "DB: no audio file ../fake/"),
        ("fake", "DB: no audio file fake/**/*, expected the folder as published"),
    ],
)
def test_folders_that_can_not_be_labels_are_refused(tmp_path, spoof, message):
    write_corpus(tmp_path, {"audio": ["DB/real/fake/1.wav", "fake/2.wav"]})
    words = ["--corpus_dir", "DB", "--name", "mine", "--bonafide", "real", "--spoof", spoof]
    status, said = run_script(tmp_path, "egs/folders/local/prepare_data.py", *words)
    assert status == 2 and message in said


def numbers_of(count):
    return f"{count:,}" if isinstance(count, int) else f"{count.bonafide:,} / {count.spoof:,}"


@pytest.mark.parametrize("recipe", sorted({case["recipe"] for case in CASES.values()}))
def test_the_table_of_corpora_has_each_with_its_counts(recipe):
    lines = (ROOT / "egs/README.md").read_text().splitlines()
    rows = " ".join(line for line in lines if line.startswith(f"| [{recipe}]({recipe})"))
    assert rows.count(" | ") >= 6
    counts = runpy.run_path(str(ROOT / f"egs/{recipe}/local/prepare_data.py")).get("COUNTS", {})
    for name, count in _leaves(counts):
        assert numbers_of(count) in rows, name
