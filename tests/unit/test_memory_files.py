"""Files in memory, which are written over in place of making new ones."""

import os

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


def test_a_forked_process_writes_into_files_of_its_own():
    """A file that both had would be read by one with the bytes of the other."""
    with memory_file(b"of the parent"):
        pass
    with memory_file(b"of the parent") as descriptor:
        child = os.fork()
        if not child:
            with memory_file(b"of the child"):
                os._exit(0)
        os.waitpid(child, 0)
        assert content(descriptor) == b"of the parent"
    child = os.fork()
    if not child:
        os._exit(len(decoders._spare_files))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert len(decoders._spare_files) == 1


def test_large_ones_and_those_of_an_error_are_not_kept(monkeypatch):
    monkeypatch.setattr(decoders, "LARGEST_SPARE_FILE", 4)
    with memory_file(b"large"):
        pass
    with pytest.raises(KeyError), memory_file(b"ok"):
        raise KeyError
    assert decoders._spare_files == []
