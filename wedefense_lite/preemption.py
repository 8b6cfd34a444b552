"""Signals by which a cluster says that it takes a machine back, and the end of a training on them.

Slurm sends SIGUSR1 ahead of the wall-time limit where ``--signal=USR1@120`` asks for it, and
SIGTERM before it preempts or cancels a job. Both leave time for the current step and ``last.pt``.
"""

import logging
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGUSR1, signal.SIGTERM)
# Exit status of a command that has saved its state, and that the same command continues.
# torchrun has an exit status of its own.
EXIT_STATUS = 85


class Preempted(Exception):
    """A training has ended on a signal; its state is saved."""


class Requests:
    """Signals that have arrived at this process.

    They end its work at once, but are only noted where work is ``held`` together.

    Attributes:
        name: name of the first signal; None before it.
    """

    def __init__(self):
        self.name: str | None = None
        self._is_held = False

    def note(self, number: int, _frame: FrameType | None) -> None:
        """Handler of a signal.

        Raises:
            Preempted: work is not held together.
        """
        # torchrun passes on a signal that Slurm has sent to all processes: the second does nothing.
        if self.name is not None:
            return
        self.name = signal.Signals(number).name
        if not self._is_held:
            raise Preempted(f"stopped by {self.name}: the same command continues")
        logging.warning("%s: the training ends after this step", self.name)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Context of work that looks at ``name`` by itself, where its state can be saved."""
        self._is_held = True
        try:
            yield
        finally:
            self._is_held = False

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """Context, inside a held one, of work that is better left than finished.

        Raises:
            Preempted: a signal has arrived, or does inside.
        """
        self._is_held = False
        try:
            if self.name is not None:
                raise Preempted(f"stopped by {self.name}: the same command continues")
            yield
        finally:
            self._is_held = True


@contextmanager
def noted() -> Iterator[Requests]:
    """Context in which the signals no longer end the process by themselves."""
    requests = Requests()
    before = {number: signal.signal(number, requests.note) for number in SIGNALS}
    try:
        yield requests
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
