"""The house: rooms of the package, arrows of its imports, and how its code reads.

FLOORS is the plan that tests/recipes/test_house.py holds the imports to.
"""

from wedefense_lite import cli

import ast
import io
import tokenize
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from wedefense_lite.files import InputError, write_text
from wedefense_lite.report.tables import table

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = "wedefense_lite"
GROUND = (
    "interruption",
    "limits",
    "labels",
    "columns",
    "files",
    "yaml_text",
    "progress",
    "downloads",
    "heartbeat",
    "preemption",
    "processes",
    "runtime",
    "provenance",
    "weights",
    "cli",
)
# A room may import from its own floor and from those before it.
FLOORS = (
    GROUND,
    ("audio", "metrics"),
    ("augment", "frontends", "heads", "models", "separators"),
    ("systems",),
    ("training", "scoring", "interop"),
    ("report", "localization", "mixtures", "tracing", "explain", "serve"),
    ("bin",),
)
# A task in one place: nothing but entry points needs them, and a deleted folder is a deleted task.
TASK_ROOMS = ("localization", "mixtures", "tracing")
COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
# Names that say nothing: a noun of the field stands for what they hold.
FILLERS = frozenset(
    "asked chosen drawn few fill found given judge kind kinds known made of one own part parts "
    "place places rest said total wanted what".split()
)


# ---- Imports


def module_name(path: Path) -> str:
    """Dotted name of a file of the package."""
    name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
    return name.removesuffix(".__init__")


def modules() -> dict[str, Path]:
    """Files of the package by their dotted names."""
    return {module_name(path): path for path in sorted((ROOT / PACKAGE).rglob("*.py"))}


def imported_names(tree: ast.AST) -> list[str]:
    """Dotted names that a file imports: at its top, in a function, or by ``importlib``.

    A name ``from a import b`` counts as ``a.b``. A call of ``importlib.import_module`` without a
    literal is the name ``?``.
    """
    names = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            origin = f"{'.' * node.level}{node.module or ''}"
            names += [f"{origin}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Call):
            function = ast.unparse(node.func).rpartition(".")[2]
            if function in ("import_module", "__import__"):
                argument = node.args[0]
                names.append(argument.value if isinstance(argument, ast.Constant) else "?")
    return names


def imports() -> dict[str, set[str]]:
    """Modules of the package that each module of it imports.

    Raises:
        InputError: a relative import.
    """
    paths = modules()
    graph = {}
    for module, path in paths.items():
        targets = set()
        for name in imported_names(ast.parse(path.read_text())):
            if name.startswith("."):
                raise InputError(f"{path}: relative import {name}")
            # An imported class or function stands for its module.
            while name and name not in paths:
                name = name.rpartition(".")[0]
            targets.add(name)
        graph[module] = targets - {"", PACKAGE, module}
    return graph


def room_of(module: str) -> str:
    """Room of a module: its folder, its file on the ground floor, or ``door``, the package
    itself and its command.
    """
    below = module.partition(".")[2]
    return "door" if below in ("", "__main__") else below.partition(".")[0]


def arrows() -> dict[tuple[str, str], list[str]]:
    """Imports between rooms: ``(importer, imported)`` to the modules that make them."""
    examples: dict[tuple[str, str], list[str]] = {}
    for module, targets in imports().items():
        for target in sorted(targets):
            pair = room_of(module), room_of(target)
            if pair[0] != pair[1]:
                examples.setdefault(pair, []).append(f"{module} -> {target}")
    return examples


def circle(graph: dict[str, set[str]]) -> list[str]:
    """Nodes of a circle in a graph, the first one again at its end; empty without one."""
    finished: set[str] = set()

    def walk(node: str, path: list[str]) -> list[str]:
        if node in path:
            return [*path[path.index(node) :], node]
        if node in finished:
            return []
        for target in sorted(graph.get(node, ())):
            cycle = walk(target, [*path, node])
            if cycle:
                return cycle
        finished.add(node)
        return []

    for start in sorted(graph):
        cycle = walk(start, [])
        if cycle:
            return cycle
    return []


# ---- Drawing

BOX_WIDTH, BOX_HEIGHT, COLUMN, ROW, MARGIN = 118, 34, 148, 92, 16
STYLE = "font-family:DejaVu Sans,sans-serif;font-size:13px"


def room_graph() -> dict[str, set[str]]:
    """Rooms that each room imports, the files of the ground floor as one room ``ground``."""
    graph: dict[str, set[str]] = {}
    for importer, imported in arrows():
        importer = "ground" if importer in GROUND else importer
        imported = "ground" if imported in GROUND else imported
        if importer not in (imported, "door"):
            graph.setdefault(importer, set()).add(imported)
    return graph


def reachable(graph: dict[str, set[str]], start: str) -> set[str]:
    """Nodes that can be reached from a node in one or more steps."""
    reached: set[str] = set()
    waiting = [start]
    while waiting:
        for target in graph.get(waiting.pop(), ()):
            if target not in reached:
                reached.add(target)
                waiting.append(target)
    return reached


def direct_arrows(graph: dict[str, set[str]]) -> list[tuple[str, str]]:
    """Arrows that no chain of other arrows stands for, so that a drawing can be read."""
    direct = []
    for importer in sorted(graph):
        for imported in sorted(graph[importer]):
            others = graph[importer] - {imported}
            if not any(imported in reachable(graph, other) for other in others):
                direct.append((importer, imported))
    return direct


def drawing() -> str:
    """SVG of the rooms, a floor a row, and of the imports between them."""
    graph = room_graph()
    rooms = set(graph).union(*graph.values())
    rows = [[room for room in floor if room in rooms] for floor in reversed(FLOORS[1:])]
    rows.append(["ground"])
    widest = max(len(row) for row in rows)
    width = 2 * MARGIN + (widest - 1) * COLUMN + BOX_WIDTH
    height = 2 * MARGIN + (len(rows) - 1) * ROW + BOX_HEIGHT
    corners = {}
    for number, row in enumerate(rows):
        indent = (widest - len(row)) * COLUMN / 2
        for column, room in enumerate(row):
            corners[room] = (MARGIN + indent + column * COLUMN, MARGIN + number * ROW)
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" style="{STYLE}">',
        '<defs><marker id="head" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="7" '
        'markerHeight="7" orient="auto"><path d="M0 0L8 4L0 8z" fill="#5d6b7a"/></marker></defs>',
    ]
    for importer, imported in direct_arrows(graph):
        lines.append(_arrow(corners[importer], corners[imported]))
    for room, (left, top) in corners.items():
        lines.append(
            f'<rect x="{left:g}" y="{top:g}" width="{BOX_WIDTH}" height="{BOX_HEIGHT}" rx="5" '
            'fill="#f4f6f8" stroke="#5d6b7a"/>'
        )
        lines.append(
            f'<text x="{left + BOX_WIDTH / 2:g}" y="{top + 22:g}" text-anchor="middle" '
            f'fill="#1d2733">{room}</text>'
        )
    lines.append("</svg>")
    return "\n".join(lines) + "\n"


def _arrow(start: tuple[float, float], end: tuple[float, float]) -> str:
    """Line from a box to another one: from its bottom to a top, or from side to side."""
    if start[1] == end[1]:
        goes_right = start[0] < end[0]
        x1 = start[0] + BOX_WIDTH if goes_right else start[0]
        x2 = end[0] if goes_right else end[0] + BOX_WIDTH
        y1 = start[1] + BOX_HEIGHT / 2
        y2 = y1
        # Boxes between the two are passed below.
        bend = BOX_HEIGHT if abs(start[0] - end[0]) > COLUMN else 0
        path = f"M{x1:g} {y1:g}Q{(x1 + x2) / 2:g} {y1 + bend:g} {x2:g} {y2:g}"
    else:
        x1 = start[0] + BOX_WIDTH / 2
        x2 = end[0] + BOX_WIDTH / 2
        path = f"M{x1:g} {start[1] + BOX_HEIGHT:g}L{x2:g} {end[1]:g}"
    return f'<path d="{path}" stroke="#5d6b7a" fill="none" marker-end="url(#head)"/>'


# ---- How the code reads


@dataclass
class Reading:
    """Counts over some files.

    Attributes:
        lines: lines with code; docstrings, comments and blank lines are none.
        nodes: nodes of the syntax tree.
        comprehensions: list, set and dict comprehensions and generator expressions.
        nested: comprehensions with another one inside.
        comments: comments.
        longest: lines of the longest function, its docstring left out, and its name.
        fillers: assigned names that are in FILLERS.
        names: assigned names.
    """

    lines: int = 0
    nodes: int = 0
    comprehensions: int = 0
    nested: int = 0
    comments: int = 0
    longest: tuple[int, str] = (0, "")
    fillers: int = 0
    names: int = 0
    definitions: Counter = field(default_factory=Counter)

    def add(self, path: Path) -> None:
        """Count a file."""
        text = path.read_text()
        tree = ast.parse(text)
        code_lines, comments = _lines_of_code(text)
        self.comments += comments
        for node in ast.walk(tree):
            if isinstance(node, ast.Load | ast.Store | ast.Del):
                continue
            self.nodes += 1
            if isinstance(node, ast.Module | ast.ClassDef | FUNCTIONS[0] | FUNCTIONS[1]):
                code_lines -= _docstring_lines(node)
            if isinstance(node, FUNCTIONS):
                length = _body_length(node)
                self.longest = max(self.longest, (length, f"{path.stem}.{node.name}"))
            if isinstance(node, COMPREHENSIONS):
                self.comprehensions += 1
                self.nested += _holds_comprehension(node)
            if isinstance(node, ast.arg) or (
                isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
            ):
                name = node.arg if isinstance(node, ast.arg) else node.id
                self.names += 1
                self.fillers += name in FILLERS
        self.lines += len(code_lines)
        self.definitions.update(_module_names(tree))

    def cells(self) -> list[str]:
        """Cells of a row of the table."""
        per_line = self.nodes / max(self.lines, 1)
        per_hundred = 100 / max(self.lines, 1)
        shared = sum(count > 1 for count in self.definitions.values())
        return [
            str(self.lines),
            f"{per_line:.1f}",
            f"{self.comprehensions * per_hundred:.1f}",
            f"{self.nested * per_hundred:.2f}",
            f"{self.comments * per_hundred:.1f}",
            f"{100 * self.fillers / max(self.names, 1):.1f}",
            str(shared),
            f"{self.longest[0]} {self.longest[1]}",
        ]


def _lines_of_code(text: str) -> tuple[set[int], int]:
    """Numbers of the lines that hold a token of code, and the number of comments."""
    layout = (tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER)
    lines = set()
    comments = 0
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            comments += 1
        elif token.type not in layout:
            lines |= set(range(token.start[0], token.end[0] + 1))
    return lines, comments


def _docstring_lines(node: ast.AST) -> set[int]:
    if not ast.get_docstring(node):
        return set()
    return set(range(node.body[0].lineno, node.body[0].end_lineno + 1))


def _body_length(function: ast.FunctionDef) -> int:
    body = function.body[1:] if ast.get_docstring(function) else function.body
    return body[-1].end_lineno - body[0].lineno + 1 if body else 0


def _holds_comprehension(node: ast.AST) -> bool:
    for child in ast.iter_child_nodes(node):
        for descendant in ast.walk(child):
            if isinstance(descendant, COMPREHENSIONS):
                return True
    return False


def _module_names(tree: ast.Module) -> set[str]:
    """Classes, functions and constants of a module."""
    names = set()
    for node in tree.body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            names.add(node.name)
        elif isinstance(node, ast.Assign):
            names |= {target.id for target in node.targets if isinstance(target, ast.Name)}
    return names


def reading_table() -> list[str]:
    """Lines of a table of how the code of each room reads."""
    header = "room lines nodes/line comprehensions nested comments % fillers % shared longest"
    titles = header.replace(" %", "_%").split()
    rows = [[title.replace("_", " ") for title in titles]]
    rooms: dict[str, Reading] = {}
    whole = Reading()
    for module, path in modules().items():
        room = room_of(module)
        room = "ground" if room in GROUND or room == "door" else room
        rooms.setdefault(room, Reading()).add(path)
        whole.add(path)
    for room in sorted(rooms):
        rows.append([room, *rooms[room].cells()])
    rows.append(["all", *whole.cells()])
    return table(rows)


def house(show: Literal["arrows", "reading"] = "arrows", draw: str | None = None) -> None:
    """Print the imports between rooms, or how the code of each room reads.

    Columns of the reading: lines of code; nodes of the syntax tree a line; comprehensions, and
    those with another one inside, in 100 lines; comments in 100 lines; assigned names that say
    nothing; names that several modules define; the longest function.

    Args:
        show: what is printed.
        draw: SVG file for the drawing of the rooms; the documentation's is docs/rooms.svg.
    """
    if draw:
        write_text(draw, drawing())
    if show == "reading":
        lines = reading_table()
    else:
        lines = [f"{a} -> {b}: {len(examples)}" for (a, b), examples in sorted(arrows().items())]
    print("\n".join(lines))


if __name__ == "__main__":
    cli.run(house)
