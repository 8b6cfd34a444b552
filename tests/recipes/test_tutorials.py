"""The tutorials of docs/tutorials: their pages are of their commands, and the commands work."""

import json
import os
import re
import shutil
import socket
from pathlib import Path

import pytest
import run_tutorial
from conftest import ROOT, UNTRAINED, typist

TUTORIALS = sorted((ROOT / "docs/tutorials").glob("*.sh"))
NOTEBOOKS = ("course", "detection")
# What makes a tutorial small: a pattern of its commands, and what stands in its place.
SMALL = {
    "detection": [
        (r"--num_epochs 20 --num_avg 5", "--num_epochs 3 --num_avg 2 --batch_size 8"),
        (r"--num 5", "--num 2"),
        (r"--bootstrap 200", "--bootstrap 20"),
        (r"--cal_label (\S+)", r"--cal_label \1 --allow_negative_slope true"),
    ],
    "course": [
        (r"--num_epochs 12", "--num_epochs 2 --batch_size 8"),
        (r"--bootstrap 200", "--bootstrap 20 --num_avg 1 UNTRAINED"),
        (r"(--stage 9 .*)", r"\1 --explain_options '--curves false --methods input_x_gradient'"),
    ],
    "mixed_speakers": [
        (r"600 100 150", "20 12 12"),
        (r"--num_epochs 6", "--num_epochs 1 --batch_size 4"),
        (r"--bootstrap 200", "--bootstrap 20 --num_avg 1 UNTRAINED"),
        (r"--mini true", "--mini true --scale 0.05"),
    ],
    "recipe": [
        (r"NR % 8 == 0", "NR > 0"),
        (r"COUNTS, data_dir, expect_counts", "COUNTS, data_dir, False"),
        (r"--num_avg 2 --bootstrap 100", "--num_avg 1 --bootstrap 20 UNTRAINED"),
        (r"--num_epochs 8", "--num_epochs 1 --batch_size 4"),
    ],
    "deploy": [
        (r"--bootstrap 100", "--bootstrap 20 --num_avg 1 UNTRAINED TINY"),
        (r"8000", "PORT"),
    ],
}


@pytest.mark.parametrize("source", TUTORIALS, ids=lambda path: path.stem)
def test_a_page_has_the_text_and_the_commands_of_its_tutorial(source):
    """Otherwise: python tools/run_tutorial.py docs/tutorials/NAME.sh --notebook true."""
    cells = run_tutorial.read_cells(source)
    page = source.with_suffix(".md").read_text()
    outputs = run_tutorial.outputs_of(page, cells)
    assert run_tutorial.page_text(cells, outputs, source.stem) == page
    assert sum(map(bool, outputs)) >= 3, "a page shows what its commands print"
    for _, picture in run_tutorial.PICTURE.findall(page):
        assert (source.parent / picture).stat().st_size < 500_000
    if source.stem in NOTEBOOKS:
        pictures = {path.name: path.read_bytes() for path in source.parent.glob("*.png")}
        content = run_tutorial.notebook_content(cells, outputs, pictures, source.stem)
        assert json.loads(source.with_suffix(".ipynb").read_text()) == content


def test_all_tutorials_are_in_the_navigation_and_are_run_here():
    navigation = (ROOT / "mkdocs.yml").read_text()
    names = {source.stem for source in TUTORIALS}
    assert names == set(SMALL)
    for name in names:
        assert f"tutorials/{name}.md" in navigation


@pytest.fixture(scope="module")
def copy(mini_corpus, tmp_path_factory) -> Path:
    """A copy of the source tree with a twentieth of the mini corpus; tutorials share its data."""
    folder = tmp_path_factory.mktemp("tutorials")
    ignored = shutil.ignore_patterns("corpus", "downloads", "data", "exp", "__pycache__")
    for name in ("conf", "egs", "tools", "wedefense_lite"):
        shutil.copytree(ROOT / name, folder / name, ignore=ignored)
    (folder / "egs/mini/corpus").symlink_to(mini_corpus)
    return folder


def small(commands: str, name: str) -> str:
    """Commands of a tutorial at a size of seconds."""
    for pattern, replacement in SMALL[name]:
        commands = re.sub(pattern, replacement, commands)
    # Stage 1 finds the corpus of the tests by the size that it was built with.
    commands = re.sub(r"egs/mini/run\.sh", "egs/mini/run.sh --scale 0.05", commands)
    commands = commands.replace("local/make_corpus.py", "local/make_corpus.py --scale 0.05")
    commands = commands.replace("UNTRAINED", f"{UNTRAINED[0]} '{UNTRAINED[1]}'")
    commands = commands.replace("TINY", "--train_options '--num_epochs 2 --batch_size 8'")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return commands.replace("PORT", str(free.getsockname()[1]))


def test_what_makes_a_tutorial_small_is_in_its_commands():
    """A pattern that is in no command would leave a tutorial at its size."""
    for source in TUTORIALS:
        commands = "\n".join(
            cell.text for cell in run_tutorial.read_cells(source) if cell.kind == "code"
        )
        for pattern, _ in SMALL[source.stem]:
            assert re.search(pattern, commands), f"{source.stem}: {pattern}"


@pytest.mark.turns
@pytest.mark.parametrize("source", TUTORIALS, ids=lambda path: path.stem)
def test_the_commands_of_a_tutorial_work(copy, source):
    if source.stem == "course":
        pytest.importorskip("captum", reason="the extra explain isn't installed")
    typed = typist(copy)
    for cell in run_tutorial.read_cells(source):
        if cell.kind == "code":
            typed(["bash", "-ec", small(cell.text, source.stem)], PYTHONPATH=str(copy))
        for _, picture in run_tutorial.PICTURE.findall(cell.text):
            assert (copy / picture).is_file()


@pytest.mark.turns
@pytest.mark.parametrize("name", NOTEBOOKS)
def test_a_notebook_runs(copy, monkeypatch, name):
    """In a Jupyter kernel, from the folder that it lies in."""
    nbformat = pytest.importorskip("nbformat", reason="no nbformat")
    nbclient = pytest.importorskip("nbclient", reason="no nbclient")
    pytest.importorskip("ipykernel", reason="no ipykernel")
    pytest.importorskip("captum", reason="the extra explain isn't installed")
    notebook = nbformat.read(ROOT / f"docs/tutorials/{name}.ipynb", as_version=4)
    nbformat.validate(notebook)
    folder = copy / "docs/tutorials"
    folder.mkdir(parents=True, exist_ok=True)
    for trained in (copy / "exp/lcnn", copy / "exp/walk"):
        shutil.rmtree(trained, ignore_errors=True)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.source = small(cell.source, name)
            cell.outputs = []
    monkeypatch.setenv("PYTHONPATH", str(copy), prepend=os.pathsep)
    nbclient.NotebookClient(
        notebook, timeout=500, resources={"metadata": {"path": str(folder)}}
    ).execute()
    printed = ""
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            printed += output.get("text", "")
    expected = {"course": "iou_over_random", "detection": "min_dcf"}
    assert expected[name] in printed


def test_a_tutorial_is_run_and_what_no_two_runs_share_is_left_out(tmp_path, monkeypatch):
    """Each cell has a shell of its own, and a command that fails ends the tutorial."""
    monkeypatch.setattr(run_tutorial, "copy_tree", lambda root: None)
    source = tmp_path / "walk.sh"
    source.write_text(
        "# %% [markdown]\n# # Walk\n#\n# ![A dot](made/dot.svg)\n# %%\n"
        "mkdir made\nprintf dot > made/dot.svg\n"
        "echo '2026-11-29 05:27:22,123 INFO wrote x'\n"
        "echo '2026-11-29 05:27:22,123 INFO decoding: 5/5, 891.1 utt/s, 0 s left'\n"
        "echo $PWD/made\n# %%\npython - << 'END'\nprint(1)\nEND\n# %%\nseq 100\n"
    )
    (tmp_path / "copy_of").mkdir()
    run_tutorial.run_tutorial(str(source), str(tmp_path / "copy_of"), notebook=True)
    page = (tmp_path / "walk.md").read_text()
    assert page.startswith("# Walk\n\n![A dot](walk_dot.svg)\n\n```sh\nmkdir made\n")
    assert "```text\nwrote x\nmade\n```" in page.replace(f"{tmp_path}/copy_of/", "")
    assert (tmp_path / "walk_dot.svg").read_text() == "dot"
    assert "12\n...\n79\n" in page and page.endswith("99\n100\n```\n")
    notebook = json.loads((tmp_path / "walk.ipynb").read_text())
    kinds = [cell["cell_type"] for cell in notebook["cells"]]
    assert kinds == ["code", "markdown", "code", "code", "code"]
    assert notebook["cells"][3]["source"] == "print(1)"
    assert notebook["cells"][4]["source"] == "%%bash -e\nseq 100"
    assert list(notebook["cells"][1]["attachments"]) == ["walk_dot.svg"]
    source.write_text("# %%\necho begun\nfalse\necho on\n")
    with pytest.raises(run_tutorial.InputError, match="echo begun: exit status 1: begun"):
        run_tutorial.run_tutorial(str(source), str(tmp_path / "copy_of"))
    assert (tmp_path / "walk.md").read_text() == page
    source.write_text("echo\n")
    with pytest.raises(run_tutorial.InputError, match="walk.sh:1: expected '# %%'"):
        run_tutorial.run_tutorial(str(source))
