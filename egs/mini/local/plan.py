"""Which utterance is made from what: attacks, voices, counts, names. Pure: it reads no audio."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, replace

from engines import Request, seed_of
from sources import SETS, Source, rng_for

from wedefense_lite.files import InputError

COUNTS = {"train": (220, 56), "dev": (110, 28), "eval": (160, 48)}  # bona fide, each attack
PROMPT_SHARE = 6  # a voice with sentences gives as much as six voices with short words
STOCK = 16  # other utterances of the speaker that concatenation takes its units from
UTTERANCE = {"train": "LA_T", "dev": "LA_D", "eval": "LA_E"}


@dataclass(frozen=True)
class Attack:
    """How spoofs are made. ``voices`` of an engine are given by set; a vocoder keeps the speaker's."""

    method: str
    sets: tuple[str, ...]
    licence: str
    voices: dict[str, str] | None = None
    language: str | None = None
    neural: bool = False
    about: str = ""


KNOWN, UNSEEN = ("train", "dev"), ("eval",)
ATTACKS = {
    "A01": Attack(
        *("espeak", KNOWN, "GPL-3+ (espeak-ng)"),
        voices={"train": "m1 m3 m7 f1 f4", "dev": "m2 f2"},
        about="formant synthesis (espeak-ng), in the language of the prompts",
    ),
    "A02": Attack(
        *("flite", KNOWN, "BSD-like (Carnegie Mellon University)"),
        voices={"train": "rms kal16", "dev": "awb"},
        language="en",
        about="statistical and diphone voices (flite), English",
    ),
    "A03": Attack("world", KNOWN, "MIT (pyworld)", about="voice conversion (WORLD vocoder)"),
    "A04": Attack(
        "griffin_lim", KNOWN, "Apache-2.0 (this recipe)", about="mel spectrogram and Griffin-Lim"
    ),
    "A05": Attack("lpc", KNOWN, "Apache-2.0 (this recipe)", about="linear prediction vocoder"),
    "A06": Attack(
        *("hibari", KNOWN, "Apache-2.0 (hibari-tts)"),
        voices={"train": "heart", "dev": "heart"},
        language="en",
        neural=True,
        about="neural harmonic plus noise voice (hibari), English",
    ),
    "A07": Attack(
        *("festival", UNSEEN, "GPL-2+ (ISTC-CNR voices)"),
        voices={"eval": "lp_diphone pc_diphone"},
        language="it",
        about="diphone voices (festival), Italian",
    ),
    "A08": Attack(
        *("festival", UNSEEN, "EST (BSD-like)"),
        voices={"eval": "cmu_us_slt_arctic_hts"},
        language="en",
        about="hidden Markov voice (festival HTS), English",
    ),
    "A09": Attack(
        "concatenation", UNSEEN, "Apache-2.0 (this recipe)", about="unit selection of the speaker"
    ),
    "A10": Attack(
        *("piper", UNSEEN, "MIT (voice joe: CC0 recordings)"),
        voices={"eval": "joe"},
        language="en",
        neural=True,
        about="neural end-to-end voice (Piper VITS), English",
    ),
    "A11": Attack(
        *("kokoro", UNSEEN, "Apache-2.0 (Kokoro-82M)"),
        voices={"eval": "jf_alpha jf_gongitsune jf_nezumi jf_tebukuro jm_kumo"},
        neural=True,
        about="neural voices (Kokoro), Japanese speakers reading the prompts",
    ),
    "A16": Attack("griffin_lim", UNSEEN, "Apache-2.0 (this recipe)", about="A04 again"),
    "A19": Attack("world", UNSEEN, "MIT (pyworld)", about="A03 again"),
}


@dataclass(frozen=True)
class Item:
    """An utterance of the corpus: human where ``attack`` is ``-``, spoken text where ``request`` is."""

    set: str
    attack: str
    source: Source
    utterance: str = ""
    request: Request | None = None
    others: tuple[Source, ...] = ()

    @property
    def key(self) -> str:
        return f"{self.attack}/{self.source.name}"

    @property
    def speaker(self) -> str:
        if self.request is None:
            return self.source.speaker
        return f"{ATTACKS[self.attack].method}_{self.request.language}_{self.request.voice}"


def make_plan(
    sources: Iterable[Source], attacks: Collection[str], seed: int = 1, scale: float = 1.0
) -> list[Item]:
    """Every utterance of the corpus; those of the neural tier are named after all others.

    Args:
        attacks: keys of :data:`ATTACKS` to be made, where their set is theirs.
        scale: factor on the number of utterances.

    Raises:
        InputError: a set has no human speech, or less than is asked for.
    """
    by_set = defaultdict(list)
    for source in sources:
        by_set[source.set].append(source)
    # English engines speak English in every set, each set its own part of the prompts.
    english = [
        source for pool in by_set.values() for source in pool if source.language == "en" and source.text
    ]
    english = {name: english[place::3] for place, name in enumerate(SETS)}
    plan = []
    for name in SETS:
        bonafide, spoof = (max(4, round(count * scale)) for count in COUNTS[name])
        items = [Item(name, "-", source) for source in _pick(by_set[name], bonafide, f"{seed}/{name}")]
        late = []
        for attack, what in ATTACKS.items():
            if name in what.sets and attack in attacks:
                pool = english[name] if what.language == "en" else by_set[name]
                (late if what.neural else items).extend(_spoofs(attack, pool, spoof, f"{seed}/{name}"))
        items.sort(key=lambda item: seed_of(seed, item.key))
        plan += [
            replace(item, utterance=f"{UTTERANCE[name]}_{1000001 + n}")
            for n, item in enumerate(items + late)
        ]
    return plan


def _spoofs(attack: str, pool: list[Source], count: int, seed: str) -> Iterator[Item]:
    what = ATTACKS[attack]
    voices = what.voices and what.voices[seed.split("/")[1]].split()
    if voices:
        pool = [
            source
            for source in pool
            if source.text and source.language == (what.language or source.language)
        ]
    for place, source in enumerate(_pick(pool, count, f"{seed}/{attack}")):
        request = None
        if voices:
            voice = voices[place % len(voices)]
            request = Request(source.text, source.language, voice, seed_of(seed, attack, source.name))
        others = ()
        if what.method == "concatenation":
            same = [other for other in pool if other.speaker == source.speaker and other != source]
            others = tuple(_pick(same, min(len(same), STOCK), f"{seed}/{attack}/stock"))
        yield Item(seed.split("/")[1], attack, source, request=request, others=others)


def _pick(pool: list[Source], count: int, seed: str) -> list[Source]:
    """``count`` sources, voices in turn, those with sentences :data:`PROMPT_SHARE` times as often."""
    if len(pool) < count:
        raise InputError(
            f"{len(pool)} human utterances for {seed}, {count} are needed (fewer: --scale)"
        )
    drawn, rank = defaultdict(int), {}
    for index in rng_for(seed).permutation(len(pool)):
        source = pool[index]
        voice = (source.speaker, source.language)
        share = PROMPT_SHARE if source.package.startswith("asterisk") else 1
        rank[source] = (drawn[voice] + 0.5) / share
        drawn[voice] += 1
    return sorted(rank, key=rank.get)[:count]
