"""Tiny corpora for tests: noise bursts of known length, written when they are needed."""

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf

from wedefense_lite.audio.index import read_index, write_raw_list
from wedefense_lite.audio.reading import measure_lengths
from wedefense_lite.audio.shards import pack
from wedefense_lite.audio.utterance import Utterance
from wedefense_lite.files import InputError

RATE = 16000


def tone(seed: int, samples: int) -> np.ndarray:
    """16-bit noise that differs from seed to seed."""
    return (np.random.default_rng(seed).standard_normal(samples) * 3000).astype(np.int16)


def audio_bytes(wav: np.ndarray, kind: str = "FLAC", rate: int = RATE) -> bytes:
    buffer = io.BytesIO()
    sf.write(buffer, wav, rate, format=kind)
    return buffer.getvalue()


def flac_that_states(flac: bytes, samples: int) -> bytes:
    """A FLAC file whose header states another number of samples; 0 stands for unknown."""
    facts = int.from_bytes(flac[18:26], "big")
    changed = facts >> 36 << 36 | samples  # the lowest 36 bits
    return flac[:18] + changed.to_bytes(8, "big") + flac[26:]


def failure(batches) -> str:
    """The error that ends the reading of all batches; ``pytest.raises`` would keep workers
    alive.
    """
    try:
        list(batches)
    except InputError as error:
        return str(error)
    pytest.fail("no error")


@dataclass
class Corpus:
    """Utterances on disk: where they are, and what they should give."""

    folder: Path
    wavs: dict[str, str]
    labels: dict[str, str]
    audio: dict[str, np.ndarray]

    def list(self, data_type: str, per_shard: int = 5) -> str:
        """The path of a raw.list or a shard.list of the corpus."""
        rows = measure_lengths(
            [Utterance(key, wav, label=self.labels[key]) for key, wav in self.wavs.items()]
        )
        path = self.folder / f"{data_type}.list"
        if data_type == "raw":
            write_raw_list(path, rows)
        else:
            pack(rows, self.folder / "shards", path, num_utts_per_shard=per_shard)
        return str(path)

    def index(self, data_type: str, per_shard: int = 5):
        return read_index(self.list(data_type, per_shard), data_type, self.labels)


def make_corpus(folder: Path, lengths: list[int], extension: str = "flac") -> Corpus:
    """Utterances ``u00 u01 ...`` of the given lengths; every third is bona fide."""
    (folder / "audio").mkdir(parents=True)
    corpus = Corpus(folder, {}, {}, {})
    for number, samples in enumerate(lengths):
        key = f"u{number:02d}"
        corpus.audio[key] = tone(number, samples)
        corpus.wavs[key] = str(folder / "audio" / f"{key}.{extension}")
        corpus.labels[key] = "spoof" if number % 3 else "bonafide"
        sf.write(corpus.wavs[key], corpus.audio[key], RATE)
    return corpus
