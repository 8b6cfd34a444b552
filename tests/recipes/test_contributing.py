"""The walks of CONTRIBUTING.md, done as they are written there."""

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
from conftest import RATE, ROOT, typist, utterance

BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.fixture
def copy(tmp_path):
    """A copy of the source tree, because the walks add files."""
    for name in ("conf", "egs", "tools", "wedefense_lite"):
        ignore = shutil.ignore_patterns("corpus", "downloads", "data", "exp", "__pycache__")
        shutil.copytree(ROOT / name, tmp_path / name, ignore=ignore)
    return tmp_path


@pytest.fixture
def corpus(tmp_path_factory):
    """A corpus in the layout of the first walk."""
    folder = tmp_path_factory.mktemp("my_corpus")
    rng = np.random.default_rng(1)
    lines = ["file,speaker,label,set"]
    for number in range(24):
        name = f"utt{number:02d}.wav"
        spoof = number % 2 == 0
        sf.write(folder / name, utterance(rng, spoof), RATE, subtype="PCM_16")
        # Pairs of both classes: twice as many for training as for each of the others.
        subset = ("train", "train", "dev", "eval")[number // 2 % 4]
        label = "fake" if spoof else "real"
        lines.append(f"{name},speaker{number % 5},{label},{subset}")
    (folder / "meta.csv").write_text("\n".join(lines) + "\n")
    return folder


@pytest.mark.turns("recipes")
def test_the_walks_work_as_written(copy, corpus):
    typed = typist(copy)
    outputs = []
    for language, text in BLOCK.findall((ROOT / "CONTRIBUTING.md").read_text()):
        first_line, _, content = text.partition("\n")
        if first_line.startswith("# file: "):
            path = copy / first_line.removeprefix("# file: ")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)
        elif language == "sh":
            command = ["bash", "-ec", text]
            outputs.append(typed(command, CORPUS=str(corpus), PYTHONPATH=str(copy)))
    assert len(outputs) == 4
    experiments = {path.parent.name for path in Path(copy).glob("egs/my_corpus/exp/*/report.html")}
    assert experiments == {"mean_net", "smoothed"}
    config = (copy / "egs/my_corpus/exp/smoothed/config.yaml").read_text()
    assert "MeanNet" in config
    assert "Smoothed" in config
    # A head without a posterior says that its scores need a calibration.
    assert "calibration" in outputs[2].lower()
    kept = (copy / "egs/my_corpus/exp/plain/config.yaml").read_text()
    assert "my_package.PlainLoss" in kept
