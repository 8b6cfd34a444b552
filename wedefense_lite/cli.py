"""What every entry point shares: options from a function's signature, one-line errors, progress."""

import inspect
import json
import logging
import os
import re
import sys
from argparse import SUPPRESS, Action
from collections.abc import Callable
from typing import NoReturn

from jsonargparse import ArgumentParser

from wedefense_lite.files import InputError

LOG_FORMAT = "%(asctime)s %(levelname)s %(message)s"
# Lines of jsonargparse's messages that repeat what stands around them.
NOISE = re.compile(
    r"Does not validate|Subtypes:|Errors:|- Expected a <class 'NoneType'>|Given value"
)


class Parser(ArgumentParser):
    """Options that can't be shortened; what is wrong with them is told in one line."""

    def __init__(self, **options):
        super().__init__(allow_abbrev=False, **options)

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        if not self.exit_on_error:
            super().error(message, ex)
        self.exit(2, f"{self.prog}: error: {in_one_line(message)} (--help lists the options)\n")


def in_one_line(message: str) -> str:
    """A message of jsonargparse without its layout."""
    lines = (line.strip() for line in message.splitlines())
    return " ".join(line.removeprefix("- ") for line in lines if not NOISE.match(line))


def run(function: Callable, positional: bool = False, from_hub: bool = False) -> None:
    """Run ``function`` with options read from the command line, then exit truly.

    Types, defaults and help come from its signature and docstring. An :class:`InputError` becomes
    one line on standard error and exit status 2.

    Args:
        function: the entry point; its return value is dropped.
        positional: parameters without a default are positional arguments, not required options.
        from_hub: it may look for models on the hub, which ``--offline`` keeps it from.
    """
    parser = Parser(description=(function.__doc__ or "").split("\n\n")[0])
    parser.add_function_arguments(function, as_positional=positional, fail_untyped=True)
    if from_hub:
        add_offline(parser)
    options = inspect.signature(function).parameters.values()
    flags = {f"--{option.name}" for option in options if option.annotation is bool}
    several = {
        option
        for action in parser._actions
        if re.search(r"\b(list|tuple)\[", str(getattr(action, "_typehint", "")))
        for option in action.option_strings
    }
    words = sys.argv[1:] if positional else _joined(sys.argv[1:], several)
    arguments = parser.parse_args(_bare_flags(words, flags))
    with one_line_errors(parser.prog):
        function(**parser.instantiate(arguments).as_dict())


def add_offline(parser: Parser) -> None:
    """Give a parser ``--offline``, which acts when it is read, as the hub's library reads its switch but once."""

    class Offline(Action):
        def __call__(self, *_):
            os.environ["HF_HUB_OFFLINE"] = "1"

    parser.add_argument(
        "--offline",
        nargs=0,
        action=Offline,
        default=SUPPRESS,
        help="never look on the hub for models",
    )


def _bare_flags(words: list[str], flags: set[str]) -> list[str]:
    """Let ``--flag`` stand for ``--flag true``, also before a positional argument."""
    return [
        f"{word}=true" if word in flags and after.lower() not in ("true", "false") else word
        for word, after in zip(words, [*words[1:], ""])
    ]


def _joined(words: list[str], several: set[str]) -> list[str]:
    """Let ``--option one two`` stand for ``--option '["one", "two"]'``, of an option that takes several values."""
    starts = [place for place, word in enumerate(words) if word.startswith("--")]
    options = [words[start:end] for start, end in zip([0, *starts], [*starts, len(words)])]
    return [
        word
        for first, *rest in filter(None, options)
        for word in (first, *([json.dumps(rest)] if rest[1:] and first in several else rest))
    ]


class one_line_errors:
    """Context in which an :class:`InputError`, or a loss that isn't finite, ends all with one line and status 2."""

    def __init__(self, program: str):
        self.program = program
        rank = int(os.environ.get("RANK", "0"))
        logging.basicConfig(format=LOG_FORMAT, level=logging.INFO if rank == 0 else logging.WARNING)

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        if kind is not None and issubclass(kind, InputError | FloatingPointError):
            print(f"{self.program}: error: {error}", file=sys.stderr, flush=True)
            sys.exit(2)


def checked(function: Callable, *arguments):
    """``function(*arguments)``, its :class:`ValueError` an :class:`InputError`: the values are the user's."""
    try:
        return function(*arguments)
    except ValueError as error:
        raise InputError(str(error)) from error


def needed(option: str, value: str | None) -> str:
    """The value of an option that this use of the program can't do without."""
    if not value:
        raise InputError(f"{option} is needed here, and is not given")
    return value
