"""The audit of packages fails for what has no reason to stay, and says when it could not ask."""

import json
from types import SimpleNamespace

import audit
import commands
import pytest

VULNERABLE = {
    "name": "thing",
    "version": "1.0",
    "vulns": [{"id": "PYSEC-1", "aliases": ["CVE-7"], "fix_versions": ["1.1"]}],
}
FINE = {"name": "other", "version": "2.0", "vulns": []}
SKIPPED = {"name": "own", "skip_reason": "not found on PyPI"}


def answer(monkeypatch, packages=None, stderr=""):
    """Let pip-audit answer with these packages, or with no JSON."""
    stdout = "" if packages is None else json.dumps({"dependencies": packages})
    result = SimpleNamespace(stdout=stdout, stderr=stderr, returncode=0)
    monkeypatch.setattr(audit.subprocess, "run", lambda *_, **__: result)


def test_a_vulnerability_without_a_reason_fails(monkeypatch, capsys):
    answer(monkeypatch, [FINE, VULNERABLE, SKIPPED])
    line = commands.refused(monkeypatch, capsys, audit.audit)
    assert "thing 1.0: PYSEC-1 (mended in 1.1)" in line


def test_one_with_a_reason_is_told(monkeypatch, caplog, tmp_path):
    caplog.set_level("INFO")
    reasons = tmp_path / "audit.toml"
    reasons.write_text('[[left]]\nid = "CVE-7"\nreason = "never called"\n')
    monkeypatch.setattr(audit, "REASONS", reasons)
    answer(monkeypatch, [FINE, VULNERABLE, SKIPPED])
    audit.audit()
    assert "thing 1.0: PYSEC-1 is left: never called" in caplog.text
    assert "2 packages audited, 1 could not be" in caplog.text


@pytest.mark.parametrize("packages", [None, [SKIPPED], []])
def test_without_a_network_it_says_so_and_passes(monkeypatch, caplog, packages):
    answer(monkeypatch, packages, "ERROR: no connection")
    audit.audit()
    assert "nothing was audited" in caplog.text


def test_every_reason_of_this_repository_is_one():
    audit.read_reasons(audit.REASONS)
