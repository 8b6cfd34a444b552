"""The rooms of the package, read from its imports.

python tools/house.py lists each arrow from room to room.
"""

import ast
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = "wedefense_lite"
# A room may import from its own floor and from those before it.
FLOORS = (
    ("labels", "files", "progress", "runtime", "provenance", "cli"),
    ("audio", "metrics"),
    ("augment", "frontends", "heads", "models", "separators"),
    ("systems",),
    ("training", "scoring", "interop"),
    ("report", "explain", "localization", "mixtures"),
    ("bin",),
)
# A task in one place: nothing but entry points needs them, and a deleted folder is a deleted task.
TASK_ROOMS = ("localization", "mixtures")


def module_of(path: Path) -> str:
    """Dotted name of a file of the package."""
    name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
    return name.removesuffix(".__init__")


def modules() -> dict[str, Path]:
    """Files of the package by their dotted names."""
    return {module_of(path): path for path in sorted((ROOT / PACKAGE).rglob("*.py"))}


def imported_names(tree: ast.AST) -> list[str]:
    """Dotted names that a file imports, wherever in it: at its top, in a function, or by ``importlib``.

    A name ``from a import b`` counts as ``a.b``. A call of ``importlib.import_module`` without a
    literal is the name ``?``.
    """
    names = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names += [f"{'.' * node.level}{node.module or ''}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith(
            ("import_module", "__import__")
        ):
            argument = node.args[0]
            names.append(argument.value if isinstance(argument, ast.Constant) else "?")
    return names


def imports() -> dict[str, set[str]]:
    """Modules of the package that each module of it imports."""
    known = modules()
    found = {}
    for module, path in known.items():
        targets = set()
        for name in imported_names(ast.parse(path.read_text())):
            if name.startswith("."):
                raise ValueError(f"{path}: relative import {name}")
            # An attribute of a module: the module.
            while name and name not in known:
                name = name.rpartition(".")[0]
            targets.add(name)
        found[module] = targets - {"", PACKAGE, module}
    return found


def room_of(module: str) -> str:
    """Room of a module: the folder, or the file on the ground floor; the package itself is the door."""
    _, _, rest = module.partition(".")
    return rest.partition(".")[0] or "door"


def arrows() -> dict[tuple[str, str], list[str]]:
    """Imports between rooms, ``(importer, imported)``, with the modules that make them."""
    found: dict[tuple[str, str], list[str]] = {}
    for module, targets in imports().items():
        for target in sorted(targets):
            pair = room_of(module), room_of(target)
            if pair[0] != pair[1]:
                found.setdefault(pair, []).append(f"{module} -> {target}")
    return found


def circle(graph: dict[str, set[str]]) -> list[str]:
    """Nodes of a circle in a graph, the first one again at its end; empty without one."""
    done: set[str] = set()

    def walk(node: str, path: list[str]) -> list[str]:
        if node in path:
            return [*path[path.index(node) :], node]
        if node in done:
            return []
        for target in sorted(graph.get(node, ())):
            if cycle := walk(target, [*path, node]):
                return cycle
        done.add(node)
        return []

    for start in sorted(graph):
        if cycle := walk(start, []):
            return cycle
    return []


if __name__ == "__main__":
    for (importer, imported), examples in sorted(arrows().items()):
        sys.stdout.write(f"{importer} -> {imported}: {len(examples)}\n")
