"""Corpora in their published formats, a few lines by hand each, to data directories."""

import inspect
import re
import runpy

import pytest
import soundfile as sf
from commands import ROOT, run_script
from corpora import RATE, tone

from wedefense_lite.audio.index import read_wavs
from wedefense_lite.files import read_table

# Recipe, its options, the protocol, its lines, the audio of each, and the data directory.
CASES = {
    "asvspoof2019_la": (
        "--access PA",
        "DB/PA/ASVspoof2019_PA_cm_protocols/ASVspoof2019.PA.cm.eval.trl.txt",
        ["PA_0079 PA_E_0000001 aaa - bonafide", "PA_0095 PA_E_0005731 aac AB spoof"],
        "DB/PA/ASVspoof2019_PA_eval/flac/{}.flac",
        "eval",
    ),
    "asvspoof2017_v2": (
        "",
        "DB/protocol_V2/ASVspoof2017_V2_eval.trl.txt",
        ["E_1000001.wav genuine M0017 S02 - - -", "E_1000002.wav spoof M0022 S05 E01 P02 R04"],
        "DB/ASVspoof2017_V2_eval/{}.wav",
        "eval",
    ),
    "asvspoof2021 LA": (
        "--task LA --phase eval",
        "DB/keys/LA/CM/trial_metadata.txt",
        [
            "LA_0009 LA_E_9332881 alaw ita_tx A07 spoof notrim eval",
            "LA_0020 LA_E_1000005 none loc_tx - bonafide notrim eval",
            "LA_0009 LA_E_8589971 alaw loc_tx A07 spoof notrim progress",
        ],
        "DB/ASVspoof2021_LA_eval/flac/{}.flac",
        "asvspoof2021_la_eval",
    ),
    "asvspoof2021 DF": (
        "--task DF --phase progress",
        "DB/keys/DF/CM/trial_metadata.txt",
        [
            "LA_0023 DF_E_2000011 nocodec asvspoof A14 spoof notrim progress traditional_vocoder - - - -",
            "TEF2 DF_E_2000013 low_m4a vcc2020 - bonafide notrim progress bonafide - - - -",
            "LA_0043 DF_E_2000026 mp3m4a asvspoof A09 spoof notrim hidden traditional_vocoder - - - -",
        ],
        "DB/ASVspoof2021_DF_eval/flac/{}.flac",
        "asvspoof2021_df_progress",
    ),
    "asvspoof5": (
        "--subset eval",
        "DB/ASVspoof5_protocols/ASVspoof5.eval.track_1.tsv",
        [
            "E_1607 E_0009538969 M C05 2 E_0009486171 AC1 A26 spoof -",
            "E_0002 E_0001 F - 0 - - bonafide bonafide -",
        ],
        "DB/flac_E_eval/{}.flac",
        "asvspoof5_eval",
    ),
    "add2022": (
        "--labels DB/label.txt --wav_dir DB/wav --name track1",
        "DB/label.txt",
        ["ADD_T_00000000.wav genuine", "ADD_T_00000001.wav fake"],
        "DB/wav/{}.wav",
        "add2022_track1",
    ),
    "in_the_wild": (
        "",
        "DB/meta.csv",
        ["file,speaker,label", "0.wav,Alec Guinness,spoof", "4.wav,Christopher Hitchens,bona-fide"],
        "DB/{}.wav",
        "in_the_wild",
    ),
}
# Of each case: utt2lab, utt2spk, utt2attack and meta.tsv, by hand.
EXPECTED = {
    "asvspoof2019_la": (
        "PA_E_0000001 bonafide, PA_E_0005731 spoof",
        "PA_E_0000001 PA_0079, PA_E_0005731 PA_0095",
        "PA_E_0000001 -, PA_E_0005731 AB",
        "filename environment, PA_E_0000001 aaa, PA_E_0005731 aac",
    ),
    "asvspoof2017_v2": (
        "E_1000001 bonafide, E_1000002 spoof",
        "E_1000001 M0017, E_1000002 M0022",
        "E_1000001 -, E_1000002 replay",
        "filename phrase environment playback recording, E_1000001 S02 - - -, E_1000002 S05 E01 P02 R04",
    ),
    "asvspoof2021 LA": (
        "LA_E_1000005 bonafide, LA_E_9332881 spoof",
        "LA_E_1000005 LA_0020, LA_E_9332881 LA_0009",
        "LA_E_1000005 -, LA_E_9332881 A07",
        "filename codec transmission trim phase, LA_E_1000005 none loc_tx notrim eval, "
        "LA_E_9332881 alaw ita_tx notrim eval",
    ),
    "asvspoof2021 DF": (
        "DF_E_2000011 spoof, DF_E_2000013 bonafide",
        "DF_E_2000011 LA_0023, DF_E_2000013 TEF2",
        "DF_E_2000011 A14, DF_E_2000013 -",
        "filename codec source trim phase vocoder, DF_E_2000011 nocodec asvspoof notrim progress "
        "traditional_vocoder, DF_E_2000013 low_m4a vcc2020 notrim progress bonafide",
    ),
    "asvspoof5": (
        "E_0001 bonafide, E_0009538969 spoof",
        "E_0001 E_0002, E_0009538969 E_1607",
        "E_0001 -, E_0009538969 A26",
        "filename gender codec codec_q codec_seed attack_tag, E_0001 F - 0 - -, E_0009538969 M C05 2 E_0009486171 AC1",
    ),
    "add2022": (
        "ADD_T_00000000 bonafide, ADD_T_00000001 spoof",
        "ADD_T_00000000 unknown, ADD_T_00000001 unknown",
        "ADD_T_00000000 -, ADD_T_00000001 unknown",
        None,
    ),
    "in_the_wild": (
        "0 spoof, 4 bonafide",
        "0 Alec_Guinness, 4 Christopher_Hitchens",
        "0 unknown, 4 -",
        None,
    ),
}
# The other sets of a corpus to train on: letter of their ids, ending of their protocols.
OTHERS = {"train": ("T_", "train.trn"), "dev": ("D_", "dev.trl")}


def write_corpus(folder, case, lines=None):
    """The protocol of a case, its audio, and for a corpus to train on the other two sets."""
    _, protocol, written, audio, name = CASES[case]
    write_set(folder, protocol, lines or written, [audio.format(key) for key in utterances(case)])
    for other, (letter, ending) in OTHERS.items() if name == "eval" else ():
        renamed = [line.replace("E_", letter) for line in written]
        keys = [key.replace("E_", letter) for key in utterances(case)]
        wavs = [audio.replace("eval", other).format(key) for key in keys]
        write_set(folder, protocol.replace("eval.trl", ending), renamed, wavs)


def write_set(folder, protocol, lines, wavs):
    for path in (folder / protocol, folder / wavs[0]):
        path.parent.mkdir(parents=True, exist_ok=True)
    (folder / protocol).write_text("".join(f"{line}\n" for line in lines))
    for number, wav in enumerate(wavs):
        sf.write(folder / wav, tone(number, 800 + number), RATE)


def utterances(case):
    return [row.split()[0] for row in EXPECTED[case][0].split(", ")]


def prepare(folder, case, *more):
    words = CASES[case][0].split()
    if case != "add2022":
        words += [
            "--corpus_dir",
            "DB",
            *([] if "--expect_counts" in more else ["--expect_counts", "false"]),
        ]
    return run_script(folder, f"egs/{case.split()[0]}/local/prepare_data.py", *words, *more)


@pytest.mark.parametrize("case", CASES)
def test_lines_as_published_become_a_data_directory(tmp_path, case):
    write_corpus(tmp_path, case)
    status, said = prepare(tmp_path, case)
    assert status == 0, said
    folder = tmp_path / "data" / CASES[case][-1]
    found = [(folder / name).read_text() for name in ("utt2lab", "utt2spk", "utt2attack")]
    assert found == [f"{rows}\n".replace(", ", "\n") for rows in EXPECTED[case][:3]]
    meta = folder / "meta.tsv"
    assert (meta.read_text() if meta.exists() else None) == (
        EXPECTED[case][3] and EXPECTED[case][3].replace(", ", "\n").replace(" ", "\t") + "\n"
    )
    wavs = dict(line.split() for line in (folder / "wav.scp").read_text().splitlines())
    audio = {key: CASES[case][3].format(key) for key in utterances(case)}
    assert wavs == {key: str(tmp_path / path) for key, path in audio.items()}
    assert run_script(tmp_path, "tools/validate_data_dir.py", folder) == (0, "")


@pytest.mark.parametrize(
    ("case", "line", "message"),
    [
        (
            "asvspoof2019_la",
            "PA_0079 PA_E_0000009 aaa - genuin",
            ":3: PA_E_0000009 has label 'genuin'",
        ),
        ("asvspoof2017_v2", "E_1000001.wav genuine M0017", ":3: 3 columns, expected 7"),
        (
            "asvspoof2017_v2",
            "E_1000001.wav genuine M0017 S02 - - -",
            "are there more than once: E_1000001",
        ),
        (
            "asvspoof2021 LA",
            "LA_0009 LA_E_1 alaw ita_tx A07 spoof notrim",
            ":4: 7 columns, expected 8",
        ),
        (
            "asvspoof2021 DF",
            "LA_0009 DF_E_1 alaw ita_tx A07 spoof notrim eval",
            ":4: 8 columns, expected 13",
        ),
        ("asvspoof5", "E_1607 E_1 M C05 2 E_2 AC1 A26 A26 -", ":3: E_1 has label 'A26', expected"),
        ("add2022", "ADD_T_00000009.wav maybe", ":3: ADD_T_00000009 has label 'maybe', expected"),
        ("add2022", "../ADD_T_9.wav fake", ":3: name '../ADD_T_9.wav', expected a path below"),
        (
            "in_the_wild",
            "5.wav,Alec Guinness",
            ":4: '5.wav,Alec Guinness', expected file,speaker,label below",
        ),
        ("in_the_wild", "5.wav,Alec Guinness,unknown", ":4: 5 has label 'unknown', expected"),
        (
            "in_the_wild",
            "6.wav,Alec Guinness,spoof",
            "1 of 3 utterances can't be used: 6: DB/6.wav: No such file",
        ),
    ],
)
def test_a_bad_line_is_named_and_nothing_is_written(tmp_path, case, line, message):
    write_corpus(tmp_path, case, [*CASES[case][2], line])
    status, said = prepare(tmp_path, case)
    assert status == 2
    assert message in said.splitlines()[-1] and "Traceback" not in said
    assert not (tmp_path / "data").exists()


def test_a_table_without_its_header_is_refused(tmp_path):
    write_corpus(tmp_path, "in_the_wild", CASES["in_the_wild"][2][1:])
    assert (
        "meta.csv:1: '0.wav,Alec Guinness,spoof', expected" in prepare(tmp_path, "in_the_wild")[1]
    )


@pytest.mark.parametrize("lines", [[""], CASES["in_the_wild"][2][:1]])
def test_a_table_without_a_trial_is_refused(tmp_path, lines):
    write_corpus(tmp_path, "in_the_wild", lines)
    status, said = prepare(tmp_path, "in_the_wild")
    assert status == 2 and "in_the_wild: no utterance is listed" in said
    assert not (tmp_path / "data").exists()


def test_the_three_sets_of_asvspoof5_are_prepared_at_once(tmp_path):
    for name, letter, folder in (
        ("train", "T", "T"),
        ("dev.track_1", "D", "D"),
        ("eval.track_1", "E", "E_eval"),
    ):
        lines = [
            f"{letter}_4850 {letter}_0000000000 F - - - AC3 A05 spoof -",
            f"{letter}_0002 {letter}_0000000001 F - - - - bonafide bonafide -",
        ]
        wavs = [f"DB/flac_{folder}/{line.split()[1]}.flac" for line in lines]
        write_set(tmp_path, f"DB/ASVspoof5.{name}.tsv", lines, wavs)
    words = "--corpus_dir DB --subset all --expect_counts false".split()
    status, said = run_script(tmp_path, "egs/asvspoof5/local/prepare_data.py", *words)
    assert status == 0, said
    for name, letter in (("train", "T"), ("dev", "D"), ("eval", "E")):
        text = (tmp_path / f"data/{name}/utt2lab").read_text()
        assert text == f"{letter}_0000000000 spoof\n{letter}_0000000001 bonafide\n"
    folders = [tmp_path / f"data/{name}" for name in ("train", "dev", "eval")]
    assert run_script(tmp_path, "tools/validate_data_dir.py", *folders) == (0, "")


def test_a_phase_must_be_named_and_have_trials(tmp_path):
    write_corpus(tmp_path, "asvspoof2021 LA")
    script = "egs/asvspoof2021/local/prepare_data.py"
    status, said = run_script(tmp_path, script, "--corpus_dir", "DB", "--task", "LA")
    assert status == 2 and "phase" in said
    status, said = run_script(tmp_path, script, *"--corpus_dir DB --task LA --phase hidden".split())
    assert status == 2 and "trial_metadata.txt: no trial of phase hidden" in said


@pytest.mark.parametrize(
    "case", [case for case in CASES if case not in ("add2022", "asvspoof2021 DF")]
)
def test_published_counts_are_expected(tmp_path, case):
    write_corpus(tmp_path, case)
    status, said = prepare(tmp_path, case, "--expect_counts", "true")
    assert status == 2 and "published; --expect_counts false accepts a part" in said


def test_published_counts_are_those_of_the_publishers():
    scripts = ("asvspoof2019_la", "asvspoof2017_v2", "asvspoof2021", "in_the_wild")
    counts = {}
    for name in scripts:
        counts |= runpy.run_path(str(ROOT / f"egs/{name}/local/prepare_data.py"))["COUNTS"]
    la, pa = counts.pop("LA"), counts.pop("PA")
    totals = {name: sum(of) for name, of in counts.items()}
    asvspoof5 = runpy.run_path(str(ROOT / "egs/asvspoof5/local/prepare_data.py"))["COUNTS"]
    assert [sum(of) for of in asvspoof5.values()] == [182357, 140950, 680774]
    assert [sum(of) for of in la.values()] == [25380, 24844, 71237]
    assert [of.bonafide for of in la.values()] == [2580, 2548, 7355]
    assert [sum(of) for of in pa.values()] == [54000, 29700, 134730]
    assert totals == {
        "train": 3014,
        "dev": 1710,
        "eval": 13306,
        "asvspoof2021_la_eval": 148176,
        "asvspoof2021_df_eval": 533928,
        "in_the_wild": 31779,
    }


@pytest.mark.parametrize("case", CASES)
def test_relative_paths_are_right_where_the_tree_is_moved(tmp_path, monkeypatch, case):
    write_corpus(tmp_path / "here", case)
    status, said = prepare(tmp_path / "here", case, "--relative", "true")
    assert status == 0, said
    (tmp_path / "here").rename(tmp_path / "there")
    # Stages read a set that is scored through a link, from any folder.
    name = CASES[case][-1]
    (tmp_path / "link").symlink_to(tmp_path / "there/data" / name)
    monkeypatch.chdir("/")
    audio = {key: tmp_path / "there" / CASES[case][3].format(key) for key in utterances(case)}
    assert read_wavs(tmp_path / "link/wav.scp") == {key: str(path) for key, path in audio.items()}
    assert read_table(tmp_path / "link/wav.scp").keys() == audio.keys()
    assert not any(wav.startswith("/") for wav in read_table(tmp_path / "link/wav.scp").values())


def test_a_relative_path_without_a_file_there_is_one_from_the_current_folder(tmp_path):
    (tmp_path / "wav.scp").write_text("a gone/a.wav\nb cat x |\n")
    assert read_wavs(tmp_path / "wav.scp") == {"a": "gone/a.wav", "b": "cat x |"}


@pytest.mark.parametrize("script", sorted(ROOT.glob("egs/*/local/prepare_data.py")), ids=str)
def test_every_preparation_passes_on_that_paths_are_relative(script):
    functions = runpy.run_path(str(script), run_name="prepare")
    assert inspect.signature(functions["prepare_data"]).parameters["relative"].default is False
    text = script.read_text()
    calls = re.findall(r"^ +write_(?:data_dirs|sets|segmented_dirs)\(", text, re.MULTILINE)
    assert text.count("relative=relative") == len(calls) > 0
