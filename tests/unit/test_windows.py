"""Stages 4 to 6 on all windows of an utterance: a row each, and one score of their LLRs."""

import subprocess

import numpy as np
import pytest
import soundfile as sf
import tiny
import torch
from commands import ROOT
from make_shard_list import make_shard_list

from wedefense_lite.audio.utterance import Utterance
from wedefense_lite.bin.extract import extract
from wedefense_lite.bin.infer import infer
from wedefense_lite.bin.logits_to_llr import logits_to_llr
from wedefense_lite.files import InputError, read_json, write_table
from wedefense_lite.scoring.archives import read_archive
from wedefense_lite.scoring.llr import llr_from_logits
from wedefense_lite.scoring.recordings import by_recording, window_rows
from wedefense_lite.scoring.scores import read_scores
from wedefense_lite.scoring.sidecar import read_sidecar

SECONDS = 0.125
SIZE = round(SECONDS * tiny.RATE)
MERGES = {"mean": np.mean, "min": np.min, "lowest2": lambda llr: np.sort(llr)[:2].mean()}


class System:
    """A trained tiny system of windows, and its stages."""

    def __init__(self, folder):
        self.folder = folder
        self.rows = tiny.corpus(folder / "eval", 4)
        sf.write(folder / "eval/short.wav", 0.1 * np.sin(np.arange(900)), tiny.RATE)
        self.rows.append(Utterance("short", str(folder / "eval/short.wav"), 0, 0, 900, "spoof"))
        self.list, self.labels = tiny.write_lists(folder, self.rows)
        self.exp = tiny.parsed(folder / "exp", data={"eval_seconds": SECONDS}, num_epochs=1)
        self.config = folder / "exp/config.yaml"
        self.model = folder / "exp/models/model_1.pt"
        self.config.write_text(self.exp.text)
        tiny.trainer(self.exp, folder / "exp", self.rows).fit()
        self.exp.system.eval()
        for windows in ("first", "all"):
            self.stages_4_and_5(windows)

    def stages_4_and_5(self, windows: str, **options):
        folder = self.folder / windows
        options = {"data_list": self.list, "data_type": "raw", "windows": windows} | options
        ark = str(folder / "e.ark")
        extract(str(self.config), str(self.model), embed_ark=ark, **options)
        infer(str(self.model), str(self.config), str(folder / "e.scp"), str(folder))

    def logits(self, windows: str) -> str:
        return str(self.folder / windows / "logits.scp")

    def scores(self, windows: str, **options) -> dict[str, float]:
        logits_to_llr(self.logits(windows), 0.05, **options)
        rows = read_scores(self.folder / windows / "llr.txt")
        return {name: score for name, (score,) in rows.items()}

    @torch.no_grad()
    def llr_by_hand(self, row: Utterance) -> list[float]:
        """LLR of each window, cut out of the samples of a file."""
        wav, _ = sf.read(row.path, dtype="float32")
        starts = list(range(0, max(len(wav) - SIZE, 1), SIZE))
        if len(wav) > SIZE:
            starts.append(len(wav) - SIZE)
        prior = read_sidecar(self.folder / "all/logits.ark").class_prior
        llrs = []
        for number, start in enumerate(starts):
            path = self.folder / f"{row.key}_{number}.wav"
            sf.write(path, wav[start : start + SIZE], tiny.RATE)
            piece = Utterance("w", str(path), 0, 0, len(wav[start : start + SIZE]))
            (batch,) = tiny.EvalLoader([piece], self.exp.data)
            logits = self.exp.system.logits(batch.to("cpu"))[0].numpy()
            llrs.append(float(llr_from_logits(logits, prior)))
        return llrs


@pytest.fixture(scope="module")
def system(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE"):
            patch.delenv(name, raising=False)
        yield System(tmp_path_factory.mktemp("windows"))


@pytest.mark.parametrize(
    ("option", "words"),
    [("--windows many", "--windows is first or all"), ("--merge max", "--merge is mean, min, or")],
)
def test_recipes_refuse_what_is_none_before_their_stages(tmp_path, option, words):
    for name in ("config.yaml", "models/best_model.pt", "set/wav.scp"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    command = [
        "bash",
        ROOT / "tools/score.sh",
        "--exp_dir",
        tmp_path,
        "--data_dir",
        tmp_path / "set",
    ]
    result = subprocess.run(
        [*command, *option.split()], capture_output=True, text=True, check=False
    )
    assert result.returncode == 2
    assert words in result.stderr


@pytest.mark.parametrize("merge", MERGES)
def test_the_score_of_an_utterance_is_that_of_its_windows(system, merge):
    scores = system.scores("all", merge=merge)
    assert list(scores) == [row.key for row in system.rows]
    for row in system.rows:
        by_hand = np.array(system.llr_by_hand(row))
        assert len(by_hand) == (1 if row.key == "short" else 3)
        assert scores[row.key] == pytest.approx(MERGES[merge](by_hand), abs=1e-4)
    assert read_json(system.folder / "all/calibration.json")["merge"] == merge


def test_scores_of_windows_are_kept_with_their_times(system):
    system.scores("all")
    lines = (system.folder / "all/window_llr.txt").read_text().splitlines()
    row = system.rows[1]
    rows = [line.split() for line in lines if line.startswith(f"{row.key} ")]
    last = (row.samples - SIZE) / tiny.RATE
    assert [float(start) for _, start, _, _ in rows] == pytest.approx([0, SECONDS, last], abs=1e-6)
    assert {float(seconds) for _, _, seconds, _ in rows} == {SECONDS}
    assert [float(llr) for *_, llr in rows] == pytest.approx(system.llr_by_hand(row), abs=1e-4)


def test_the_first_window_is_scored_as_ever(system):
    scores = system.scores("first")
    assert read_sidecar(system.folder / "first/logits.ark").window_seconds is None
    for row in system.rows:
        assert scores[row.key] == pytest.approx(system.llr_by_hand(row)[0], abs=1e-4)
    assert not (system.folder / "first/window_llr.txt").exists()


def test_windows_are_calibrated_on_windows_alone(system):
    with pytest.raises(InputError, match="window_seconds is None, expected 0.125"):
        system.scores("all", cal_logits_scp_path=system.logits("first"), cal_label=system.labels)
    with pytest.raises(InputError, match="--merge|merge 'max', expected mean, min"):
        system.scores("all", merge="max")


def test_streams_have_no_windows(system):
    folder = system.folder
    write_table(folder / "wav.scp", {row.key: row.path for row in system.rows})
    shards = folder / "shard.list"
    make_shard_list(str(folder / "wav.scp"), system.labels, str(folder / "shards"), str(shards))
    streamed = [f"file:{path}" for path in shards.read_text().split()]
    (folder / "stream.list").write_text("\n".join(streamed) + "\n")
    with pytest.raises(InputError, match="stream.list: lengths that are unknown before reading"):
        system.stages_4_and_5("all", data_list=str(folder / "stream.list"), data_type="shard")
    system.stages_4_and_5("all", data_list=str(shards), data_type="shard")


def test_ids_with_the_mark_of_windows_stay_apart():
    rows = [Utterance("a", "a.wav", samples=8000, rate=8000), Utterance("a#1", "b.wav", samples=9)]
    windows = window_rows(rows, 10000, 16000)
    assert [(row.key, row.first) for row in windows] == [
        ("a#0.000000", 0),
        ("a#0.375000", 6000),
        ("a#1#0.000000", 0),
    ]
    recordings = by_recording({row.key: 1.0 for row in windows})
    assert {name: list(scores) for name, scores in recordings.items()} == {
        "a": ["0.000000", "0.375000"],
        "a#1": ["0.000000"],
    }


def test_every_window_is_in_the_archive_once(system):
    keys = list(read_archive(system.folder / "all/e.scp"))
    assert len(keys) == len(set(keys)) == 3 * 4 + 1
