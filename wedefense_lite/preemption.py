"""Signals by which a cluster says that it takes a machine back, and the end of a training on them.

Slurm sends SIGUSR1 ahead of the wall-time limit where ``--signal=USR1@120`` asks for it, and
SIGTERM before it preempts or cancels a job. Both leave time for the current step and ``last.pt``.
"""

import logging
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

SIGNALS = (signal.SIGUSR1, signal.SIGTERM)
# Exit status of a command that has saved its state, and that the same command continues.
# torchrun has an exit status of its own.
EXIT_STATUS = 85


class Preempted(Exception):
    """A training has ended on a signal; its state is saved."""


class Requests:
    """Signals that arrive while a training runs.

    Before and after it they end the process, as they do by default: nothing is lost there, and a
    process that waits for another one doesn't see a handler's exception.

    Attributes:
        name: name of the first signal; None before it.
    """

    def __init__(self):
        self.name: str | None = None
        self._is_left_at_once = False

    def _note(self, number: int, _frame: FrameType | None) -> None:
        """Handler of a signal.

        Raises:
            Preempted: the work is left at once.
        """
        # torchrun passes on a signal that Slurm has sent to all processes: the second does nothing.
        if self.name is not None:
            return
        self.name = signal.Signals(number).name
        if self._is_left_at_once:
            self._raise()
        logging.warning("%s: the training ends after this step", self.name)

    def _raise(self) -> NoReturn:
        raise Preempted(f"stopped by {self.name}: the same command continues")

    @contextmanager
    def noted(self) -> Iterator[None]:
        """Context of work that looks at ``name`` where its state can be saved."""
        before = {number: signal.signal(number, self._note) for number in SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """Context, inside the other, of work that is better left than finished.

        Raises:
            Preempted: a signal has arrived, or does inside.
        """
        self._is_left_at_once = True
        try:
            if self.name is not None:
                self._raise()
            yield
        finally:
            self._is_left_at_once = False
