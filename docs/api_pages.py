"""Pages of the modules, made from their docstrings while the site is built."""

import ast
from pathlib import Path

from mkdocs.structure.files import File

PACKAGE = Path(__file__).resolve().parents[1] / "wedefense_lite"


def first_line(path: Path) -> str:
    """First line of a module's docstring; empty without one."""
    docstring = ast.get_docstring(ast.parse(path.read_text())) or ""
    return docstring.partition("\n")[0]


def on_files(files, config):
    """Add a page a module, and one that lists them by room."""
    listing = ["# Modules", ""]
    room = None
    for path in sorted(PACKAGE.rglob("*.py")):
        # Entry points are documented by --help.
        if path.name == "__init__.py" or path.parent.name == "bin":
            continue
        names = path.relative_to(PACKAGE.parent).with_suffix("").parts
        module = ".".join(names)
        if names[1:-1] != room:
            room = names[1:-1]
            listing += ["", f"## {room[0] if room else 'ground floor'}", ""]
        page = f"api/{module}.md"
        listing.append(f"- [`{module}`]({page}): {first_line(path)}")
        content = f"# {module}\n\n::: {module}\n"
        files.append(File.generated(config, page, content=content))
    content = "\n".join(listing) + "\n"
    files.append(File.generated(config, "modules.md", content=content))
    return files
