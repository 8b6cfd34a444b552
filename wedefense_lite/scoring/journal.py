"""A journal: what a command has done, a line each, so that it goes on where it was killed."""

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from wedefense_lite.files import InputError


def journal_path(output: str) -> Path:
    """Journal of an output file, beside it; it is removed when the output is complete."""
    return Path(f"{output}.journal")


class Journal:
    """Lines of text behind a first one, which says what they are of; see ``open_journal``.

    Args:
        handle: of the file, at its end.
        lines: lines that an earlier run wrote.
    """

    def __init__(self, handle: int, lines: list[str]):
        self._handle = handle
        self.lines = lines

    def add(self, line: str) -> None:
        """Write a line; a process that is killed later has written it."""
        content = f"{line}\n".encode()
        # A disk that fills up takes a part of a line, and says so at the next write.
        while content:
            content = content[os.write(self._handle, content) :]


@contextmanager
def open_journal(path: Path, facts: dict, resume: bool) -> Iterator[Journal]:
    """The journal of a command while the block runs.

    Args:
        path: its file.
        facts: what all lines depend on, such as the model; JSON.
        resume: go on with lines that are there; otherwise they are dropped.

    Raises:
        InputError: the journal is of other facts, or another process writes it.
    """
    first_line = json.dumps(facts, sort_keys=True)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW, 0o666)
    except OSError as error:
        raise InputError(f"{path}: can't be written: {error.strerror}") from error
    try:
        try:
            fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise InputError(
                f"{path}: another process writes it, expected one at a time"
            ) from error
        content = os.pread(handle, os.fstat(handle).st_size, 0) if resume else b""
        # A process may have been killed within a line.
        content = content[: content.rfind(b"\n") + 1]
        lines = content.decode(errors="replace").splitlines()
        if lines and lines[0] != first_line:
            raise InputError(
                f"{path}: the journal of another model or other options, expected those of this "
                "command: remove it, or start without --resume"
            )
        os.ftruncate(handle, len(content))
        os.lseek(handle, 0, os.SEEK_END)
        journal = Journal(handle, lines[1:])
        if not lines:
            journal.add(first_line)
        yield journal
    finally:
        os.close(handle)
