"""Several seeds of a recipe: each is run once, and the table is their mean and spread."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from commands import ROOT, run_script

RECIPE = """\
echo "$@" >> log
while [ $# -gt 0 ]; do printf -v "${1#--}" %s "$2"; shift 2; done
[ "${stop_stage:-}" = 2 ] && exit 0
[ ! -f "fail_$seed" ] || exit 3
mkdir -p "$exp_dir"
echo "{\\"eer\\": 0.$seed, \\"n_spoof\\": 5, \\"eer_threshold\\": 1.0}" > "$exp_dir/results_eval.json"
"""


def run(folder: Path, *words: str) -> tuple[int, str]:
    programs = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    own = {"PATH": programs, "VIRTUAL_ENV": sys.prefix, "PYTHONPATH": str(ROOT)}
    command = ["bash", str(ROOT / "tools/seeds.sh"), *words]
    process = subprocess.run(
        command, cwd=folder, env=os.environ | own, capture_output=True, text=True, check=False
    )
    return process.returncode, process.stdout + process.stderr


def test_seeds_have_a_mean_and_a_spread_and_go_on(tmp_path):
    (tmp_path / "run.sh").write_text(RECIPE)
    (tmp_path / "fail_4").touch()
    words = ("--seeds", "1 2 4", "run.sh", "--config", "conf/x.yaml", "--nproc", "2")
    assert run(tmp_path, *words)[0] == 3
    (tmp_path / "fail_4").unlink()
    status, output = run(tmp_path, *words)
    assert status == 0, output
    log = (tmp_path / "log").read_text().splitlines()
    options = "--config conf/x.yaml --nproc 2"
    lists = f"{options} --stage 1 --stop_stage 2"
    trainings = [f"{options} --stage 3 --seed {n} --exp_dir ./exp/x_seed{n}" for n in (1, 2, 4)]
    assert log == [lists, *trainings, lists, trainings[2]]
    content = json.loads((tmp_path / "exp/x_seeds.json").read_text())
    assert list(content) == ["eval"] and list(content["eval"]) == ["eer"]
    row = content["eval"]["eer"]
    assert row["mean"] == pytest.approx(0.7 / 3)
    assert row["std"] == pytest.approx(0.1527525)
    assert (row["min"], row["max"]) == (0.1, 0.4)
    assert "0.23333" in output and "3 seeds" in output
    status, output = run(tmp_path, *words[:-1], "1")
    assert status == 2 and "of other options" in output


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("run.sh",), "no seeds"),
        (("--seeds", "a b", "run.sh"), "seed a, expected numbers"),
        (("--seeds", "1", "run.sh"), "one seed, expected two or more"),
        (("--seeds", "1 2 1", "run.sh"), "a seed is there twice"),
        (("--seeds", "1 2"), "no recipe"),
        (("--seeds", "1 2", "none.sh"), "none.sh: no such file"),
        (("--seeds", "1 2", "run.sh", "--seed", "1"), "--seed is set for each seed"),
        (("--seeds", "1 2", "run.sh", "--nproc", "1"), "expected --config or --exp_dir"),
    ],
)
def test_words_that_mean_nothing_are_refused(tmp_path, words, said):
    (tmp_path / "run.sh").write_text(RECIPE)
    status, output = run(tmp_path, *words)
    assert status == 2 and said in output
    assert not (tmp_path / "log").exists()


def test_experiments_of_other_results_are_refused(tmp_path):
    for name, results in {"a": {"eer": 0.1}, "b": {"eer": 0.1, "cllr": 1.0}, "c": {}}.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "results_eval.json").write_text(json.dumps(results))
    words = ("--out", "table", "--exp_dirs")
    status, errors = run_script(tmp_path, "tools/seeds.py", *words, "a", "b")
    assert status == 2 and "b: cllr of results_eval.json is not in all experiments" in errors
    status, errors = run_script(tmp_path, "tools/seeds.py", *words, "a", "c")
    assert status == 2 and "c: no results_*.json" in errors
    status, errors = run_script(tmp_path, "tools/seeds.py", *words, '["a"]')
    assert status == 2 and "expected two or more" in errors
