"""Ids of published names: the rule, its way back, and names that no id is made of."""

import pytest
import soundfile as sf
from commands import run_script
from corpora import RATE, tone

from wedefense_lite.audio.ids import make_id, name_of_id
from wedefense_lite.audio.index import check_keys


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("LA_E_1000147", "LA_E_1000147"),
        ("ADD_T_00000000.wav", "ADD_T_00000000"),
        ("./fake/en/tts models/LJ001-0001.WAV", "fake%2Fen%2Ftts%20models%2FLJ001-0001"),
        ("a.b/100%.mp3", "a%2Eb%2F100%25"),
        ("v1.2", "v1%2E2"),
        ("x.wav.flac", "x%2Ewav"),
        ("naïve\u00a0é.wav", "naïve%C2%A0é"),
        ("filename", "%66ilename"),
    ],
)
def test_the_rule_of_ids_and_its_way_back(name, key):
    assert make_id(name) == key
    check_keys("here", [key])
    stem = name.removeprefix("./")
    for extension in (".wav", ".WAV", ".mp3", ".flac"):
        if stem.endswith(extension):
            stem = stem.removesuffix(extension)
            break
    assert name_of_id(key) == stem


def test_names_that_differ_have_ids_that_differ():
    names = ["a/b", "a%2Fb", "a b", "a.b", "ab", "a%b", "a_b", "a%252Fb"]
    assert len({make_id(name) for name in names}) == len(names)


@pytest.mark.parametrize("name", ["", ".wav", "./", "a/", "a/.wav", "/etc/x", "../x", "a/../../x"])
def test_a_name_that_leads_out_of_the_corpus_or_is_none_is_refused(name):
    with pytest.raises(ValueError, match="expected"):
        make_id(name)


def test_preparation_makes_ids_and_keeps_the_names(tmp_path):
    names = ["fake/en/a model/1.wav", "original/en.v2/1.wav"]
    for number, name in enumerate(names):
        (tmp_path / "DB" / name).parent.mkdir(parents=True)
        sf.write(tmp_path / "DB" / name, tone(number, 800), RATE)
    (tmp_path / "DB/meta.csv").write_text(
        f"file,speaker,label\n{names[0]},A B,fake\n{names[1]},C,real\n"
    )
    words = "--corpus_dir DB --expect_counts false".split()
    status, said = run_script(tmp_path, "egs/in_the_wild/local/prepare_data.py", *words)
    assert status == 0, said
    folder = tmp_path / "data/in_the_wild"
    keys = ["fake%2Fen%2Fa%20model%2F1", "original%2Fen%2Ev2%2F1"]
    rows = [f"{key} {name}\n" for key, name in zip(keys, names)]
    assert (folder / "utt2orig").read_text() == "".join(rows)
    wavs = [f"{key} {tmp_path}/DB/{name}\n" for key, name in zip(keys, names)]
    assert (folder / "wav.scp").read_text() == "".join(wavs)
    assert run_script(tmp_path, "tools/validate_data_dir.py", folder) == (0, "")
    (folder / "utt2orig").write_text(rows[0])
    status, said = run_script(tmp_path, "tools/validate_data_dir.py", folder)
    assert status == 2
    assert "utt2orig: 1 utterances are not in both lists" in said
