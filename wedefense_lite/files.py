"""Plain-text tables, JSON, files that are written whole or not at all, locks of folders."""

import errno
import fcntl
import hashlib
import json
import logging
import math
import os
import re
import secrets
import shutil
import socket
import stat
import tempfile
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, NoReturn, TextIO
from urllib.parse import quote

from wedefense_lite.columns import table_of
from wedefense_lite.labels import LABELS

NO_VALUE = "-"  # a cell of a table that says nothing
LOCK_FILE = ".lock"
GZIP = b"\x1f\x8b"  # first bytes of a gzip file
# Temporary names of atomic_path: a mark of the machine, and a random part.
LEFTOVER = re.compile(r"\..+\.([0-9a-f]{8})[0-9a-f]{8}")
DAY = 86_400.0  # seconds
# Errors of a disk, as against those of a file that a program looks for.
DISK_ERRORS = {
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EROFS,
    errno.EFBIG,
    errno.EIO,
    errno.ESTALE,
}
NO_LOCKS = {errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS}
WHITE_SPACE = re.compile(r"[ \t]+")
CONTROL_CHARACTER = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f]")
# What float() takes beside this: 1_000, and digits of every script.
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?|[+-]?inf(inity)?|nan", re.ASCII | re.I)


class InputError(Exception):
    """Input or output that can't be used. Entry points print it as one line and exit with 2."""


_inputs: list[set[str]] = []  # real paths of the tables that the command has read, if one runs


@contextmanager
def inputs_kept() -> Iterator[None]:
    """Context in which no table that was read can be written over, as a mistyped option would."""
    _inputs.append(set())
    try:
        yield
    finally:
        _inputs.pop()


def file_path(path: str | Path) -> Path:
    """Path of a file, beside which there are others of names made of its own.

    Raises:
        InputError: a path that ends in no name, as that of the root of all folders.
    """
    if not Path(path).name:
        raise InputError(f"{str(path)!r}: a folder, expected a file")
    return Path(path)


def note_input(path: str | Path) -> None:
    """Note a file that is read, and isn't to be written in the same command."""
    if _inputs:
        _inputs[-1].add(os.path.realpath(path))


def refuse_input(path: str | Path) -> None:
    """Refuse to write a file that this command has read, see ``inputs_kept``.

    Raises:
        InputError: names the file.
    """
    if _inputs and os.path.realpath(path) in _inputs[-1]:
        raise InputError(f"{path}: an input of this command, expected another name for its output")


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Temporary path beside ``path`` that takes its name when the block ends without an error.

    The content is synced to disk first, so a file that exists is complete. After an error an
    earlier file is as it was. Temporary files that killed runs left in the folder are removed. A
    link stays a link, and what it names is written. A device or a pipe is written through.

    Args:
        path: final path; its folder is made.

    Raises:
        InputError: no such folder can be made, no permission, no room on the disk, the folder was
            removed meanwhile, or the file is an input, see ``inputs_kept``.
    """
    refuse_input(path)
    if _is_stream(path):
        with _written_through(path) as temporary:
            yield temporary
        return
    try:
        final = Path(os.path.realpath(path))
        final.parent.mkdir(parents=True, exist_ok=True)
        if final.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        remove_leftovers(final.parent)
        temporary, handle = _make_temporary(final)
    except (OSError, ValueError) as error:
        _refuse_output(path, error)
    try:
        yield temporary
        _sync_and_rename(temporary, final, path)
    except (OSError, RuntimeError) as error:
        # Libraries in C++ tell of a full disk by errors of their own.
        reason = disk_error(error, temporary)
        if reason is None:
            raise
        _refuse_output(path, reason)
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        os.close(handle)


def _sync_and_rename(temporary: Path, final: Path, path: str | Path) -> None:
    try:
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        # A rename within a file system happens at once or not at all.
        os.replace(temporary, final)
    except OSError as error:
        _refuse_output(path, error)


def _make_temporary(final: Path) -> tuple[Path, int]:
    """New empty file beside ``final``, and the handle that locks it while it is written."""
    while True:
        temporary = final.with_name(f".{final.name}.{_machine_mark()}{secrets.token_hex(4)}")
        # The kernel takes the umask off these permissions. Python could only learn the umask by
        # setting it for all threads, which then make files that everybody may write.
        handle = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o666)
        with suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Another run may have taken it for a leftover before it was locked.
        if os.fstat(handle).st_nlink:
            return temporary, handle
        os.close(handle)


_cleaned_folders: set[str] = set()


def remove_leftovers(folder: str | Path) -> None:
    """Remove the temporary files of killed runs from a folder, once in the life of a process.

    A file that a living process writes is locked, and stays. Some shared file systems keep locks
    from other machines, so files of those stay for a day.

    Args:
        folder: folder that is about to be written to.
    """
    folder = os.path.realpath(folder)
    if folder in _cleaned_folders:
        return
    _cleaned_folders.add(folder)
    paths = []
    with os.scandir(folder) as entries:
        for entry in entries:
            mark = LEFTOVER.fullmatch(entry.name)
            if mark and (mark[1] == _machine_mark() or _is_older_than_a_day(entry)):
                paths.append(entry.path)
    for path in paths:
        # Who may not remove it, or comes too late, leaves it.
        with suppress(OSError):
            handle = os.open(path, os.O_RDWR | os.O_NOFOLLOW)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                os.unlink(path)
            finally:
                os.close(handle)


def _machine_mark() -> str:
    """Eight hexadecimal digits that differ from machine to machine."""
    return hashlib.sha256(socket.gethostname().encode()).hexdigest()[:8]


def _is_older_than_a_day(entry: os.DirEntry) -> bool:
    try:
        return time.time() - entry.stat(follow_symlinks=False).st_mtime > DAY
    except OSError:  # removed meanwhile
        return False


def _is_stream(path: str | Path) -> bool:
    """Whether a path names a device or a pipe; a rename would replace it by a file."""
    # /dev/stdout may lead to a file that the shell has open: that one is continued, not replaced.
    if os.path.abspath(path).startswith(("/dev/fd/", "/dev/std", "/proc/")):
        return True
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError):
        return False
    return stat.S_ISCHR(mode) or stat.S_ISFIFO(mode)


@contextmanager
def _written_through(path: str | Path) -> Iterator[Path]:
    """Temporary path whose content is copied into a device or a pipe when the block ends."""
    with tempfile.TemporaryDirectory() as folder:
        temporary = Path(folder, "output")
        temporary.touch()
        yield temporary
        try:
            # A pipe without a reader would block for ever.
            handle = os.open(path, os.O_WRONLY | os.O_NONBLOCK)
            os.set_blocking(handle, True)
            with open(handle, "wb") as stream, open(temporary, "rb") as content:
                shutil.copyfileobj(content, stream)
        except OSError as error:
            _refuse_output(path, error)


def disk_error(error: BaseException, output: str | Path | None = None) -> OSError | None:
    """Error of the disk behind an error of a library, if there is one.

    Args:
        error: error that was raised while a file was written.
        output: the file; that it is gone counts as an error of the disk.
    """
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError):
            if cause.errno in DISK_ERRORS:
                return cause
            if output is not None and cause.filename in (output, str(output)):
                return cause
        cause = cause.__cause__ or cause.__context__
    return None


def _refuse_output(path: str | Path, error: OSError | ValueError) -> NoReturn:
    reason = getattr(error, "strerror", None) or error
    raise InputError(f"{path}: can't be written: {reason}") from error


def check_writable(*paths: str | Path | None) -> None:
    """Check before the work starts that files can be written after it.

    Args:
        paths: files that will be written; None stands for an output that isn't asked for.

    Raises:
        InputError: a path names a folder, lies below a file, or may not be written.
    """
    for path in paths:
        if path is None or _is_stream(path):
            continue
        try:
            _check_output(Path(path))
        except (OSError, ValueError) as error:
            _refuse_output(path, error)


def _check_output(path: Path) -> None:
    final = Path(os.path.realpath(path))
    if final.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    folder = final.parent
    while not os.path.lexists(folder):
        folder = folder.parent
    if not folder.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, f"{folder} is no folder")
    if os.statvfs(folder).f_flag & os.ST_RDONLY:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))
    if not os.access(folder, os.W_OK | os.X_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))


@contextmanager
def folder_lock(folder: str | Path, purpose: str) -> Iterator[None]:
    """Hold a folder against other processes while the block runs.

    The lock is one of ``fcntl.lockf``, which ends with its process however that ends, isn't
    inherited by workers, and works between machines on NFS. A file system without locks is told by
    a warning.

    Args:
        folder: folder of outputs; it is made.
        purpose: work that the folder is held for, such as ``training``.

    Raises:
        InputError: another process holds the folder, or its lock file is a link; names it.
    """
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = _lock(folder / LOCK_FILE)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise InputError(f"{folder / LOCK_FILE}: a link, expected none: remove it") from error
        _refuse_output(folder, error)
    try:
        holder = f"{purpose}, process {os.getpid()} on {socket.gethostname()}"
        with suppress(OSError):  # what the file says is for people; the lock is what counts
            os.ftruncate(handle, 0)
            os.pwrite(handle, holder.encode(), 0)
        yield
    finally:
        # Removed before it is released: who gets the lock of a removed file tries again.
        with suppress(OSError):
            os.unlink(folder / LOCK_FILE)
        os.close(handle)


def _lock(path: Path) -> int:
    """Handle of a lock file that this process has locked."""
    while True:
        # A link in somebody else's folder would have another file written.
        handle = os.open(path, os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW, 0o666)
        try:
            fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.pread(handle, 200, 0).decode(errors="replace")
            os.close(handle)
            if error.errno in NO_LOCKS:
                logging.warning("%s: no locks here; two runs in it would not see each other", path)
                return os.open(path, os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW, 0o666)
            if error.errno not in (errno.EAGAIN, errno.EACCES):
                raise
            raise InputError(
                f"{path.parent}: in use by {holder or 'another process'}; "
                "wait for its end, or choose another folder"
            ) from None
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(handle), os.stat(path)):
                return handle
        os.close(handle)


def file_name(key: str) -> str:
    """Name of a file for an id, which can't lead into another folder.

    Slashes, control characters, percent signs and leading dots become ``%XX``.

    Args:
        key: id of an utterance, name of a set or of an attack.
    """
    safe = ""
    for character in key:
        if character in "/\\%\0" or not character.isprintable():
            character = quote(character, safe="", errors="surrogatepass")
        safe += character
    if safe.startswith("."):
        safe = f"%2E{safe[1:]}"
    return safe or "%"


def printable(text: str, keep: str = "") -> str:
    """Text for a terminal: what isn't printable becomes ``\\x1b`` and the like.

    Args:
        text: text that may come from other people's files.
        keep: characters that stay, such as newlines of a table.
    """
    if text.isprintable():
        return text
    shown = []
    for character in text:
        if character.isprintable() or character in keep:
            shown.append(character)
        else:
            shown.append(character.encode("unicode_escape", "surrogatepass").decode())
    return "".join(shown)


def write_text(path: str | Path, text: str) -> None:
    """Write ``text`` (UTF-8) atomically, making parent folders."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="")


def write_lines(path: str | Path, lines: Iterable[str]) -> None:
    """Write lines, each ended by a newline, atomically."""
    write_text(path, "".join(f"{line}\n" for line in lines))


def write_table(path: str | Path, table: dict[str, str]) -> None:
    """Write a two-column table ``key value`` sorted by key in byte order (``LC_ALL=C``)."""
    keys = sorted(table, key=str.encode)
    write_lines(path, (f"{key} {table[key]}" for key in keys))


def write_json(path: str | Path, value) -> None:
    """Write JSON atomically, numbers in full precision."""
    # NaN and Infinity are no JSON, and other readers refuse the whole file.
    write_text(path, json.dumps(value, indent=1, allow_nan=False) + "\n")


def read_text(path: str | Path) -> str:
    """Text of a UTF-8 file, its lines ended as on Unix.

    Raises:
        InputError: missing file, a folder or a device, or no UTF-8.
    """
    with _text_errors(path), _open_text(path, newline=None) as file:
        return file.read()


@contextmanager
def _text_errors(path: str | Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        if error.object.startswith(GZIP):
            raise InputError(f"{path}: gzip, expected text: unpack it with gunzip") from error
        raise InputError(
            f"{path}: not UTF-8 text ({error.reason} at byte {error.start})"
        ) from error


def read_bytes(path: str | Path) -> bytes:
    """Content of a file.

    Raises:
        InputError: missing file, a folder or a device.
    """
    with open_bytes(path) as file:
        return file.read()


def check_file(path: str | Path) -> None:
    """Refuse what a library that opens it by name could read for ever.

    Raises:
        InputError: missing file, a folder, a device or a pipe.
    """
    with _text_errors(path):
        mode = os.stat(path).st_mode
    if not stat.S_ISREG(mode):
        raise InputError(f"{path}: a folder, a device or a pipe, expected a file")


@contextmanager
def open_bytes(path: str | Path) -> Iterator[BinaryIO]:
    """Open a file to read bytes of it.

    Raises:
        InputError: missing file, a folder or a device.
    """
    with _text_errors(path), open(_open(path), "rb") as file:
        yield file


def _open_text(path: str | Path, newline: str | None) -> TextIO:
    # Editors on Windows begin a file with a byte order mark, which is no part of the first key.
    return open(_open(path), encoding="utf-8-sig", newline=newline)


def _open(path: str | Path) -> int:
    """Handle of a file; a pipe that nobody writes is an empty one, so that nothing hangs."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    except ValueError as error:
        raise InputError(f"{path!r}: {error}") from None
    mode = os.fstat(handle).st_mode
    if not (stat.S_ISREG(mode) or stat.S_ISFIFO(mode)):
        os.close(handle)
        kind = "a folder" if stat.S_ISDIR(mode) else "a device"
        raise InputError(f"{path}: {kind}, expected a file")
    os.set_blocking(handle, True)
    return handle


def _lines(path: str | Path) -> Iterator[str]:
    """Lines of a UTF-8 file without their ends, which are those of Unix, Windows or old Macs."""
    with _text_errors(path), _open_text(path, newline="\n") as file:
        for number, line in enumerate(file):
            text = line.removesuffix("\n").removesuffix("\r")
            is_whole_file = number == 0 and not line.endswith("\n")
            if is_whole_file:
                # Lines of old Macs end by \r alone. In a file of other lines it is no end.
                yield from text.split("\r")
            else:
                yield text


def read_json(path: str | Path):
    """Parsed JSON of finite numbers, in which no object has a key twice.

    Raises:
        InputError: missing or malformed file.
    """
    try:
        return parse_json(read_text(path))
    except json.JSONDecodeError as error:
        raise InputError(f"{path}:{error.lineno}: not JSON: {error.msg}") from error
    except ValueError as error:
        raise InputError(f"{path}: not JSON: {error}") from error


def parse_json(text: str):
    """Value of a JSON text of finite numbers, in which no object has a key twice.

    Raises:
        ValueError: any other text.
    """
    try:
        return json.loads(text, parse_constant=_refuse_constant, object_pairs_hook=_unique_keys)
    except RecursionError as error:
        raise ValueError("lists within lists, too many for a reader") from error


def _refuse_constant(text: str) -> NoReturn:
    raise ValueError(f"{text}, expected a finite number")


def _unique_keys(pairs: list[tuple[str, object]]) -> dict:
    members = {}
    for key, value in pairs:
        if key in members:
            raise ValueError(f"{key!r} is there twice")
        members[key] = value
    return members


def iter_rows(
    path: str | Path, columns: int | None, maxsplit: int = -1, comment: str | None = None
) -> Iterator[tuple[int, list[str]]]:
    """Rows of a file that white space separates, as ``(line number from 1, fields)``.

    Blank lines are left out.

    Args:
        path: the file.
        columns: the number of fields each line must have; None: as many as the first one has.
        maxsplit: as in ``str.split``, for a last field that may hold spaces.
        comment: beginning of lines that are no rows.

    Raises:
        InputError: unreadable or empty file, a line with another number of fields, or a control
            character.
    """
    note_input(path)
    is_empty = True
    for number, line in enumerate(_lines(path), 1):
        fields = split_fields(path, number, line, maxsplit)
        if not fields or (comment and fields[0].startswith(comment)):
            continue
        # Without a number, the first line decides for all.
        columns = columns or len(fields)
        if len(fields) != columns:
            raise InputError(
                f"{path}:{number}: {len(fields)} columns, expected {columns}: {line.strip()!r}"
            )
        is_empty = False
        yield number, fields
    if is_empty:
        raise InputError(f"{path}: empty, expected lines of {columns or 'several'} columns")


def split_fields(path: str | Path, number: int, line: str, maxsplit: int = -1) -> list[str]:
    """Fields of a line of a table that spaces and tabs separate.

    Args:
        path: the table.
        number: number of the line, from 1.
        line: the line without its end.
        maxsplit: as in ``str.split``.

    Raises:
        InputError: a control character.
    """
    # The only white space in printable text is the space, so the quick way is right.
    if line.replace("\t", " ").isprintable():
        return line.split(None, maxsplit)
    check_text(path, number, line)
    line = line.strip(" \t")
    # No-break spaces and their kin are part of a field, where the check of ids finds them.
    return WHITE_SPACE.split(line, max(maxsplit, 0)) if line else []


def check_text(path: str | Path, number: int, line: str) -> None:
    """Refuse a line of a table with a control character.

    Raises:
        InputError: names the line.
    """
    control = CONTROL_CHARACTER.search(line)
    if control:
        raise InputError(f"{path}:{number}: control character {control[0]!r}, expected text")


def number(text: str) -> float:
    """Number in a text, in decimal digits; it may be infinite.

    Raises:
        ValueError: no number, or NaN.
    """
    if not NUMBER.fullmatch(text.strip()):
        raise ValueError(f"{text!r}, expected a number")
    value = float(text)
    # A comparison with NaN is false, so a NaN would count as a low score without a word.
    if math.isnan(value):
        raise ValueError("NaN, expected a number")
    return value


def converted(path: str | Path, line: int, name: str, text: str, convert: Callable):
    """Value of a cell of a table.

    Args:
        path: the table.
        line: number of the line, from 1.
        name: utterance or other id of the line.
        text: the cell.
        convert: function of the text that raises ValueError where it can't be converted.

    Raises:
        InputError: the conversion fails; names file, line and utterance.
    """
    try:
        return convert(text)
    except ValueError as error:
        raise InputError(f"{path}:{line}: {name}: {error}") from None


def read_rows(
    path: str | Path, columns: int | None, maxsplit: int = -1
) -> list[tuple[int, list[str]]]:
    """Rows of ``iter_rows`` at once, so that a bad line is found before any line is used."""
    return list(iter_rows(path, columns, maxsplit))


def first_fields(path: str | Path) -> list[str]:
    """First field of each line of a text that isn't blank."""
    note_input(path)
    return [line.split()[0] for line in read_text(path).splitlines() if line.strip()]


def read_table(path: str | Path) -> dict[str, str]:
    """Two-column table ``key value`` in file order; a value may hold spaces.

    Raises:
        InputError: as ``read_rows``, or a key on two lines.
    """
    regular = _regular_pairs(path)
    if regular is not None:
        return regular
    table: dict[str, str] = {}
    for number, (key, value) in read_rows(path, columns=2, maxsplit=1):
        if key in table:
            raise InputError(f"{path}:{number}: {key} is there twice")
        table[key] = value.strip()
    return table


def _regular_pairs(path: str | Path) -> dict[str, str] | None:
    """Table of ``read_table`` in which nothing is wrong; None where the lines have to be read."""
    if not os.path.isfile(path):  # a pipe can be read once
        return None
    note_input(path)
    table = table_of(read_bytes(path), minimum=2, rest=True)
    if table is None:
        return None
    pairs = dict(zip(table.texts(0), table.texts(1)))
    return pairs if len(pairs) == len(table) else None


def read_labels(path: str | Path) -> dict[str, str]:
    """``utt2lab``: utterance to ``bonafide`` or ``spoof``.

    Raises:
        InputError: as ``read_table``, or another label.
    """
    table = read_table(path)
    if set(LABELS).issuperset(table.values()):
        return table
    for key, label in table.items():
        if label not in LABELS:
            expected = " or ".join(LABELS)
            raise InputError(f"{path}: {key} has label {label!r}, expected {expected}")
    return table


def abbreviate(names: list[str]) -> str:
    """First three names of a list, for a message; an ellipsis stands for more."""
    text = ", ".join(names[:3])
    return f"{text} ..." if len(names) > 3 else text


def one_of(words: Collection[str]) -> Callable[[str], str]:
    """Conversion of a cell that accepts certain words only, for ``read_columns``.

    Args:
        words: accepted texts.

    Returns:
        function that gives an accepted text back and raises ValueError for any other.
    """

    def check(text: str) -> str:
        if text not in words:
            raise ValueError(f"{text!r}, expected {' or '.join(words)}")
        return text

    return check


def _check_header(place: str, header: Sequence[str], names: Sequence[str]) -> None:
    """Refuse a header that lacks a column, with what it may be instead, or has one twice.

    Args:
        place: file and line.
        header: fields of the line.
        names: columns that are needed.
    """
    for name in names:
        if list(header).count(name) > 1:
            raise InputError(f"{place}: header has the column {name!r} twice, expected it once")
    missing = [name for name in names if name not in header]
    if not missing:
        return
    text = " ".join(header)
    if "," in text:
        raise InputError(
            f"{place}: header {text!r} is separated by commas, expected white space between "
            f"{' '.join(names)!r}"
        )
    message = f"{place}: header {text!r} has no column {missing[0]!r}"
    if missing[0] == names[0]:
        message += f"; a header has the names of the columns: {' '.join(names)!r}"
    raise InputError(message)


def read_columns(
    path: str | Path,
    columns: Mapping[str, Callable],
    ids: Sequence[str] = ("filename",),
    header: Sequence[str] | None = None,
) -> dict[str, list]:
    """Columns of a table by trial, in the order of the file.

    Args:
        path: table, separated by tabs or spaces.
        columns: names in the header, each with the conversion of its cells, which raises
            ValueError.
        ids: columns whose values, joined by spaces, name a trial.
        header: names of the columns of a table without a header line.

    Returns:
        trial to its converted cells, in the order of ``columns``.

    Raises:
        InputError: no such column, another number of columns in a line, a trial twice, a cell that
            can't be converted, no line after the header.
    """
    rows = iter_rows(path, columns=len(header) if header else None)
    if not header:
        first, header = next(rows)
        _check_header(f"{path}:{first}", header, (*ids, *columns))
    id_columns = [header.index(name) for name in ids]
    # A trial may be named by several columns, as a talker by mixture and number.
    cells: dict[str, list] = {}
    for line, row in rows:
        trial = " ".join([row[column] for column in id_columns])
        if trial in cells:
            raise InputError(f"{path}:{line}: {trial} is there twice")
        cells[trial] = []
        for name, convert in columns.items():
            text = row[header.index(name)]
            cells[trial].append(converted(path, line, trial, text, convert))
    if not cells:
        raise InputError(f"{path}: no line after the header")
    return cells
