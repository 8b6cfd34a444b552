"""Commands in tens of milliseconds: each is a fork of a process that has imported all libraries.

``Warm`` starts that process once. It forks a process for each command, which types the command's
words as a shell would, in a folder of its own, with its own standard output and error. Faults are
injected into the fork alone: see ``inject``.
"""

import contextlib
import ctypes
import errno
import gc
import itertools
import json
import mmap
import os
import resource
import runpy
import select
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BIN = "wedefense_lite/bin"
PREPARE = "egs/asvspoof2019_la/local/prepare_data.py"
# Commands whose imports are those of all others.
WARMED = (
    f"{BIN}/train.py",
    f"{BIN}/evaluate_localization.py",
    f"{BIN}/diarize_spoof.py",
    f"{BIN}/export_bundle.py",
    f"{BIN}/separate.py",
    f"{BIN}/simulate_mixtures.py",
    f"{BIN}/report.py",
    "tools/make_shard_list.py",
    "tools/download.py",
    PREPARE,
)
# Flags of an ``open`` that may change a file.
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
# Events of the interpreter that come just before a change of files; os.replace is a rename.
CHANGES = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link", "os.symlink", "os.truncate"}
# A command of a tiny system takes a second; one that takes this long hangs.
LIMIT = 60.0


@dataclass(frozen=True)
class Ended:
    """End of a command.

    Attributes:
        status: exit status, or the negative number of the signal that ended it; None where it had
            not ended in time, and was killed.
        output: standard output and standard error.
        seconds: from its start to its end.
        changes: changes of files that it made, one word each.
    """

    status: int | None
    output: str
    seconds: float
    changes: list[str]


class Running:
    """A command that runs.

    Args:
        connection: to the process that waits for it.
        folder: folder of its outputs and of the log of its changes.
    """

    def __init__(self, connection: socket.socket, folder: Path):
        self.connection = connection
        self.folder = folder
        self.start = time.monotonic()
        self.received = b""
        self.pid = int(self._line(LIMIT) or 0)

    def kill(self, number: int) -> None:
        """Send a signal to the command alone."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def is_over(self, seconds: float = 0.0) -> bool:
        """Whether the command ends within some seconds."""
        if b"\n" in self.received:
            return True
        ready, _, _ = select.select([self.connection], [], [], seconds)
        return bool(ready)

    def wait(self, limit: float = LIMIT) -> Ended:
        """Wait for the end; processes that the command left behind are killed then."""
        line = self._line(limit)
        status = int(line) if line else None
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        if status is None:
            self._line(5.0)
        seconds = time.monotonic() - self.start
        self.connection.close()
        output = (self.folder / "out").read_text(errors="replace")
        changes = (self.folder / "changes").read_text(errors="replace").splitlines()
        shutil.rmtree(self.folder)
        return Ended(status, output, seconds, changes)

    def _line(self, limit: float) -> str:
        """Next line from the process that waits; empty where none came in time."""
        end = time.monotonic() + limit
        while b"\n" not in self.received:
            left = end - time.monotonic()
            if left <= 0 or not select.select([self.connection], [], [], left)[0]:
                return ""
            block = self.connection.recv(4096)
            if not block:
                return ""
            self.received += block
        line, _, self.received = self.received.partition(b"\n")
        return line.decode()


class Warm:
    """Process that has imported all libraries, and runs commands by fork."""

    def __init__(self):
        self.folder = Path(tempfile.mkdtemp(prefix="warm"))
        self.address = str(self.folder / "socket")
        environment = os.environ | {
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": str(ROOT),
            "PYTHONUNBUFFERED": "1",
        }
        self.process = subprocess.Popen(
            [sys.executable, __file__, self.address],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
            cwd=ROOT,
        )
        self.process.stdout.readline()  # it says when it is ready
        self.numbers = itertools.count()

    def stop(self) -> None:
        """End the process."""
        self.process.stdin.close()
        self.process.wait(timeout=60)
        shutil.rmtree(self.folder, ignore_errors=True)

    def start(
        self,
        words: str | list,
        folder: Path,
        fault: dict | None = None,
        file_size: int | None = None,
        user: int | None = None,
        shared_memory: int | None = None,
        **environment: str,
    ) -> Running:
        """Start a command.

        Args:
            words: script, from the root of the repository, and its options.
            folder: working folder.
            fault: options of ``inject``.
            file_size: bytes beyond which no file of the command grows.
            user: number of the user who runs it; takes root.
            shared_memory: bytes of /dev/shm, as a container may have few; takes root.
            environment: further variables.
        """
        if isinstance(words, str):
            words = words.split()
        outputs = self.folder / str(next(self.numbers))
        outputs.mkdir()
        (outputs / "changes").touch()
        request = {
            "words": [str(word) for word in words],
            "folder": str(folder),
            "outputs": str(outputs),
            "fault": fault or {},
            "file_size": file_size,
            "user": user,
            "shared_memory": shared_memory,
            "environment": environment,
        }
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(self.address)
        connection.sendall(json.dumps(request).encode() + b"\n")
        return Running(connection, outputs)

    def run(self, words: str | list, folder: Path, limit: float = LIMIT, **options) -> Ended:
        """Run a command to its end."""
        return self.start(words, folder, **options).wait(limit)

    def run_ranks(
        self, words: str | list, folder: Path, world: int, faults: dict[int, dict] | None = None
    ) -> list[Ended]:
        """Run a command in several processes that talk to each other.

        As under ``torchrun``, one that fails ends all.

        Args:
            words: script and options.
            folder: working folder.
            world: number of processes.
            faults: options of ``inject`` by rank.
        """
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        ranks = []
        for rank in range(world):
            variables = {
                "RANK": rank,
                "LOCAL_RANK": rank,
                "WORLD_SIZE": world,
                "LOCAL_WORLD_SIZE": world,
                "MASTER_ADDR": "127.0.0.1",
                "MASTER_PORT": port,
            }
            variables = {name: str(value) for name, value in variables.items()}
            fault = (faults or {}).get(rank)
            ranks.append(self.start(words, folder, fault, **variables))
        end = time.monotonic() + LIMIT
        over = []
        while not over and time.monotonic() < end:
            over = [rank for rank in ranks if rank.is_over(0.02)]
        ended = {rank: rank.wait() for rank in over}
        failed = any(result.status for result in ended.values())
        for rank in ranks:
            if rank in ended:
                continue
            if failed and not rank.is_over(0.2):
                rank.kill(signal.SIGTERM)
            ended[rank] = rank.wait(LIMIT if not failed else 15.0)
        return [ended[rank] for rank in ranks]


def inject(
    folder: str, log: str, number: int = 0, point: int = 0, seconds: float | None = None
) -> None:
    """Log the changes of files of this process, and send it a signal just before one of them.

    Args:
        folder: changes in this folder count.
        log: file for one line a change.
        number: the signal; 0 for none.
        point: number of the change, from 1.
        seconds: in place of the change, time after which the signal is sent.
    """
    inside = os.path.realpath(folder) + os.sep
    stream = os.open(log, os.O_WRONLY | os.O_APPEND)
    # Shared with processes that this one forks: changes count wherever they are made.
    counter = mmap.mmap(-1, 8)
    lock = threading.Lock()
    main = os.getpid()
    if seconds is not None:
        timer = threading.Timer(seconds, os.kill, (main, number))
        timer.daemon = True
        timer.start()

    def change(name: str, path: object) -> None:
        with lock:
            (count,) = struct.unpack("q", counter[:8])
            count += 1
            counter[:8] = struct.pack("q", count)
        os.write(stream, f"{name} {os.path.basename(str(path))}\n".encode(errors="replace"))
        if number and count == point:
            os.kill(main, number)
            if threading.current_thread() is not threading.main_thread():
                time.sleep(0.05)  # the main thread takes the signal

    def is_inside(path: object) -> bool:
        if isinstance(path, int) or path is None:
            return False
        return os.path.realpath(os.fsdecode(path)).startswith(inside)

    def hook(event: str, arguments: tuple) -> None:
        if event == "open":
            path, _, flags = arguments
            if flags & WRITING and is_inside(path):
                change("open", path)
        elif event in CHANGES:
            # shutil.rmtree names files by their folder's number.
            by_number = event in ("os.remove", "os.rmdir") and arguments[-1] not in (None, -1)
            if by_number or is_inside(arguments[0]):
                change(event.removeprefix("os."), arguments[0])

    sync = os.fsync

    def fsync(file: int) -> None:
        change("fsync", "")
        sync(file)

    os.fsync = fsync  # raises no event
    sys.addaudithook(hook)


def become(request: dict, standard_output: int) -> int:
    """Exit status of a command, typed in this process.

    Args:
        request: words, folders and faults of the command.
        standard_output: file of its standard output and error.
    """
    os.setsid()
    outputs = Path(request["outputs"])
    null = os.open("/dev/null", os.O_RDWR)
    os.dup2(null, 0)
    os.dup2(standard_output, 1)
    os.dup2(standard_output, 2)
    os.chdir(request["folder"])
    os.environ.update(request["environment"])
    script, *words = request["words"]
    path = ROOT / script
    sys.argv = [str(path), *words]
    sys.path[0] = str(path.parent)
    # The package was imported before there was a script, which decides on these.
    interruption = sys.modules["wedefense_lite.interruption"]
    sys.excepthook = interruption.report_uncaught
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGINT, interruption.leave)
    if request["fault"]:
        inject(request["folder"], str(outputs / "changes"), **request["fault"])
    if request["file_size"] is not None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        size = request["file_size"]
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
    if request["shared_memory"] is not None:
        limit_shared_memory(request["shared_memory"])
    if request["user"] is not None:
        os.setgroups([])
        os.setresgid(*3 * [request["user"]])
        os.setresuid(*3 * [request["user"]])
    return exit_status(lambda: runpy.run_path(str(path), run_name="__main__"))


def limit_shared_memory(size: int) -> None:
    """Give this process and its children a /dev/shm of their own."""
    libc = ctypes.CDLL(None, use_errno=True)
    new_mounts = 0x00020000
    private = ["mount", "--make-rprivate", "/"]
    small = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", "/dev/shm"]
    if libc.unshare(new_mounts) != 0:
        raise OSError(ctypes.get_errno(), "unshare")
    for command in (private, small):
        subprocess.run(command, check=True)


def exit_status(function: Callable) -> int:
    """Status with which an interpreter would end that does nothing else."""
    try:
        function()
    except SystemExit as stop:
        if stop.code is None or isinstance(stop.code, int):
            return stop.code or 0
        print(stop.code, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        sys.excepthook(*sys.exc_info())
        return 130
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


def attend(connection: socket.socket) -> None:
    """Fork the command of a request, say its process id, wait, and say its exit status."""
    with connection.makefile("rb") as lines:
        request = json.loads(lines.readline())
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    # A pipe, because a limit on the size of files would hold for a file.
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        connection.close()
        os.close(reading)
        status = 1
        try:
            status = become(request, writing)
            threading._shutdown()  # as at the end of an interpreter: other threads end first
            sys.stdout.flush()
        except OSError as error:
            # A full disk under standard output.
            status = 120 if error.errno in (errno.ENOSPC, errno.EFBIG) else 1
        finally:
            os._exit(status)
    os.close(writing)
    with contextlib.suppress(BrokenPipeError):
        connection.sendall(f"{pid}\n".encode())
        status = copy_until_end(pid, reading, Path(request["outputs"], "out"))
        connection.sendall(f"{status}\n".encode())


def copy_until_end(pid: int, pipe: int, path: Path) -> int:
    """Exit status of a process; what it writes into a pipe goes to a file.

    Processes that it left behind may hold the pipe open, so its end alone is waited for.
    """
    os.set_blocking(pipe, False)
    status = None
    with open(path, "wb") as file:
        while True:
            select.select([pipe], [], [], 0.002)
            block = b""
            with contextlib.suppress(BlockingIOError):
                block = os.read(pipe, 1 << 16)
            file.write(block)
            if block:
                continue
            if status is not None:
                return os.waitstatus_to_exitcode(status)
            ended, value = os.waitpid(pid, os.WNOHANG)
            if ended:
                status = value
            else:
                time.sleep(0.002)


def import_all() -> None:
    """Import what commands import, by asking each for help."""
    os.environ["CUDA_VISIBLE_DEVICES"] = ""
    import kaldiio  # noqa: F401
    import matplotlib.pyplot  # noqa: F401
    import sklearn.linear_model  # noqa: F401
    import torch._dynamo  # noqa: F401, the first optimizer imports it
    import torch.utils.data
    import torch.utils.tensorboard  # noqa: F401
    import webdataset  # noqa: F401

    torch.set_num_threads(1)
    for name in WARMED:
        path = ROOT / name
        sys.argv = [str(path), "--help"]
        sys.path[0] = str(path.parent)
        with open(os.devnull, "w") as null, contextlib.redirect_stdout(null):
            exit_status(lambda script=str(path): runpy.run_path(script, run_name="__main__"))
    from wedefense_lite.systems.experiment import load_experiment

    load_experiment(f"{ROOT}/conf/resnet18.yaml")  # fills caches of jsonargparse


def serve(address: str) -> None:
    """Answer requests until standard input ends, as it does when the tests have."""
    import_all()
    # Objects of before a fork are no garbage; looking at them would copy their pages.
    gc.collect()
    gc.freeze()
    # Not waited for: the kernel forgets processes that have attended.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(address)
    listener.listen(64)
    print("ready", flush=True)
    while True:
        ready, _, _ = select.select([listener, sys.stdin], [], [])
        if sys.stdin in ready:
            return
        connection, _ = listener.accept()
        if os.fork() == 0:
            listener.close()
            try:
                attend(connection)
            finally:
                os._exit(0)
        connection.close()


if __name__ == "__main__":
    serve(sys.argv[1])
