"""What ends an entry point before it reads its command line: one line, as afterwards.

Importing PyTorch takes seconds, in which Python would answer with a traceback, or with the error of
a library that was left half imported. The package begins with this module, which imports nothing
that Python's own start doesn't, but for ``signal``.
"""

import os
import signal
import sys

STATUS = 130  # as shells have it
ROOT = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))
# Folders of scripts that people type, and the program that an installed package has.
FOLDERS = tuple(os.path.join(ROOT, name, "") for name in ("wedefense_lite/bin", "tools", "egs"))
PROGRAM = "wedefense-lite"
REMOVED = "the working folder was removed: go to another one"


def program_name() -> str:
    """Name of the script that runs, as it stands before its errors."""
    return os.path.basename(sys.argv[0])


def runs_entry_point() -> bool:
    """Whether a script of the package, of tools/ or of a recipe was typed: what imports the package
    keeps its own way to end.
    """
    script = getattr(sys.modules["__main__"], "__file__", None)
    if script is None:
        # "python -m" imports the package of a module before there is a script.
        return sys.argv[:1] == ["-m"]
    path = os.path.realpath(script)
    return path.startswith(FOLDERS) or os.path.basename(path) == PROGRAM


def leave(_number: int, _frame: object) -> None:
    """Handler that ends the process: it has written nothing yet."""
    os.write(2, f"{program_name()}: error: interrupted\n".encode(errors="replace"))
    os._exit(STATUS)


def report_uncaught(kind: type[BaseException], error: BaseException, trace) -> None:
    """Hook of the interpreter: Ctrl-C outside of what an entry point does is one line."""
    if issubclass(kind, KeyboardInterrupt):
        print(f"{program_name()}: error: interrupted", file=sys.stderr)
    else:
        sys.__excepthook__(kind, error, trace)


def refuse_removed_folder() -> None:
    """End in a working folder that was removed, of which a library of PyTorch dies with a message
    about itself.
    """
    try:
        os.getcwd()
    except FileNotFoundError:
        print(f"{program_name()}: error: {REMOVED}", file=sys.stderr)
        sys.exit(2)


def leave_at_once() -> None:
    """Let Ctrl-C end an entry point until it begins its work."""
    if not runs_entry_point():
        return
    refuse_removed_folder()
    sys.excepthook = report_uncaught
    # A shell that starts a command in the background may have said that it ignores Ctrl-C.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, leave)


def begin_work() -> None:
    """Let Ctrl-C raise ``KeyboardInterrupt`` again: what has begun is left tidy."""
    if signal.getsignal(signal.SIGINT) is leave:
        signal.signal(signal.SIGINT, signal.default_int_handler)
