"""Files in memory, which are written over in place of making new ones."""

import os
from contextlib import ExitStack

import pytest

from wedefense_lite.audio import decoders
from wedefense_lite.audio.decoders import memory_file


@pytest.fixture(autouse=True)
def no_spare_files():
    decoders._close_spare_files()
    yield
    decoders._close_spare_files()


def content(descriptor: int) -> bytes:
    with open(descriptor, "rb", closefd=False) as file:
        return file.read()


def test_a_file_that_is_used_again_holds_the_new_bytes_alone():
    with memory_file(b"a long content") as first:
        assert content(first) == b"a long content"
    with memory_file(b"short") as second:
        assert second == first
        assert content(second) == b"short"
        assert os.fstat(second).st_size == 5
    with memory_file() as empty:
        assert content(empty) == b""


def test_two_that_are_open_at_a_time_are_two():
    with memory_file(b"outer") as outer, memory_file(b"inner") as inner:
        assert content(outer) == b"outer"
        assert content(inner) == b"inner"


def in_a_forked_process(function) -> int:
    """Status with which a child ends that calls ``function``, which returns it."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    status = 99
    try:
        status = function()
    finally:
        os._exit(status)


def spare_files_after_use() -> int:
    with memory_file(b"of the child"):
        pass
    return len(decoders._spare_files)


def test_a_forked_process_writes_into_files_of_its_own():
    """A file that both had would be read by one with the bytes of the other."""
    with memory_file(b"of the parent"):
        pass
    assert len(decoders._spare_files) == 1
    assert in_a_forked_process(lambda: len(decoders._spare_files)) == 0
    with memory_file(b"of the parent") as descriptor:
        assert in_a_forked_process(spare_files_after_use) == 1
        assert content(descriptor) == b"of the parent"


def test_a_file_that_is_open_during_a_fork_is_not_kept_by_the_child():
    file = memory_file(b"of the parent")
    descriptor = file.__enter__()

    def leave() -> int:
        file.__exit__(None, None, None)
        return len(decoders._spare_files)

    assert in_a_forked_process(leave) == 0
    assert content(descriptor) == b"of the parent"
    file.__exit__(None, None, None)
    assert decoders._spare_files == [descriptor]


def test_more_than_a_few_are_not_kept():
    with ExitStack() as stack:
        for _ in range(decoders.MOST_SPARE_FILES + 2):
            stack.enter_context(memory_file(b"audio"))
    assert len(decoders._spare_files) == decoders.MOST_SPARE_FILES


def test_large_ones_and_those_of_an_error_are_not_kept(monkeypatch):
    monkeypatch.setattr(decoders, "LARGEST_SPARE_FILE", 4)
    with memory_file(b"large"):
        pass
    with pytest.raises(KeyError), memory_file(b"ok"):
        raise KeyError
    assert decoders._spare_files == []
