"""Pairs of vocoded utterances and the bona fide ones that they are copies of, for bin/explain.py.

The layout is that of the vocoded data of Wang and Yamagishi (Zenodo 7314976, voc.v4):
``protocol.txt`` with lines "speaker hifigan_LA_T_1000137 - hifigan spoof", and ``wav/``. Bona fide
speech isn't in it; it is that of ASVspoof 2019 LA.
"""

from wedefense_lite import cli

import re
from collections import Counter
from pathlib import Path

from jsonargparse.typing import PositiveInt

from wedefense_lite.audio.protocol import read_protocol
from wedefense_lite.files import InputError, check_writable, write_table
from wedefense_lite.labels import LABELS, SPOOF

COLUMNS = "speaker key - attack label"
# The published id of the original ends the name of a copy.
ORIGINAL = re.compile(r"_(LA_([TD])_\d{7})$")
SET_OF_LETTER = {"T": "train", "D": "dev"}


def pair_vocoded(
    vocoded_dir: str,
    corpus_dir: str,
    out_dir: str,
    vocoders: str | None = None,
    num_per_vocoder: PositiveInt | None = None,
) -> None:
    """Write wav.scp of copies and originals, and fake2real, a line "copy original" each.

    Args:
        vocoded_dir: folder that holds protocol.txt and wav/, such as voc.v4.
        corpus_dir: folder that holds LA/ of ASVspoof 2019.
        out_dir: folder to write to.
        vocoders: those that are taken, as the protocol names them, separated by commas; all unless
            given.
        num_per_vocoder: copies of each vocoder, the first of the protocol; all unless given.

    Raises:
        InputError: a copy without an original in its name, a file that is missing, or a vocoder
            that is none of the protocol's.
    """
    out = Path(out_dir)
    check_writable(out / "wav.scp", out / "fake2real")
    protocol = Path(vocoded_dir, "protocol.txt")
    trials = read_protocol(protocol, COLUMNS, Path(vocoded_dir, "wav").resolve(), extension=".wav")
    copies = [trial for trial in trials if trial.label == LABELS[SPOOF]]
    names = sorted({trial.attack for trial in copies})
    wanted = names if vocoders is None else vocoders.split(",")
    for vocoder in wanted:
        if vocoder not in names:
            raise InputError(
                f"--vocoders {vocoder!r}: not in {protocol}, expected {', '.join(names)}"
            )
    files = {}
    fake2real = {}
    counts: Counter[str] = Counter()
    for trial in copies:
        is_full = num_per_vocoder is not None and counts[trial.attack] >= num_per_vocoder
        if trial.attack not in wanted or is_full:
            continue
        original = ORIGINAL.search(trial.key)
        if original is None:
            raise InputError(
                f"{protocol}: {trial.key}, expected the id of an original behind the vocoder, as "
                "in hifigan_LA_T_1000137"
            )
        real_key, letter = original.groups()
        flac_dir = Path(corpus_dir, f"LA/ASVspoof2019_LA_{SET_OF_LETTER[letter]}/flac").resolve()
        files[trial.key] = trial.wav
        files[real_key] = str(flac_dir / f"{real_key}.flac")
        for key in (trial.key, real_key):
            if not Path(files[key]).is_file():
                raise InputError(f"{files[key]}: no such file, expected the audio of {key}")
        fake2real[trial.key] = real_key
        counts[trial.attack] += 1
    if not fake2real:
        raise InputError(f"{protocol}: no spoofed utterance, expected vocoded copies")
    write_table(out / "wav.scp", files)
    write_table(out / "fake2real", fake2real)
    for vocoder, count in sorted(counts.items()):
        print(f"{vocoder}: {count} pairs")


if __name__ == "__main__":
    cli.run(pair_vocoded)
