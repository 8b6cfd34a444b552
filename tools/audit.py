"""Audit of the installed packages: known vulnerabilities, but for those with a reason to stay."""

from wedefense_lite import cli

import json
import logging
import subprocess
import sys
import tomllib
from pathlib import Path

from wedefense_lite.files import InputError, read_text

REASONS = Path(__file__).with_name("audit.toml")
COMMAND = [sys.executable, "-m", "pip_audit", "--format", "json", "--progress-spinner", "off"]


def audit() -> None:
    """Ask pip-audit for known vulnerabilities of the installed packages.

    Those in tools/audit.toml are left, each for the reason that stands there. Without a network
    nothing is audited, which is said and is no error.
    """
    process = subprocess.run(COMMAND, capture_output=True, text=True, check=False)
    try:
        packages = json.loads(process.stdout)["dependencies"]
    except (ValueError, KeyError, TypeError):
        lines = process.stderr.split("\n") if process.stderr else [""]
        last_line = " ".join(filter(None, map(str.strip, lines)))[-200:]
        logging.warning("nothing was audited, pip-audit could not ask: %s", last_line)
        return
    audited = [package for package in packages if "skip_reason" not in package]
    if not audited:
        logging.warning("nothing was audited: no package was found at a service to ask")
        return
    reasons = read_reasons(REASONS)
    present = []
    for package in audited:
        for vulnerability in package["vulns"]:
            names = {vulnerability["id"], *vulnerability.get("aliases", [])}
            reason = next((reasons[name] for name in sorted(names) if name in reasons), None)
            place = f"{package['name']} {package['version']}: {vulnerability['id']}"
            if reason is None:
                fixes = ", ".join(vulnerability.get("fix_versions", [])) or "no version"
                present.append(f"{place} (mended in {fixes})")
            else:
                logging.info("%s is left: %s", place, reason)
    logging.info("%d packages audited, %d could not be", len(audited), len(packages) - len(audited))
    if present:
        raise InputError(f"{'; '.join(present)}; update them, or give a reason in {REASONS.name}")


def read_reasons(path: Path) -> dict[str, str]:
    """Reasons to leave a vulnerability, by its name.

    Args:
        path: TOML with tables ``[[left]]`` of ``id`` and ``reason``.

    Raises:
        InputError: a table lacks one of them.
    """
    reasons = {}
    for row in tomllib.loads(read_text(path)).get("left", []):
        if not (row.get("id") and row.get("reason")):
            raise InputError(f"{path}: {row}, expected an id and a reason")
        reasons[row["id"]] = row["reason"]
    return reasons


if __name__ == "__main__":
    cli.run(audit)
