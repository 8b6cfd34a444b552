"""Types a command of Python or torchrun, for which tests/warm/server.py forks a process.

``client.py ADDRESS PROGRAM WORDS...`` is what ``python`` and ``torchrun`` are in a shell script
under test. It imports little, because it is started hundreds of times.
"""

import json
import os
import resource
import select
import signal
import socket
import sys

LIMITS = [getattr(resource, name) for name in dir(resource) if name.startswith("RLIMIT_")]


def ask(
    address: str, words: list[str], folder: str, environment: dict[str, str], outputs: list[int]
) -> socket.socket:
    """Connection over which the exit status of a script of Python will come.

    Args:
        address: name of the server's abstract socket.
        words: the script and its command line.
        folder: working folder.
        environment: all variables.
        outputs: descriptors of standard input, output and error.
    """
    umask = os.umask(0)
    os.umask(umask)
    limits = [(number, resource.getrlimit(number)) for number in LIMITS]
    request = {"words": words, "folder": folder, "environment": environment}
    request |= {"umask": umask, "limits": limits}
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(f"\0{address}")
    data = json.dumps(request).encode() + b"\n"
    sent = socket.send_fds(connection, [data], outputs)
    if sent < len(data):
        connection.sendall(data[sent:])
    return connection


def status_of(connection: socket.socket) -> int | None:
    """Exit status of a process, negative for a signal; None where it has to be started afresh.

    Raises:
        ConnectionError: the server has ended.
    """
    answer = b""
    while not answer.endswith(b"\n"):
        part = connection.recv(64)
        if not part:
            raise ConnectionError("the server of tests/warm has ended")
        answer += part
    connection.close()
    return None if answer == b"fresh\n" else int(answer)


def is_script(words: list[str]) -> bool:
    """Whether words for Python begin with a script: no option, no module, no program as text."""
    return bool(words) and words[0].endswith(".py") and not words[0].startswith("-")


def take_options(words: list[str]) -> tuple[int, list[str]]:
    """Number of processes of a command line of torchrun, and the words behind its options."""
    number = 0
    processes = 1
    while words[number].startswith("-"):
        name, _, value = words[number].partition("=")
        if name == "--nproc_per_node":
            processes = int(value)
        number += 1
    return processes, words[number:]


def run_ranks(
    address: str, words: list[str], folder: str, environment: dict[str, str], outputs: list[int]
) -> int | None:
    """Exit status of torchrun on one node: 1 where a rank fails, which ends the others.

    None where its processes have to be started afresh. Options are ``--name=value``.
    """
    processes, words = take_options(words)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    world = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    world |= {"WORLD_SIZE": str(processes), "LOCAL_WORLD_SIZE": str(processes)}
    connections = []
    for rank in range(processes):
        own = world | {"RANK": str(rank), "LOCAL_RANK": str(rank)}
        connections.append(ask(address, words, folder, environment | own, outputs))
    while connections:
        ended, _, _ = select.select(connections, [], [])
        for connection in ended:
            connections.remove(connection)
            status = status_of(connection)
            if status != 0:
                for other in connections:
                    other.close()
                return None if status is None else 1
    return 0


def main() -> None:
    address, program, *words = sys.argv[1:]
    outputs = [0, 1, 2]
    status = None
    if program == "torchrun":
        status = run_ranks(address, words, os.getcwd(), dict(os.environ), outputs)
    elif is_script(words):
        status = status_of(ask(address, words, os.getcwd(), dict(os.environ), outputs))
    if status is None:
        path = os.path.join(os.path.dirname(sys.executable), program)
        os.execv(path, [path, *words])
    if status < 0:
        # The shell is told what ended the process.
        if -status != signal.SIGKILL:
            signal.signal(-status, signal.SIG_DFL)
        os.kill(os.getpid(), -status)
    sys.exit(status)


if __name__ == "__main__":
    main()
