"""Real human speech: who speaks, in which set, from which package, under which licence."""

import gzip
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import soundfile
from neutralise import RATE, at_level, pass_g722, read_audio, trim

from wedefense_lite.files import InputError, read_text

SETS = ("train", "dev", "eval")
# One language, one set, whatever the package: nobody knows who lent a voice to two packages.
LANGUAGES = {
    "train": "en es de da hu lt uk nl he cs ml nds".split(),
    "dev": "fr pt nb nn ar gl ro".split(),
    "eval": "it ru ca el sl wa ga".split(),
}
# English and Spanish prompts are one person, Allison Smith.
ASTERISK = {
    "en": ("en_US_f_Allison", "allison", "CC-BY-SA-3.0"),
    "es": ("es_MX_f_Allison", "allison", "CC-BY-SA-3.0"),
    "fr": ("fr_CA_f_June", "june", "CC-BY-SA-3.0"),
    "it": ("it_IT_m_Carlo", "carlo", "CC-BY-3.0"),
    "ru": ("ru_RU_f_IvrvoiceRU", "ivrvoice", "CC-BY-3.0"),
}
PACKAGES = [f"asterisk-core-sounds-{language}{part}" for language in ASTERISK for part in ("", "-g722")]
PACKAGES += ["klettres-data", "ktuberling-data"]
PROMPT_SECONDS = (1.8, 6.5)
PHRASE_WORDS = 4
AUDIO = {".wav", ".flac", ".ogg", ".opus", ".oga", ".mp3", ".g722"}


@dataclass(frozen=True)
class Source:
    """One human utterance: a prompt of one file, or a phrase of some short words of one voice."""

    name: str
    set: str
    speaker: str
    language: str
    text: str | None
    package: str
    licence: str
    files: tuple[Path, ...]


def rng_for(*key) -> np.random.Generator:
    """A random stream that depends on its key alone, not on what was drawn elsewhere."""
    return np.random.default_rng(zlib.crc32("|".join(map(str, key)).encode()))


def set_of(language: str) -> str | None:
    """The set a language belongs to."""
    return next((name for name, languages in LANGUAGES.items() if language in languages), None)


def asterisk(language: str, prompts: Path, transcript: Path) -> Iterator[Source]:
    """Telephone prompts: sentences with their text."""
    _, speaker, licence = ASTERISK[language]
    opened = gzip.open if transcript.suffix == ".gz" else open
    with opened(transcript, "rt", encoding="utf-8", errors="replace") as lines:
        texts = dict(re.findall(r"^([\w/.-]+):\s*(.+?)\s*$", lines.read(), re.MULTILINE))
    for key in sorted(texts):
        file = prompts / f"{key}.g722"
        if re.search(r"[\[\]()<>]", texts[key]) or not file.exists():
            continue
        seconds = file.stat().st_size / 8000
        if PROMPT_SECONDS[0] < seconds < PROMPT_SECONDS[1]:
            name, package = f"asterisk/{language}/{key}", f"asterisk-core-sounds-{language}-g722"
            yield Source(
                name, set_of(language), speaker, language, texts[key], package, licence, (file,)
            )


def words(root: Path, package: str, folder: str, seed: int) -> Iterator[Source]:
    """Short words of many voices, some of one voice joined to a phrase."""
    for home in sorted((root / folder).iterdir()):
        language = home.name.split("_")[0]
        if not home.is_dir() or set_of(language) is None:
            continue
        files = sorted(path for path in home.rglob("*") if path.suffix in AUDIO and _is_wideband(path))
        texts = _klettres_texts(home) if package == "klettres-data" else {}
        files = [files[i] for i in rng_for(seed, package, home.name).permutation(len(files))]
        for start in range(0, len(files) - PHRASE_WORDS + 1, PHRASE_WORDS):
            chosen = tuple(files[start : start + PHRASE_WORDS])
            spoken = [texts.get(str(path.relative_to(home.parent))) for path in chosen]
            text = ", ".join(spoken) if all(spoken) else None
            name, speaker = f"{package}/{home.name}/{start}", f"{package.split('-')[0]}_{home.name}"
            yield Source(name, set_of(language), speaker, language, text, package, "GPL-2+", chosen)


def _klettres_texts(home: Path) -> dict[str, str]:
    found = re.findall(r'<sound name="([^"]+)"\s+file="([^"]+)"', read_text(home / "sounds.xml"))
    return {file: text.lower() for text, file in found}


def _is_wideband(path: Path) -> bool:
    try:
        return soundfile.info(path).samplerate >= RATE
    except soundfile.LibsndfileError:
        return False


def own_folder(folder: Path, seed: int) -> Iterator[Source]:
    """Speech of the user: a folder a speaker, ``X.txt`` beside ``X.wav`` holds what is said.

    Raises:
        InputError: fewer than three speakers, so that three sets can't be disjoint.
    """
    speakers = (
        sorted(path.name for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []
    )
    if len(speakers) < 3:
        raise InputError(
            f"{folder}: {len(speakers)} folders, expected one a speaker and at least 3 speakers"
        )
    order = rng_for(seed, "speakers").permutation(len(speakers))
    for place, index in enumerate(order):
        share = SETS[place] if place < 3 else ("train", "train", "eval", "dev")[place % 4]
        for file in sorted(
            path for path in (folder / speakers[index]).rglob("*") if path.suffix in AUDIO
        ):
            text = file.with_suffix(".txt")
            text = read_text(text).strip() if text.exists() else None
            name = f"{speakers[index]}/{file.relative_to(folder / speakers[index])}"
            yield Source(name, share, speakers[index], "en", text, "own", "of its owner", (file,))


@lru_cache(maxsize=256)
def load(source: Source) -> np.ndarray:
    """Waveform at 16 kHz of a source, trimmed, after exactly one G.722 pass (the prompts come with it)."""
    if source.package.startswith("asterisk"):
        return trim(read_audio(source.files[0]))
    rng = rng_for("gaps", source.name)
    pieces = []
    for file in source.files:
        pieces += [
            at_level(trim(read_audio(file)), -24.0),
            np.zeros(rng.integers(RATE // 12, RATE // 4)),
        ]
    return pass_g722(np.concatenate(pieces[:-1]))
