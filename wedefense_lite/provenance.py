"""Which code and which files made a result."""

import hashlib
import subprocess
from pathlib import Path


def code_commit() -> str:
    """Git commit of the source tree, ``-dirty`` added where tracked files were changed.

    An installed copy outside a git checkout gives ``unknown``.
    """
    root = Path(__file__).resolve().parents[1]
    command = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    try:
        found = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return "unknown"
    return found.stdout.strip() if found.returncode == 0 else "unknown"


def file_hash(path: str | Path) -> str:
    """First twelve hexadecimal digits of a file's SHA-256."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:12]
