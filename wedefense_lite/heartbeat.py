"""Signs of life: a process that hangs ends the run of all, and none outlives its launcher."""

import atexit
import logging
import os
import threading
from datetime import timedelta

import torch.distributed as dist

from wedefense_lite.processes import end_with_parent

BEAT_SECONDS = 5.0
# Beats of this process without one of the process that it watches. They are counted, not timed:
# a job that was suspended as a whole goes on where it was.
BEATS_TO_WARNING = 6
BEATS_TO_END = 12
# Added to the count of a process that has ended as it should.
ENDED = 1 << 40


class Heartbeat:
    """Beats of a process, and its look at the beats of the next one.

    The processes form a ring: if some hang, there is one that doesn't and watches one that does.

    Args:
        store: store that all processes of the run share.
        rank: number of this process.
        world: number of processes.

    Attributes:
        watched: number of the process that is watched now.
        silent_beats: beats of this process since the last one of the watched process.
    """

    def __init__(self, store: dist.Store, rank: int, world: int):
        self.store = store
        self.rank = rank
        self.world = world
        self.watched = rank
        self.silent_beats = 0
        self._last_count = 0

    def beat(self) -> None:
        """Give a sign of life, and look for that of the next process."""
        self.store.add(_key(self.rank), 1)
        for step in range(1, self.world):
            rank = (self.rank + step) % self.world
            count = self.store.add(_key(rank), 0)
            if count < ENDED:
                self._note(rank, count)
                return
        self.watched = self.rank
        self.silent_beats = 0

    def _note(self, rank: int, count: int) -> None:
        if rank != self.watched or count != self._last_count:
            self.silent_beats = 0
        else:
            self.silent_beats += 1
        self.watched = rank
        self._last_count = count

    def end(self) -> None:
        """Say that this process has ended as it should."""
        self.store.add(_key(self.rank), ENDED)


def _key(rank: int) -> str:
    return f"heartbeat/{rank}"


class _Watch(threading.Thread):
    """Thread that beats until it is stopped, and ends the process if the next one is silent."""

    def __init__(self, heartbeat: Heartbeat):
        super().__init__(name="heartbeat", daemon=True)
        self.heartbeat = heartbeat
        self.stopped = threading.Event()

    def run(self) -> None:
        while not self.stopped.wait(BEAT_SECONDS):
            try:
                self.heartbeat.beat()
            except RuntimeError:  # the store has ended, and with it the run
                return
            self._judge()

    def _judge(self) -> None:
        beats = self.heartbeat.silent_beats
        silence = f"process {self.heartbeat.watched} has been silent for {beats * BEAT_SECONDS:g} s"
        if beats == BEATS_TO_WARNING:
            limit = BEATS_TO_END * BEAT_SECONDS
            logging.warning(
                "%s: it is stopped, or its machine is; after %g s all end", silence, limit
            )
        if beats >= BEATS_TO_END:
            logging.error("%s: the run has ended; the same command continues it", silence)
            logging.shutdown()
            # Other threads may wait for the silent process for ever.
            os._exit(1)

    def stop(self) -> None:
        """Say that this process has ended as it should; the second call does nothing."""
        if self.stopped.is_set():
            return
        self.stopped.set()
        try:
            self.heartbeat.end()
        except RuntimeError:  # the store has ended before
            return


_watches: list[_Watch] = []


def start(rank: int, world: int) -> None:
    """Watch the processes of a run, whose process group has been made.

    Args:
        rank: number of this process.
        world: number of processes.
    """
    # A connection of its own: others may wait in theirs.
    store = dist.TCPStore(
        os.environ["MASTER_ADDR"],
        int(os.environ["MASTER_PORT"]),
        is_master=False,
        timeout=timedelta(minutes=1),
        wait_for_workers=False,
    )
    watch = _Watch(Heartbeat(store, rank, world))
    watch.start()
    _watches.append(watch)
    atexit.register(watch.stop)


def stop() -> None:
    """End the watch of this process."""
    while _watches:
        _watches.pop().stop()


def end_with_launcher() -> None:
    """Let this process end when ``torchrun``, which started it, is killed.

    Without it the process goes on alone, and the same command again makes two that write into one
    folder.
    """
    if "TORCHELASTIC_RUN_ID" in os.environ:
        end_with_parent()
