"""Pairs of human speech and copies of it by a vocoder, the same words at the same time."""

from wedefense_lite import cli

from pathlib import Path

import numpy as np
import soundfile
from jsonargparse.typing import PositiveInt
from neutralise import RATE
from vocoders import griffin_lim

from wedefense_lite.audio.index import read_wavs
from wedefense_lite.audio.reading import read
from wedefense_lite.audio.utterance import Utterance
from wedefense_lite.files import InputError, atomic_path, check_writable, read_labels, write_table
from wedefense_lite.labels import BONAFIDE, LABELS


def make_pairs(data_dir: str, out_dir: str, count: PositiveInt = 12) -> None:
    """Write copies, wav.scp of both, and fake2real, a line "copy original" each.

    The engine is that of A04 and A16.

    Args:
        data_dir: data directory of a set.
        out_dir: folder to write to.
        count: bona fide utterances, the first in the order of their ids.

    Raises:
        InputError: no bona fide utterance in the set.
    """
    out = Path(out_dir).resolve()
    check_writable(out / "wav.scp", out / "fake2real")
    wavs = read_wavs(f"{data_dir}/wav.scp")
    labels = read_labels(f"{data_dir}/utt2lab")
    keys = sorted(key for key, label in labels.items() if label == LABELS[BONAFIDE])
    if not keys:
        raise InputError(f"{data_dir}/utt2lab: no {LABELS[BONAFIDE]} utterance, expected some")
    files = {}
    fake2real = {}
    for number, key in enumerate(keys[:count]):
        wave = read(Utterance(key, wavs[key]), RATE, floats=True)
        copy = griffin_lim(np.float64(wave), np.random.default_rng(number))
        copy_key = f"griffin_lim_{key}"
        path = out / f"{copy_key}.flac"
        with atomic_path(path) as unfinished:
            soundfile.write(unfinished, copy.clip(-1, 1), RATE, format="FLAC")
        files[key] = wavs[key]
        files[copy_key] = str(path)
        fake2real[copy_key] = key
    write_table(out / "wav.scp", dict(sorted(files.items())))
    write_table(out / "fake2real", dict(sorted(fake2real.items())))


if __name__ == "__main__":
    cli.run(make_pairs)
