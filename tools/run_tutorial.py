"""Tutorials of docs/tutorials, run, and written with their output as a page and as a notebook.

A tutorial is a shell script in cells: ``# %% [markdown]`` begins text, each line behind "# ", and
``# %%`` begins commands, which a shell of their own runs in the root of the repository.
"""

from wedefense_lite import cli

import base64
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from wedefense_lite.files import InputError, atomic_path, check_writable, read_text, write_text

ROOT = Path(__file__).resolve().parents[1]
CELL = "# %%"
TEXT_CELL = "# %% [markdown]"
# Lines of an output that a page shows, from its begin and from its end.
FIRST_LINES = 12
LAST_LINES = 22
PICTURE = re.compile(r"!\[([^\]]*)\]\(([^)]+\.(?:png|svg))\)")
# Lines that no two runs share: progress, and how fast it was.
TIMED_LINE = re.compile(
    r"^INFO ([\w ]+: \d+/\d+, .* left|epoch \d+: .* waiting for data|  the process reads by .*)"
    r"$"
)
LOG_TIME = re.compile(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d+ ")
# Cell in which Python is typed: a notebook has it as a cell of its own language.
PYTHON_CELL = re.compile(r"python - << 'END'\n(.*)\nEND", re.DOTALL)
FIRST_NOTEBOOK_CELL = """\
# Commands start in the root of the repository, with the programs of this kernel's environment.
import os
import sys
from pathlib import Path

while not Path("wedefense_lite").is_dir():
    os.chdir("..")
os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])"""


class Cell(NamedTuple):
    """Part of a tutorial.

    Attributes:
        kind: ``markdown`` or ``code``.
        text: what is read, or the commands.
    """

    kind: str
    text: str


def run_tutorial(tutorial: str, folder: str | None = None, notebook: bool = False) -> None:
    """Run a tutorial, and write NAME.md, its pictures and NAME.ipynb beside it.

    Nothing is written where a command fails.

    Args:
        tutorial: docs/tutorials/NAME.sh.
        folder: copy of the repository to run in, which keeps what the commands write; a temporary
            one unless given.
        notebook: write NAME.ipynb too.

    Raises:
        InputError: no such tutorial, or a command that fails.
    """
    source = Path(tutorial)
    cells = read_cells(source)
    page = source.with_suffix(".md")
    notebook_path = source.with_suffix(".ipynb")
    check_writable(page, notebook_path)
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(folder or scratch)
        copy_tree(root)
        outputs = []
        for cell in cells:
            outputs.append(run_cell(cell, root) if cell.kind == "code" else "")
        pictures = pictures_of(cells, root, source.stem)
    for name, data in pictures.items():
        with atomic_path(source.with_name(name)) as unfinished:
            unfinished.write_bytes(data)
    write_text(page, page_text(cells, outputs, source.stem))
    if notebook:
        content = notebook_content(cells, outputs, pictures, source.stem)
        write_text(notebook_path, json.dumps(content, indent=1, ensure_ascii=False) + "\n")


def read_cells(path: Path) -> list[Cell]:
    """Cells of a tutorial.

    Raises:
        InputError: a line before the first cell, or text that is no comment.
    """
    kinds = []
    lines_of_cells = []
    for number, line in enumerate(read_text(path).splitlines(), 1):
        if line.startswith(CELL):
            kinds.append("markdown" if line == TEXT_CELL else "code")
            lines_of_cells.append([])
            continue
        if not kinds:
            if line.startswith("#!"):
                continue
            raise InputError(f"{path}:{number}: expected {CELL!r} before the first line")
        if kinds[-1] == "markdown" and line:
            if not line.startswith("#"):
                raise InputError(f"{path}:{number}: text, expected '# ' before it")
            line = line.removeprefix("#").removeprefix(" ")
        lines_of_cells[-1].append(line)
    cells = []
    for kind, lines in zip(kinds, lines_of_cells):
        cells.append(Cell(kind, "\n".join(lines).strip("\n")))
    return cells


def copy_tree(root: Path) -> None:
    """Copy of the source tree; the built corpus and what was fetched for it are links."""
    ignored = shutil.ignore_patterns("corpus", "downloads", "data", "exp", "__pycache__")
    for name in ("conf", "egs", "tools", "wedefense_lite"):
        shutil.copytree(ROOT / name, root / name, ignore=ignored, dirs_exist_ok=True)
    for name in ("corpus", "downloads"):
        existing = ROOT / "egs/mini" / name
        link = root / "egs/mini" / name
        if existing.exists() and not link.exists():
            link.symlink_to(existing)


def run_cell(cell: Cell, root: Path) -> str:
    """Output of the commands of a cell, without what no two runs share.

    Raises:
        InputError: a command fails.
    """
    programs = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    own = {"PATH": programs, "PYTHONPATH": str(root), "VIRTUAL_ENV": sys.prefix, "COLUMNS": "100"}
    process = subprocess.run(
        ["bash", "-ec", cell.text],
        cwd=root,
        env=os.environ | own,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if process.returncode:
        last_lines = " / ".join(process.stdout.splitlines()[-3:])
        first_line = cell.text.partition("\n")[0]
        raise InputError(f"{first_line}: exit status {process.returncode}: {last_lines}")
    return normalised(process.stdout, root)


def normalised(output: str, root: Path) -> str:
    """Output with paths from the root, without times, and with its middle left out."""
    for path in (root.resolve(), root, ROOT):
        output = output.replace(f"{path}/", "")
    lines = []
    for line in output.splitlines():
        # Progress that is drawn over itself leaves its last state.
        line = LOG_TIME.sub("", line.rpartition("\r")[2].rstrip())
        if not TIMED_LINE.search(line):
            lines.append(line.removeprefix("INFO "))
    left_out = len(lines) - FIRST_LINES - LAST_LINES
    if left_out > 1:
        lines[FIRST_LINES : FIRST_LINES + left_out] = ["..."]
    return "\n".join(lines).strip("\n")


def picture_name(path: str, name: str) -> str:
    """Name of a picture beside the page of a tutorial."""
    return f"{name}_{Path(path).name}"


def pictures_of(cells: list[Cell], root: Path, name: str) -> dict[str, bytes]:
    """Pictures that the text shows, by their names beside the page.

    Raises:
        InputError: the commands wrote none of that name.
    """
    pictures = {}
    for cell in cells:
        if cell.kind == "code":
            continue
        for _, path in PICTURE.findall(cell.text):
            picture = root / path
            if not picture.is_file():
                raise InputError(f"{path}: no such picture, expected one that a command wrote")
            pictures[picture_name(path, name)] = small_picture(picture)
    return pictures


def small_picture(path: Path) -> bytes:
    """Content of a picture; a PNG has 64 colours, which makes it a third."""
    if path.suffix != ".png":
        return path.read_bytes()
    buffer = io.BytesIO()
    with Image.open(path) as picture:
        few_colours = picture.convert("RGB").quantize(64, dither=Image.Dither.NONE)
        few_colours.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def page_text(cells: list[Cell], outputs: list[str], name: str) -> str:
    """Markdown of a page."""
    parts = []
    for cell, output in zip(cells, outputs):
        if cell.kind == "markdown":
            parts.append(
                PICTURE.sub(lambda link: f"![{link[1]}]({picture_name(link[2], name)})", cell.text)
            )
            continue
        parts.append(f"```sh\n{cell.text}\n```")
        if output:
            parts.append(f"```text\n{output}\n```")
    return "\n\n".join(parts) + "\n"


def outputs_of(page: str, cells: list[Cell]) -> list[str]:
    """Outputs that a page has, by cell; empty where it has none."""
    outputs = []
    for cell in cells:
        block = f"```sh\n{cell.text}\n```\n\n```text\n"
        output = ""
        if cell.kind == "code" and block in page:
            output = page.split(block, 1)[1].split("\n```\n", 1)[0]
        outputs.append(output)
    return outputs


def notebook_content(
    cells: list[Cell], outputs: list[str], pictures: dict[str, bytes], name: str
) -> dict:
    """Notebook in the format 4.5 of nbformat, for a Python kernel."""
    notebook_cells = [code_cell(0, FIRST_NOTEBOOK_CELL, "")]
    for number, (cell, output) in enumerate(zip(cells, outputs), 1):
        if cell.kind == "code":
            notebook_cells.append(code_cell(number, notebook_code(cell.text), output))
            continue
        attachments = {}
        for _, path in PICTURE.findall(cell.text):
            picture = picture_name(path, name)
            media_type = "image/svg+xml" if picture.endswith(".svg") else "image/png"
            attachments[picture] = {media_type: base64.b64encode(pictures[picture]).decode()}
        text = PICTURE.sub(
            lambda link: f"![{link[1]}](attachment:{picture_name(link[2], name)})", cell.text
        )
        markdown = {"cell_type": "markdown", "id": f"cell{number}", "metadata": {}, "source": text}
        if attachments:
            markdown["attachments"] = attachments
        notebook_cells.append(markdown)
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    return {
        "cells": notebook_cells,
        "metadata": {"kernelspec": kernel, "language_info": {"name": "python"}},
        "nbformat": 4,
        "nbformat_minor": 5,
    }


def notebook_code(commands: str) -> str:
    """Commands of a shell as a cell of a notebook."""
    typed_python = PYTHON_CELL.fullmatch(commands)
    if typed_python:
        return typed_python[1]
    return f"%%bash -e\n{commands}"


def code_cell(number: int, source: str, output: str) -> dict:
    """Cell of a notebook with commands and their output."""
    outputs = []
    if output:
        outputs.append({"output_type": "stream", "name": "stdout", "text": output + "\n"})
    return {
        "cell_type": "code",
        "id": f"cell{number}",
        "metadata": {},
        "execution_count": None,
        "source": source,
        "outputs": outputs,
    }


if __name__ == "__main__":
    cli.run(run_tutorial, positional=True)
