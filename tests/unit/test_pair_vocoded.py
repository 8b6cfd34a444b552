"""Pairs of the published vocoded data and of the bona fide speech that it copies."""

import commands
import pair_vocoded
import pytest

from wedefense_lite.files import read_table

PROTOCOL = """\
LA_0079 hifigan_LA_T_1000137 - hifigan spoof
LA_0079 hifigan_LA_T_1000138 - hifigan spoof
LA_0079 hn-sinc-nsf-hifi_LA_T_1000137 - hn-sinc-nsf-hifi spoof
LA_0069 waveglow_LA_D_1000265 - waveglow spoof
"""
REAL = {"LA_T_1000137": "train", "LA_T_1000138": "train", "LA_D_1000265": "dev"}


@pytest.fixture
def layout(tmp_path):
    """A folder with voc.v4/ and LA/, whose files nobody reads."""
    (tmp_path / "voc.v4/wav").mkdir(parents=True)
    (tmp_path / "voc.v4/protocol.txt").write_text(PROTOCOL)
    for line in PROTOCOL.splitlines():
        (tmp_path / f"voc.v4/wav/{line.split()[1]}.wav").touch()
    for key, name in REAL.items():
        flac = tmp_path / f"LA/ASVspoof2019_LA_{name}/flac/{key}.flac"
        flac.parent.mkdir(parents=True, exist_ok=True)
        flac.touch()
    return tmp_path


def words(layout):
    return (
        *("--vocoded_dir", layout / "voc.v4", "--corpus_dir", layout),
        *("--out_dir", layout / "pairs"),
    )


def test_a_copy_is_paired_with_the_original_that_its_name_ends_with(monkeypatch, capsys, layout):
    commands.run(monkeypatch, pair_vocoded.pair_vocoded, *words(layout))
    fake2real = read_table(layout / "pairs/fake2real")
    assert fake2real == {
        "hifigan_LA_T_1000137": "LA_T_1000137",
        "hifigan_LA_T_1000138": "LA_T_1000138",
        "hn-sinc-nsf-hifi_LA_T_1000137": "LA_T_1000137",
        "waveglow_LA_D_1000265": "LA_D_1000265",
    }
    wavs = read_table(layout / "pairs/wav.scp")
    assert set(wavs) == set(fake2real) | set(REAL)
    assert wavs["LA_D_1000265"] == str(layout / "LA/ASVspoof2019_LA_dev/flac/LA_D_1000265.flac")
    assert wavs["hifigan_LA_T_1000138"] == str(layout / "voc.v4/wav/hifigan_LA_T_1000138.wav")
    assert capsys.readouterr().out.splitlines()[0] == "hifigan: 2 pairs"


def test_vocoders_and_their_numbers_are_chosen(monkeypatch, layout):
    options = ("--vocoders", "hifigan,waveglow", "--num_per_vocoder", 1)
    commands.run(monkeypatch, pair_vocoded.pair_vocoded, *words(layout), *options)
    assert list(read_table(layout / "pairs/fake2real")) == [
        "hifigan_LA_T_1000137",
        "waveglow_LA_D_1000265",
    ]


def test_a_layout_that_lacks_something_is_refused_by_its_name(monkeypatch, capsys, layout):
    def error(*more):
        function = pair_vocoded.pair_vocoded
        return commands.refused(monkeypatch, capsys, function, *words(layout), *more)

    line = error("--vocoders", "world")
    assert "'world': not in" in line
    assert "expected hifigan, hn-sinc-nsf-hifi, waveglow" in line
    (layout / "LA/ASVspoof2019_LA_dev/flac/LA_D_1000265.flac").unlink()
    assert "expected the audio of LA_D_1000265" in error()
    (layout / "voc.v4/protocol.txt").write_text("LA_0079 hifigan_1 - hifigan spoof\n")
    assert "hifigan_1, expected the id of an original" in error()
    assert not (layout / "pairs").exists()
