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
    """A copy of the source tree, which the walks may change."""
    for name in ("conf", "egs", "tools", "wedefense_lite"):
        ignore = shutil.ignore_patterns("corpus", "downloads", "data", "exp", "__pycache__")
        shutil.copytree(ROOT / name, tmp_path / name, ignore=ignore)
    return tmp_path


@pytest.fixture
def corpus(tmp_path_factory):
    """A corpus in the form that the first walk supposes."""
    folder = tmp_path_factory.mktemp("my_corpus")
    rng, lines = np.random.default_rng(1), ["file,speaker,label,set"]
    for number in range(24):
        name, spoof = f"utt{number:02d}.wav", number % 2 == 0
        sf.write(folder / name, utterance(rng, spoof), RATE, subtype="PCM_16")
        subset = ("train", "train", "dev", "eval")[number // 2 % 4]
        lines.append(f"{name},speaker{number % 5},{'fake' if spoof else 'real'},{subset}")
    (folder / "meta.csv").write_text("\n".join(lines) + "\n")
    return folder


def test_the_walks_work_as_written(copy, corpus):
    typed = typist(copy)
    said = []
    for language, text in BLOCK.findall((ROOT / "CONTRIBUTING.md").read_text()):
        first, _, rest = text.partition("\n")
        if first.startswith("# file: "):
            path = copy / first.removeprefix("# file: ")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(rest)
        elif language == "sh":
            said.append(typed(["bash", "-ec", text], CORPUS=str(corpus), PYTHONPATH=str(copy)))
    assert len(said) == 3
    experiments = {path.parent.name for path in Path(copy).glob("egs/my_corpus/exp/*/report.html")}
    assert experiments == {"mean_net", "smoothed"}
    config = (copy / "egs/my_corpus/exp/smoothed/config.yaml").read_text()
    assert "MeanNet" in config and "Smoothed" in config
    assert "calibration" in said[2].lower()  # a head without posterior says that it needs it
