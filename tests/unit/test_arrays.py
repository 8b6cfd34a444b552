"""Samples in memory that are none are refused in one line."""

import io

import pytest

from wedefense_lite.audio.arrays import samples_utterance
from wedefense_lite.files import InputError


@pytest.mark.parametrize("audio", [io.BytesIO(b"RIFF"), b"RIFF", bytearray(b"RIFF")])
def test_a_file_in_memory_is_no_samples(audio):
    with pytest.raises(InputError, match=f"a {type(audio).__name__}, expected samples"):
        samples_utterance(audio, 16000)
