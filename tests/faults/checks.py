"""What a command promises when something is wrong with its input or its disk."""

import re

from injection import Ended

SHOWN = 400  # characters of the end of an output, in a message of a test

# Control characters that a terminal would obey.
CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\x9b]")


def refused(ended: Ended, *words: str, status: int | None = 2) -> None:
    """Check that a command ended with one line of error that says what is wrong.

    Args:
        ended: end of the command.
        words: texts of which the line must hold one.
        status: expected exit status; None for any but 0.
    """
    end = end_of(ended)
    assert ended.status is not None, f"no end within {ended.seconds:.0f} s\n{end}"
    assert ended.status != 0, f"accepted\n{end}"
    is_defect = "Traceback" in ended.output or "(a defect;" in ended.output
    assert not is_defect, f"traceback\n{end}"
    assert status is None or ended.status == status, f"exit status {ended.status}\n{end}"
    errors = [line for line in ended.output.splitlines() if "error: " in line]
    assert len(errors) == 1, f"{len(errors)} lines of error\n{end}"
    assert not CONTROL.search(errors[0]), f"control characters\n{errors[0]!r}"
    if words:
        assert any(word in errors[0] for word in words), f"expected {words} in\n{errors[0]}"


def end_of(ended: Ended) -> str:
    """Last lines of what a command wrote."""
    lines = [line[-SHOWN:] for line in ended.output.splitlines()[-3:]]
    return "\n".join(lines)


def accepted(ended: Ended) -> None:
    """Check that a command ended well."""
    assert ended.status == 0, f"exit status {ended.status}\n{end_of(ended)}"
