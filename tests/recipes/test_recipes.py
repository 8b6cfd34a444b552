"""Every recipe: the files of its folder, its answers, and the name of a corpus that is missing."""

import runpy
import sys

import pytest
from conftest import ROOT, typist

RECIPES = sorted(path.parent for path in ROOT.glob("egs/*/README.md"))
# These make their corpus, or combine others.
WITHOUT_PREPARATION = ("mini", "mixed_speaker", "multi_corpus")
SCRIPTS = [
    recipe / "local/prepare_data.py" for recipe in RECIPES if recipe.name not in WITHOUT_PREPARATION
]


def name_of(path):
    return path.relative_to(ROOT / "egs").parts[0]


def test_every_folder_is_a_recipe():
    folders = {path.name for path in ROOT.glob("egs/*") if list(path.glob("local/*.*"))}
    assert folders == {path.name for path in RECIPES}


@pytest.mark.parametrize("recipe", RECIPES, ids=name_of)
def test_a_readme_names_licence_and_command(recipe):
    text = (recipe / "README.md").read_text().lower()
    assert "licence" in text
    assert f"egs/{recipe.name}/" in text


@pytest.mark.parametrize("script", SCRIPTS, ids=name_of)
def test_preparation_answers_help(script, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", [str(script), "--help"])
    with pytest.raises(SystemExit) as stop:
        runpy.run_path(str(script), run_name="__main__")
    assert stop.value.code == 0
    assert "--data_dir" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (
            "egs/asvspoof2019_la/run.sh",
            "DB/LA/ASVspoof2019_LA_cm_protocols/ASVspoof2019.LA.cm.train.trn.txt: No such",
        ),
        (
            "egs/asvspoof2019_la/run.sh --access PA",
            "DB/PA/ASVspoof2019_PA_cm_protocols/ASVspoof2019.PA.cm.train.trn",
        ),
        ("egs/asvspoof2019_la/run.sh --access PA --download true", "'': unknown url type"),
        ("egs/asvspoof2017_v2/run.sh", "DB/protocol_V2/ASVspoof2017_V2_train.trn.txt: No such"),
    ],
)
def test_a_corpus_that_is_not_there_is_named(tmp_path, command, message):
    typed = typist(tmp_path)
    lines = typed(f"bash {command} --corpus_dir DB --stop_stage 1", status=2).splitlines()
    assert message in lines[-1]
    assert not any(line.startswith("Traceback") for line in lines)
    assert "== stage 1: prepare data" in lines
    assert not (tmp_path / "data").exists()


def test_models_of_physical_access_are_in_a_folder_of_their_system(tmp_path):
    typed = typist(tmp_path)
    error = typed("bash egs/asvspoof2019_la/run.sh --access PA --stage 8", status=2)
    assert "egs/asvspoof2019_la/exp/PA/resnet18: no results_dev.json" in error


@pytest.mark.parametrize("script", sorted(ROOT.glob("egs/*/run.sh")), ids=name_of)
def test_run_sh_answers_help_and_refuses_unknown_options(script, tmp_path):
    typed = typist(tmp_path)
    command = f"bash egs/{name_of(script)}/run.sh"
    assert command.removeprefix("bash ") in typed(f"{command} --help")
    assert "unknown option --no_such_option" in typed(f"{command} --no_such_option 1", status=2)
    last_stage = 9 if "make_pairs()" in script.read_text() else 8
    told = typed(f"{command} --stage {last_stage + 1}", status=2)
    assert f"--stage and --stop_stage are 1 to {last_stage}" in told


@pytest.mark.parametrize(
    ("options", "system"),
    [
        ("--mini true", "lcnn_small"),
        ("--mini true --task localization", "localization_small"),
        ("--mini true --config conf/lcnn.yaml", "lcnn"),
        ("--corpus_dir DB", "resnet18"),
    ],
)
def test_a_small_corpus_is_for_a_small_system_unless_another_is_named(tmp_path, options, system):
    command = f"bash egs/partialspoof/run.sh --dry_run true --stage 3 --stop_stage 3 {options}"
    folder = "exp/mini" if "--mini" in options else "exp"
    words = typist(tmp_path)(command).splitlines()[-1].split()
    assert words[words.index("--config") + 1].endswith(f"conf/{system}.yaml")
    assert words[words.index("--exp_dir") + 1] == f"egs/partialspoof/{folder}/{system}"


def test_stage_9_pairs_speech_with_copies_and_runs_only_where_it_is_asked_for(tmp_path):
    typed = typist(tmp_path)
    recipe = "bash egs/mini/run.sh --dry_run true"
    assert "--stage 9 needs --stop_stage 9" in typed(f"{recipe} --stage 9", status=2)
    other = "bash egs/asvspoof2019_la/run.sh --corpus_dir corpus --explain_options x --dry_run true"
    assert "unknown option --explain_options" in typed(other, status=2)
    assert "explain" not in typed(recipe)
    pairs, explain = typed(f"{recipe} --stage 9 --stop_stage 9").splitlines()[1:]
    assert "make_pairs.py --data_dir egs/mini/data/eval --out_dir egs/mini/data/pairs" in pairs
    assert "--pairs egs/mini/data/pairs/fake2real" in explain
