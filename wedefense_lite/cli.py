"""Entry points: options from the signature of a function, and errors of one line."""

from wedefense_lite import interruption, limits, preemption

import inspect
import json
import logging
import os
import re
import sys
import tempfile
import traceback
from argparse import SUPPRESS, Action
from collections.abc import Callable, Iterable, Mapping
from typing import NoReturn

from jsonargparse import ArgumentParser

from wedefense_lite.files import InputError, disk_error, inputs_kept, printable

# Environment variable with the packages that hold a user's own components, separated by commas.
COMPONENTS_VARIABLE = "WEDEFENSE_COMPONENTS"
LONGEST_MESSAGE = 4000  # characters of an error
LOG_FORMAT = "%(asctime)s %(levelname)s %(message)s"
# Lines of jsonargparse's messages that repeat what stands around them.
NOISE = re.compile(
    r"Does not validate|Subtypes:|Errors:|- Expected a <class 'NoneType'>|Given value"
)


class Parser(ArgumentParser):
    """Parser whose options can't be shortened and whose errors are one line."""

    def __init__(self, **options):
        super().__init__(allow_abbrev=False, **options)

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        if not self.exit_on_error:
            super().error(message, ex)
        line = printable(in_one_line(message))
        self.exit(2, f"{self.prog}: error: {line} (--help lists the options)\n")


def in_one_line(message: str) -> str:
    """Message of jsonargparse without its layout."""
    kept = []
    for line in message.splitlines():
        line = line.strip()
        if not NOISE.match(line):
            kept.append(line.removeprefix("- "))
    return " ".join(kept)


def run(
    function: Callable,
    positional: bool = False,
    from_hub: bool = False,
    builds_systems: bool = False,
    aliases: Mapping[str, str] | None = None,
    several: str | None = None,
) -> None:
    """Run ``function`` with options read from the command line, then exit truly.

    Types, defaults and help come from its signature and docstring. Every error becomes one line
    on standard error, see :class:`one_line_errors`.

    Args:
        function: entry point; its return value is dropped.
        positional: parameters without a default are positional arguments, not required options.
        from_hub: the entry point may look for models on the hub; ``--offline`` keeps it from that.
        builds_systems: the entry point builds what a configuration names; ``--components`` names
            packages with components of the user's own.
        aliases: other names of options, such as those of official programs.
        several: parameter that takes all words that are no options.
    """
    options = inspect.signature(function).parameters
    with one_line_errors(interruption.program_name(), options), inputs_kept():
        parser = Parser(description=(function.__doc__ or "").split("\n\n")[0])
        parser.add_function_arguments(
            function,
            as_positional=positional,
            fail_untyped=True,
            skip={several} if several else None,
        )
        if several:
            help_text = parameter_help(function, several)
            parser.add_argument(several, nargs="*", default=[], help=help_text)
        if from_hub:
            add_offline(parser)
        if builds_systems:
            add_components(parser)
        words = rename_options(sys.argv[1:], aliases or {})
        # A list before positional arguments would swallow them, so there a list is one word.
        if not positional:
            words = join_lists(words, list_options(parser))
        words = complete_flags(words, flag_options(function))
        arguments = parser.parse_args(words)
        function(**parser.instantiate(arguments).as_dict())


def parameter_help(function: Callable, name: str) -> str:
    """What the docstring of a function says of a parameter, in one line."""
    _, _, text = inspect.getdoc(function).partition(f"\n    {name}: ")
    # The next parameter is not indented as deeply as what follows of this one.
    description = re.split(r"\n {1,4}\S|\n\n", text)[0]
    return " ".join(description.split())


def rename_options(words: list[str], aliases: Mapping[str, str]) -> list[str]:
    """Command line in which options have the names that the parser knows.

    Args:
        words: command line.
        aliases: other name of an option to its name.
    """
    renamed = []
    for word in words:
        name, equals, value = word.partition("=")
        renamed.append(f"{aliases.get(name, name)}{equals}{value}")
    return renamed


def flag_options(function: Callable) -> set[str]:
    """Options of an entry point that are true or false."""
    parameters = inspect.signature(function).parameters.values()
    return {f"--{parameter.name}" for parameter in parameters if parameter.annotation is bool}


def list_options(parser: Parser) -> set[str]:
    """Options of a parser that take several values."""
    options = set()
    # argparse has no public list of options, and jsonargparse none of their types; parameters
    # behind a ``**changes`` of an entry point are known to the parser only.
    for action in parser._actions:
        annotation = str(getattr(action, "_typehint", ""))
        if "list[" in annotation or "tuple[" in annotation:
            options.update(action.option_strings)
    return options


def complete_flags(words: list[str], flags: set[str]) -> list[str]:
    """Command line in which ``--flag`` without a value is ``--flag=true``.

    Args:
        words: command line.
        flags: options that are true or false.
    """
    completed = []
    for number, word in enumerate(words):
        next_words = words[number + 1 : number + 2]
        has_value = bool(next_words) and next_words[0].lower() in ("true", "false")
        if word in flags and not has_value:
            word = f"{word}=true"
        completed.append(word)
    return completed


def join_lists(words: list[str], options: set[str]) -> list[str]:
    """Command line in which ``--option one two`` is ``--option '["one", "two"]'``.

    jsonargparse takes one word an option, and a list as JSON.

    Args:
        words: command line.
        options: options that take several values; others keep their words.
    """
    joined = []
    number = 0
    while number < len(words):
        word = words[number]
        number += 1
        joined.append(word)
        values = []
        while number < len(words) and not words[number].startswith("--"):
            values.append(words[number])
            number += 1
        if word in options and len(values) > 1:
            values = [json.dumps(values)]
        joined += values
    return joined


def add_offline(parser: Parser) -> None:
    """Give a parser ``--offline``.

    It sets ``HF_HUB_OFFLINE`` while parsing, because huggingface_hub reads that only at import.
    """

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


def add_components(parser: Parser) -> None:
    """Give a parser ``--components``, which sets ``WEDEFENSE_COMPONENTS`` while parsing."""

    class Components(Action):
        def __call__(self, _parser, _namespace, packages, _option=None):
            os.environ[COMPONENTS_VARIABLE] = packages

    parser.add_argument(
        "--components",
        action=Components,
        default=SUPPRESS,
        help="packages, separated by commas, whose components a configuration may name too",
    )


class PrintableFormatter(logging.Formatter):
    """Formatter whose lines can't steer a terminal: ids of other people's files are in them."""

    def __init__(self):
        super().__init__(LOG_FORMAT)

    def format(self, record: logging.LogRecord) -> str:
        """Line of a record, with what isn't printable as ``\\x1b`` and the like."""
        return printable(super().format(record), keep="\n\t")


class one_line_errors:
    """Context that turns every error into one line on standard error and an exit status.

    Logging begins when it is entered: all of rank 0, and warnings of the others.

    | error | exit status |
    |---|---|
    | bad input or output, a full disk, a file in the way or gone, a loss that isn't finite | 2 |
    | too little memory, too many processes or open files | 2 |
    | a signal to a training, which has saved its state | 85 |
    | Ctrl-C | 130, as shells have it |
    | a reader of standard output that is gone | 141, as shells have it |
    | any other: a defect of the program | 1; the traceback is in a file that the line names |

    Args:
        program: name before the message.
        options: names of options of the program, of which some save memory.
    """

    def __init__(self, program: str, options: Iterable[str] = ()):
        self.program = program
        self.options = options

    def __enter__(self):
        # With it jsonargparse raises what it else handles, such as the first of several types.
        os.environ.pop("JSONARGPARSE_DEBUG", None)
        # A rank that is no number is told by the stages that need one.
        is_main = os.environ.get("RANK", "0") == "0"
        level = logging.INFO if is_main else logging.WARNING
        handler = logging.StreamHandler()
        handler.setFormatter(PrintableFormatter())
        logging.basicConfig(level=level, handlers=[handler])
        interruption.begin_work()
        return self

    def __exit__(self, kind, error, trace):
        if error is None or isinstance(error, SystemExit | GeneratorExit):
            return
        if isinstance(error, BrokenPipeError):
            # Python would flush standard output once more at its exit, and complain.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(141)
        message, status = message_and_status(error, self.options)
        if len(message) > LONGEST_MESSAGE:
            # A cell of a file that is no table may have megabytes.
            half = LONGEST_MESSAGE // 2
            message = f"{message[:half]} ... {message[-half:]}"
        line = printable(message.replace("\n", " "))
        print(f"{self.program}: error: {line}", file=sys.stderr, flush=True)
        sys.exit(status)


def message_and_status(error: BaseException, options: Iterable[str] = ()) -> tuple[str, int]:
    """Message of an error for its user, and the exit status of the program."""
    if isinstance(error, InputError | FloatingPointError):
        return str(error), 2
    if isinstance(error, preemption.Preempted):
        return str(error), preemption.EXIT_STATUS
    if isinstance(error, KeyboardInterrupt):
        return "interrupted", interruption.STATUS
    message = limits.shortage(error, options) or _message_about_files(error)
    if message:
        return message, 2
    return f"{type(error).__name__}: {error} (a defect; {_kept_traceback(error)})", 1


def _message_about_files(error: BaseException) -> str:
    """Message of an error that the disk or its other users made, empty for any other."""
    if isinstance(error, FileNotFoundError) and not _has_working_folder():
        return interruption.REMOVED
    cause = disk_error(error)
    if cause is not None:
        place = f"{cause.filename}: " if cause.filename else ""
        return f"{place}{cause.strerror}"
    if isinstance(error, OSError) and error.filename is not None:
        # A folder in the way, or a file that somebody removed: nothing that code can mend.
        return f"{error.filename}: {error.strerror}"
    return ""


def _has_working_folder() -> bool:
    try:
        os.getcwd()
    except FileNotFoundError:
        return False
    return True


def _kept_traceback(error: BaseException) -> str:
    """Words that say where the traceback of an error is."""
    text = "".join(traceback.format_exception(error))
    try:
        with tempfile.NamedTemporaryFile(
            "w", prefix="wedefense_lite.", suffix=".traceback", delete=False, encoding="utf-8"
        ) as file:
            file.write(text)
    except OSError as problem:
        return f"its traceback can't be kept: {problem.strerror}"
    return f"its traceback is in {file.name}"


def paired(options: str, *values: list[str] | str | None) -> list[tuple[str | None, ...]]:
    """Values of options that belong together: those of the first data set, of the second, ...

    Args:
        options: names of the options, for the error.
        values: one or several of each option; None where the option was not given.

    Raises:
        InputError: different numbers of values.
    """
    columns = []
    for value in values:
        if value is not None:
            columns.append([value] if isinstance(value, str) else list(value))
    counts = {len(column) for column in columns}
    if len(counts) > 1 or 0 in counts:
        numbers = " and ".join(str(len(column)) for column in columns)
        raise InputError(f"{options} have {numbers} values, expected as many of each")
    count = counts.pop()
    for number, value in enumerate(values):
        if value is None:
            columns.insert(number, [None] * count)
    return list(zip(*columns))


def checked(function: Callable, *arguments):
    """Result of ``function(*arguments)``, for arguments that the user typed.

    Raises:
        InputError: in place of a ``ValueError`` of the function.
    """
    try:
        return function(*arguments)
    except ValueError as error:
        raise InputError(str(error)) from error


def checked_option(option: str, function: Callable, *arguments):
    """Result of ``checked``, whose error begins with the name of an option or a file.

    Args:
        option: ``--name``.
        function: raises ValueError.
        arguments: of the function.
    """
    try:
        return function(*arguments)
    except ValueError as error:
        raise InputError(f"{option}: {error}") from error


def needed(option: str, value: str | None) -> str:
    """Value of an option that this use of the program can't do without.

    Raises:
        InputError: the option was not given.
    """
    if not value:
        raise InputError(f"{option} is needed here, and is not given")
    return value
