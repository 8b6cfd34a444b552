"""The main recipe, from packages to a report, on a part of its corpus and with two processes."""

import json
import re
import shutil

import pytest
from conftest import ROOT, typist

DOWNLOADS = ROOT / "egs/mini/downloads"


@pytest.mark.skipif(
    shutil.which("apt-get") is None and not DOWNLOADS.exists(), reason="needs apt-get, or earlier downloads"
)
def test_all_stages_on_a_twentieth_of_the_corpus(tmp_path):
    typed = typist(tmp_path)
    typed(
        [
            *"bash egs/mini/run.sh --scale 0.05 --nproc 2 --data_type raw --bootstrap 20 --num_avg 2".split(),
            *"--corpus_dir corpus --data_dir data --exp_dir exp".split(),
            *["--train_options", "--num_epochs 2 --batch_size 4 --validate_interval 1"],
        ]
    )
    manifest = (tmp_path / "corpus/manifest.tsv").read_text().splitlines()
    licences = [line.split("\t")[manifest[0].split("\t").index("licence")] for line in manifest[1:]]
    assert len(licences) > 40 and all(licences)
    speakers = [
        set((tmp_path / f"data/{name}/spk2utt").read_text().split("\n")[:-1]) for name in ("train", "dev", "eval")
    ]
    names = [{line.split()[0] for line in lines} for lines in speakers]
    assert not (names[0] & names[1] | names[0] & names[2] | names[1] & names[2])
    for name in ("dev", "eval", "eval_calibrated"):
        results = json.loads((tmp_path / f"exp/results_{name}.json").read_text())
        assert 0 <= results["eer"] <= 1 and {"min_dcf", "act_dcf", "cllr", "by", "ci"} <= results.keys()
    report = (tmp_path / "exp/report.html").read_text()
    assert not re.search(r"(src|href)=.https?:", report) and "data:image/svg" in report
