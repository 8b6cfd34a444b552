"""Which code and which files made a result."""

from wedefense_lite import __version__

import hashlib
import os
import platform
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

from wedefense_lite.files import open_bytes

PACKAGE = Path(__file__).resolve().parent


def code_commit() -> str:
    """Git commit of the source tree, ``-dirty`` added where tracked files were changed.

    An installed copy gives its version, also inside a repository of its user, whose commit says
    nothing of this code: the repository must begin beside the package and track it.
    """
    root = PACKAGE.parent
    installed = f"version {__version__}"
    if _git(root, "rev-parse", "--show-toplevel") != str(root):
        return installed
    if not _git(root, "ls-files", "--", f"{PACKAGE.name}/__init__.py"):
        return installed
    commit = _git(root, "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*")
    return commit or installed


def _git(folder: Path, *arguments: str) -> str:
    """Output of git in a folder; empty where it fails or is not installed."""
    # A repository may name a command for fsmonitor, which git would run. Without optional locks git
    # writes nothing, for which there may be no room.
    options = ["--no-optional-locks", "-c", "core.fsmonitor=false"]
    command = ["git", *options, "-C", str(folder), *arguments]
    # Inside a hook of git, variables name the repository of the hook.
    own = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    try:
        result = subprocess.run(command, capture_output=True, text=True, check=False, env=own)
    except FileNotFoundError:
        return ""
    return result.stdout.strip() if result.returncode == 0 else ""


def file_hash(path: str | Path) -> str:
    """First twelve hexadecimal digits of a file's SHA-256.

    Raises:
        InputError: missing file, a folder or a device, which would have no end.
    """
    with open_bytes(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:12]


def environment(
    seed: int,
    config_hash: str,
    class_prior: list[float],
    device_name: str | None = None,
    num_processes: int = 1,
) -> dict:
    """What a reader needs to run the training again: command, code, machine and versions.

    Args:
        seed: of the training.
        config_hash: of its configuration.
        class_prior: ``[p_spoof, p_bonafide]`` that its loss saw.
        device_name: of the GPU; None for the processor.
        num_processes: that trained together.
    """
    import torch  # takes a second, which who asks for a commit only need not wait

    return {
        "command": " ".join([Path(sys.executable).name, *sys.argv]),
        "commit": code_commit(),
        "seed": seed,
        "config_hash": config_hash,
        "class_prior": class_prior,
        "device": device_name or platform.processor() or platform.machine(),
        "num_processes": num_processes,
        "num_threads": torch.get_num_threads(),
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "wedefense_lite": __version__,
        }
        | {name: version(name) for name in ("transformers", "torchaudio") if sys.modules.get(name)},
    }
