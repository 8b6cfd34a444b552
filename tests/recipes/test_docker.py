"""The images: linted here, built where Docker runs."""

import re
import shutil
import subprocess

import pytest
from conftest import ROOT

DOCKERFILE = ROOT / "Dockerfile"


def test_the_linter_has_nothing_to_say():
    hadolint = shutil.which("hadolint")
    if hadolint is None:
        pytest.skip("hadolint isn't installed")
    run = subprocess.run([hadolint, DOCKERFILE], capture_output=True, text=True, check=False)
    assert (run.stdout, run.returncode) == ("", 0)


def test_what_is_copied_is_there_and_nobody_is_root():
    stages = re.split(r"^FROM .* AS ", DOCKERFILE.read_text(), flags=re.MULTILINE)[1:]
    names = [stage.split()[0] for stage in stages]
    assert names == ["packages", "scorer", "training"]
    for stage in stages:
        for line in re.findall(r"^COPY (.*)$", stage, re.MULTILINE):
            *sources, _ = [word for word in line.split() if not word.startswith("--")]
            for source in sources:
                assert line.startswith("--from=") or (ROOT / source).exists(), source
    for stage in stages[1:]:
        assert re.search(r"^USER 10001$", stage, re.MULTILINE)


def test_data_and_experiments_stay_out_of_images():
    ignored = (ROOT / ".dockerignore").read_text().split()
    for pattern in ("egs/*/data", "egs/*/exp", "egs/*/corpus", "egs/*/downloads", ".git", ".venv"):
        assert pattern in ignored


def test_the_scorer_has_what_is_imported_without_pytorch():
    """The names of the packages stand in docker/scorer.txt alone; tests/unit/test_onnx.py scores
    where the others can't be imported.
    """
    text = (ROOT / "docker/scorer.txt").read_text()
    names = {re.match(r"[\w-]+", line).group() for line in text.splitlines() if line[0] != "#"}
    assert names.isdisjoint({"torch", "scipy", "scikit-learn", "matplotlib", "av"})
    assert "-r docker/scorer.txt" in (ROOT / "README.md").read_text()


def test_the_scorer_is_built_and_prints_its_help():
    docker = shutil.which("docker")
    if (
        docker is None
        or subprocess.run([docker, "info"], capture_output=True, check=False).returncode
    ):
        pytest.skip("no Docker engine answers")
    build = [docker, "build", "--target", "scorer", "--tag", "wedefense_lite:test", ROOT]
    subprocess.run(build, check=True)
    help_page = subprocess.run(
        [docker, "run", "--rm", "wedefense_lite:test", "score", "--help"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    assert "bona fide" in help_page
