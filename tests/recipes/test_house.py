"""The house keeps its plan: imports go one way, a task is one folder, a recipe is only its
differences.
"""

import ast
import subprocess

import house
import pytest
from conftest import ROOT

FLOOR = {room: number for number, rooms in enumerate(house.FLOORS) for room in rooms}
# The package's own door, wedefense_lite.load, opens a bundle for its caller.
DOOR = "door"


def tracked(*endings: str) -> list:
    command = ["git", "-C", str(ROOT), "ls-files", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    return [ROOT / name for name in names if name.endswith(endings)]


def test_every_room_has_a_floor():
    rooms = {house.room_of(module) for module in house.modules()} - {DOOR}
    assert rooms <= set(FLOOR)


def test_no_import_goes_up():
    upward = [
        example
        for (importer, imported), examples in house.arrows().items()
        if importer != DOOR and FLOOR[imported] > FLOOR[importer]
        for example in examples
    ]
    assert upward == []


def test_no_modules_import_each_other_in_a_circle():
    assert house.circle(house.imports()) == []


def test_no_rooms_import_each_other_in_a_circle():
    graph = {}
    for importer, imported in house.arrows():
        graph.setdefault(importer, set()).add(imported)
    assert house.circle(graph) == []


@pytest.mark.parametrize("room", house.TASK_ROOMS)
def test_a_task_is_needed_by_entry_points_only(room):
    importers = {importer for importer, imported in house.arrows() if imported == room}
    assert importers <= {"bin"}


def test_modules_are_searched_for_in_two_places():
    """An import that a reader can't see in the file is the component search's alone."""
    searching = [
        module
        for module, path in house.modules().items()
        if "?" in house.imported_names(ast.parse(path.read_text()))
    ]
    # Components by their class names, and tables of official checkpoints by their files.
    assert searching == ["wedefense_lite.interop.official", "wedefense_lite.systems.experiment"]


def test_a_circle_is_found():
    assert house.circle({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b", "c", "b"]
    assert house.circle({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == []


def test_lazy_and_dynamic_imports_are_read():
    text = "def f():\n    from a.b import c\n    importlib.import_module('d.e')\n    import_module(x)\n"
    assert house.imported_names(ast.parse(text)) == ["a.b.c", "d.e", "?"]


def test_the_drawing_of_the_documentation_is_of_todays_imports():
    """python tools/house.py --draw docs/rooms.svg draws it again."""
    assert (ROOT / "docs/rooms.svg").read_text() == house.drawing()


def test_a_drawing_leaves_out_what_a_chain_of_arrows_says():
    graph = {"bin": {"systems", "audio"}, "systems": {"audio"}}
    assert house.direct_arrows(graph) == [("bin", "systems"), ("systems", "audio")]


def test_the_reading_counts_code_and_not_its_layout(tmp_path):
    """One nested comprehension in three lines of code, one comment, one name of two that says
    nothing.
    """
    text = '"""Doc."""\n\n# why\nfound = [[y for y in x] for x in z]\n\n\ndef f(row):\n    """Doc."""\n    return row\n'
    (tmp_path / "module.py").write_text(text)
    reading = house.Reading()
    reading.add(tmp_path / "module.py")
    assert (reading.lines, reading.comments) == (3, 1)
    assert (reading.comprehensions, reading.nested) == (2, 1)
    assert (reading.fillers, reading.names) == (1, 4)
    assert reading.longest == (1, "module.f")


@pytest.mark.parametrize("script", tracked("run.sh"), ids=lambda path: path.parent.name)
def test_a_recipe_is_only_its_differences(script):
    assert len(script.read_text().splitlines()) <= 30
