"""What README.md and the configurations say of systems that carry the name of a published one."""

import re

import pytest
from conftest import ROOT

from wedefense_lite.interop.official import importers

README = (ROOT / "README.md").read_text()
CONFIGS = sorted(path.stem for path in (ROOT / "conf").glob("*.yaml"))
# Published as a paper alone, and as a class of transformers.
WITHOUT_REPOSITORY = {"convtasnet", "wavlm_classifier"}
# Importers for forms that another one knows by the names of the weights.
FORMS = {form for importer in importers().values() for form in importer.forms.values()}


def rows() -> list[str]:
    """Rows of the table of systems."""
    start = README.index("| `conf/` | what it is")
    return README[start : README.index("\n\n", start)].splitlines()[2:]


def names_of(row: str) -> list[str]:
    """Configurations of a row, a wildcard for all that begin alike."""
    names = []
    for name in re.findall(r"`([^`]*)`", row.split("|")[1]):
        beginning = name.removesuffix("*")
        is_wildcard = beginning != name
        names += [each for each in CONFIGS if is_wildcard and each.startswith(beginning)]
        if not is_wildcard:
            names.append(name)
    return names


PUBLISHED = [name for row in rows() if "as published" in row for name in names_of(row)]


def test_every_configuration_has_one_row():
    named = [name for row in rows() for name in names_of(row)]
    assert sorted(named) == CONFIGS


@pytest.mark.parametrize("name", [name for name in PUBLISHED if name not in WITHOUT_REPOSITORY])
def test_a_published_system_names_repository_and_commit(name):
    lines = (ROOT / f"conf/{name}.yaml").read_text().splitlines()
    comment = " ".join(line.lstrip("# ") for line in lines if line.startswith("#"))
    assert re.search(r"https://(github\.com|huggingface\.co)/\S+", comment)
    assert re.search(r"(at|sha256) [0-9a-f]{7,}", comment)


def test_every_importer_is_told_of():
    missing = [name for name in importers() if name not in FORMS and f"`{name}`" not in README]
    assert missing == []
