"""LlamaPartialSpoof, HAD and PartialEdit in the layouts they are published in, in miniature."""

import pytest
import soundfile as sf
from commands import run_script
from conftest import typist
from corpora import RATE, tone

from wedefense_lite.audio.data_dir import check_data_dir
from wedefense_lite.files import write_lines


def speech(path, seconds, rate=RATE):
    path.parent.mkdir(parents=True, exist_ok=True)
    sf.write(path, tone(1, round(seconds * rate)), rate)


def rttm(folder):
    """Utterance, start, duration and label of each line."""
    rows = [line.split() for line in (folder / "segments.rttm").read_text().splitlines()]
    return [(row[1], float(row[3]), float(row[4]), row[7]) for row in rows]


def publish_llama(corpus):
    """Two speakers of train, of whom one becomes dev, and one of test; 24 kHz, as LibriTTS."""
    lines = {"a": [], "b": []}
    for speaker in ("174", "8297", "61"):
        keys = {
            "a": [
                (f"dev-clean_{speaker}_1_000001_000000", "bonafide 0.0000-0.5000-bonafide"),
                (f"dev01-xtts-full_{speaker}_1_000001_000000", "spoof 0.0000-0.5000-spoof"),
                (
                    f"dev01-xtts-partial-cf_{speaker}_1_000001_000000",
                    "spoof 0.0000-0.2000-bonafide 0.2000-0.4000-spoof 0.4000-0.5000-bonafide",
                ),
            ],
            "b": [
                (
                    f"dev01-xtts-partial-cp_{speaker}_1_000001_000000",
                    "spoof 0.0000-0.2500-bonafide 0.2500-0.5000-spoof",
                )
            ],
        }
        for part, rows in keys.items():
            for key, labels in rows:
                speech(corpus / f"R01TTS.0.{part}" / f"{key}.wav", 0.5, 24000)
                lines[part].append(f"{key} 0.5000 {labels}")
    for part, rows in lines.items():
        write_lines(corpus / f"label_R01TTS.0.{part}.txt", rows)
    write_lines(corpus / "split/train.spk", ["174", "8297"])
    write_lines(corpus / "split/test.spk", ["61"])


def test_llamapartialspoof_is_split_by_speaker(tmp_path):
    publish_llama(tmp_path / "DB")
    typed = typist(tmp_path)
    command = "bash egs/llamapartialspoof/run.sh --corpus_dir DB --stop_stage 1 --data_dir data"
    said = typed([*command.split(), "--dev_speakers", "8297"], status=2)
    assert (
        "R01TTS.0.a: {'bonafide': 3, 'spoof': 6} listed, {'bonafide': 10573, 'spoof': 65655}"
        in said
    )
    typed([*command.split(), "--dev_speakers", "8297", "--expect_counts", "false"])
    for name, speaker in (("train", "174"), ("dev", "8297"), ("eval", "61")):
        tables = check_data_dir(tmp_path / "data" / name)
        assert set(tables["utt2spk"].values()) == {speaker}
        bonafide, full, partial = tables["utt2lab"]
        assert tables["utt2lab"] == {bonafide: "bonafide", full: "spoof", partial: "spoof"}
        assert list(tables["utt2attack"].values()) == [
            "-",
            "dev01-xtts-full",
            "dev01-xtts-partial-cf",
        ]
        assert rttm(tmp_path / "data" / name)[2:] == [
            (partial, 0.0, 0.2, "bonafide"),
            (partial, 0.2, 0.2, "spoof"),
            (partial, 0.4, 0.1, "bonafide"),
        ]
    words = "--corpus_dir DB --dev_speakers 8297 --expect_counts false --parts ab".split()
    script = "egs/llamapartialspoof/local/prepare_data.py"
    assert run_script(tmp_path, script, *words)[0] == 0
    assert len(check_data_dir(tmp_path / "data/train")["utt2lab"]) == 4


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"split/train.spk": ["174"]}, "--dev_speakers: 8297 is not in DB/split/train.spk"),
        ({"split/test.spk": ["99"]}, "3 utterances have speakers of neither list: dev-clean_61_1"),
        (
            {"label_R01TTS.0.a.txt": ["x_174_1 0.5 spoof 0.0-0.5-bonafide"]},
            "label_R01TTS.0.a.txt:1: x_174_1 is spoof as a whole, but not by its segments",
        ),
        (
            {
                "label_R01TTS.0.a.txt": [
                    "dev-clean_174_1_000001_000000 0.9 bonafide 0.0-0.9-bonafide"
                ]
            },
            "1 utterances disagree: dev-clean_174_1_000001_000000 ends at 0.9 s, its audio at 0.5 s",
        ),
    ],
)
def test_llamapartialspoof_that_disagrees_with_itself_is_named(tmp_path, change, message):
    publish_llama(tmp_path / "DB")
    for name, lines in change.items():
        write_lines(tmp_path / "DB" / name, lines)
    words = "--corpus_dir DB --dev_speakers 8297 --expect_counts false".split()
    status, said = run_script(tmp_path, "egs/llamapartialspoof/local/prepare_data.py", *words)
    assert status == 2 and message in said
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("folder", ["{set}/conbine", "conbine", "{set}"])
def test_had_is_found_in_each_form_of_its_archives(tmp_path, folder):
    for name in ("train", "dev", "test"):
        corpus = tmp_path / f"DB/HAD_{name}"
        lines = []
        for kind, labels in (
            ("fake", "0.00-0.20-T/0.20-0.35-F/0.35-0.51-T 0"),
            ("real", "0.00-0.51-T 1"),
        ):
            key = f"HAD_{name}_{kind}_00000001"
            speech(corpus / folder.format(set=name) / f"{key}.wav", 0.506)
            lines.append(f"{key} {labels}")
        write_lines(corpus / f"HAD_{name}_label.txt", lines)
    status, said = run_script(tmp_path, "egs/had/local/prepare_data.py", "--corpus_dir", "DB")
    assert status == 0, said
    sets = [tmp_path / "data" / name for name in ("train", "dev", "eval")]
    assert run_script(tmp_path, "tools/validate_data_dir.py", *sets)[0] == 0
    fake, real = check_data_dir(tmp_path / "data/eval")["utt2lab"].items()
    assert fake == ("HAD_test_fake_00000001", "spoof")
    assert real == ("HAD_test_real_00000001", "bonafide")
    # The published end is rounded; that of the audio is true.
    assert rttm(tmp_path / "data/eval") == [
        (fake[0], 0.0, 0.2, "bonafide"),
        (fake[0], 0.2, 0.15, "spoof"),
        (fake[0], 0.35, 0.156, "bonafide"),
        (real[0], 0.0, 0.506, "bonafide"),
    ]


def publish_partialedit(corpus, lines):
    write_lines(corpus / "PartialEdit_E1E2.csv", lines)
    speech(corpus / "E1/p225/p225_001_edited.wav", 1.0)
    speech(corpus / "E2/p226/p226_002_edited.wav", 1.0)


def test_partialedit_is_spoofed_where_it_was_edited(tmp_path):
    lines = [
        "E1/p225/p225_001_edited.wav,0.2,0.4,1.0",
        "E2/p226/p226_002_edited.wav,0.0,0.1,0.5,0.6,1.0",
    ]
    publish_partialedit(tmp_path / "DB", lines)
    script = "egs/partialedit/local/prepare_data.py"
    status, said = run_script(tmp_path, script, "--corpus_dir", "DB")
    assert status == 2 and "'spoof': 42471} published" in said
    status, said = run_script(tmp_path, script, "--corpus_dir", "DB", "--expect_counts", "false")
    assert status == 0, said
    one, two = (tmp_path / f"data/partialedit_{subset}" for subset in ("E1", "E2"))
    assert run_script(tmp_path, "tools/validate_data_dir.py", one, two)[0] == 0
    # Nothing of it can come out as bona fide.
    key = "E1%2Fp225%2Fp225_001_edited"
    assert (one / "utt2lab").read_text() == f"{key} spoof\n"
    assert (one / "utt2orig").read_text() == f"{key} E1/p225/p225_001_edited.wav\n"
    assert (two / "utt2spk").read_text().split()[1] == "p226"
    assert rttm(one) == [
        (key, 0.0, 0.2, "bonafide"),
        (key, 0.2, 0.2, "spoof"),
        (key, 0.4, 0.6, "bonafide"),
    ]
    assert [row[3] for row in rttm(two)] == ["spoof", "bonafide", "spoof", "bonafide"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("E1/p225/p225_001_edited.wav,0.4,0.2,1.0", "part 0.4-0.2 s, expected one within 0-1 s"),
        ("E1/p225/p225_001_edited.wav,0.2,1.2,1.0", "part 0.2-1.2 s, expected one within 0-1 s"),
        ("E1/p225/p225_001_edited.wav,0.2,1.0", "expected name,start,end,...,duration"),
        ("E1/p225/p225_001_edited.wav,0.2,x,1.0", "p225_001_edited.wav has"),
        ("E1/../../x.wav,0.2,0.4,1.0", "expected a path below"),
    ],
)
def test_partialedit_with_times_that_are_none_is_named(tmp_path, line, message):
    publish_partialedit(tmp_path / "DB", [line])
    words = "--corpus_dir DB --expect_counts false".split()
    status, said = run_script(tmp_path, "egs/partialedit/local/prepare_data.py", *words)
    assert status == 2 and "PartialEdit_E1E2.csv:1: " in said and message in said
