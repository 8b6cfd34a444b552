"""Forks a process for each command, from an interpreter that has imported other people's packages.

Importing PyTorch takes seconds of a processor, and tests type hundreds of commands. No module of
this repository is imported before the fork: a command imports them as a fresh interpreter would.
"""

import atexit
import builtins
import contextlib
import gc
import importlib
import json
import os
import resource
import selectors
import signal
import socket
import sys
import threading
import types

PACKAGES = (
    "torch torch._dynamo torch.distributed torch.utils.data torch.nn.parallel "
    "torch.utils.tensorboard numpy scipy.fft scipy.ndimage scipy.optimize scipy.signal "
    "scipy.special scipy.stats sklearn.linear_model matplotlib.figure matplotlib.ticker "
    "matplotlib.backends.backend_svg soundfile webdataset kaldiio safetensors.torch "
    "jsonargparse jsonargparse.typing yaml tqdm jinja2"
).split()
# Variables that an interpreter and these packages read when they start.
# scikit-learn sets two of KMP_ when it is imported, so those are left out.
READ_AT_START = ("PYTHON", "LC_", "LANG", "OMP_", "MKL_", "OPENBLAS_", "TORCH_", "MPL")
SET_BY_FORK = ("PYTHONPATH",)
PART_BYTES = 1 << 16


def start_variables(environment: dict[str, str]) -> dict[str, str]:
    """Variables of an environment that count only when an interpreter starts."""
    return {
        name: value
        for name, value in environment.items()
        if name.startswith(READ_AT_START) and name not in SET_BY_FORK
    }


def receive(connection: socket.socket) -> tuple[dict, list[int]]:
    """Request of a client, and its standard input, output and error."""
    data, descriptors, _, _ = socket.recv_fds(connection, PART_BYTES, 3)
    while not data.endswith(b"\n"):
        part = connection.recv(PART_BYTES)
        if not part:
            break
        data += part
    return json.loads(data), descriptors


def become(request: dict, descriptors: list[int]) -> None:
    """Give this process what the client's own child would have.

    Args:
        request: words, folder, environment, umask and limits of the client.
        descriptors: its standard input, output and error.
    """
    for number, descriptor in enumerate(descriptors):
        os.dup2(descriptor, number)
        os.close(descriptor)
    os.umask(request["umask"])
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["environment"])
    own_path = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
    script_folder = os.path.dirname(os.path.abspath(request["words"][0]))
    sys.path[:0] = [script_folder, *own_path]
    sys.argv[:] = request["words"]
    for number, limits in request["limits"]:
        resource.setrlimit(number, limits)


class Server:
    """Processes of clients, and the connections over which they are told the exit status.

    Args:
        address: name of an abstract socket.
        parent: process that starts the clients; the server ends with it.
        environment: variables with which this interpreter started.
    """

    def __init__(self, address: str, parent: int, environment: dict[str, str]):
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(f"\0{address}")
        self.listener.listen(64)
        self.selector = selectors.DefaultSelector()
        self.connections = {}
        self.start_variables = start_variables(environment)
        self.selector.register(self.listener, selectors.EVENT_READ, (self.accept,))
        self.selector.register(os.pidfd_open(parent), selectors.EVENT_READ, (sys.exit,))

    def serve(self) -> dict:
        """Serve clients for ever.

        Returns:
            A request, in the process that was forked to do it.
        """
        while True:
            for key, _ in self.selector.select():
                method, *arguments = key.data
                request = method(*arguments)
                if request is not None:
                    return request

    def accept(self) -> dict | None:
        """Fork the process of the next client; its request in that process, None in this one."""
        connection, _ = self.listener.accept()
        request, descriptors = receive(connection)
        if start_variables(request["environment"]) != self.start_variables:
            # A client of several ranks leaves at the first such answer.
            with contextlib.suppress(OSError):
                connection.sendall(b"fresh\n")
            connection.close()
            process_id = None
        else:
            process_id = os.fork()
        if process_id == 0:
            connection.close()
            for other in self.connections.values():
                other.close()
            self.listener.close()
            self.selector.close()
            become(request, descriptors)
            return request
        for descriptor in descriptors:
            os.close(descriptor)
        if process_id is not None:
            self.connections[process_id] = connection
            process = os.pidfd_open(process_id)
            ended = (self.tell, process, process_id)
            self.selector.register(process, selectors.EVENT_READ, ended)
            left = (self.kill, connection, process_id)
            self.selector.register(connection, selectors.EVENT_READ, left)
        return None

    def tell(self, process: int, process_id: int) -> None:
        """Tell a client the exit status of its process."""
        _, status = os.waitpid(process_id, 0)
        self.selector.unregister(process)
        os.close(process)
        connection = self.connections.pop(process_id)
        if connection.fileno() >= 0:
            self.selector.unregister(connection)
            # A client that has just left is told nothing.
            with contextlib.suppress(OSError):
                connection.sendall(b"%d\n" % os.waitstatus_to_exitcode(status))
            connection.close()

    def kill(self, connection: socket.socket, process_id: int) -> None:
        """Kill the process of a client that was killed."""
        self.selector.unregister(connection)
        connection.close()
        if process_id in self.connections:
            os.kill(process_id, signal.SIGKILL)


def run(script: str) -> int:
    """Exit status of a script, as Python tells it."""
    try:
        # Tracebacks show the whole path, as they do of a script that Python was told to run.
        with open(script, "rb") as file:
            code = compile(file.read(), os.path.abspath(script), "exec")
        main = types.ModuleType("__main__")
        main.__file__ = os.path.abspath(script)
        main.__builtins__ = builtins
        sys.modules["__main__"] = main
        exec(code, vars(main))
    except SystemExit as stop:
        if stop.code is None or isinstance(stop.code, int):
            return stop.code or 0
        print(stop.code, file=sys.stderr)
        return 1
    except BaseException:
        sys.excepthook(*sys.exc_info())
        return 1
    return 0


def end(status: int) -> int:
    """Exit status after what an interpreter does at its end, but for freeing its memory.

    To free the memory of the imported packages would take half a second.
    """
    threading._shutdown()
    atexit._run_exitfuncs()
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except OSError:
        return 120
    return status


def main() -> None:
    address, parent = sys.argv[1:]
    # Packages set more.
    environment = dict(os.environ)
    for package in PACKAGES:
        importlib.import_module(package)
    server = Server(address, int(parent), environment)
    print("ready", flush=True)
    # Objects of before the fork are never garbage; looking at them would copy their pages.
    gc.collect()
    gc.freeze()
    request = server.serve()
    status = run(request["words"][0])
    os._exit(end(status))


if __name__ == "__main__":
    main()
