"""Which utterance is made from what: attacks, voices, counts, names. Pure: it reads no audio."""

import itertools
import logging
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import yaml
from engines import Request
from sources import SETS, Source, rng_for, seed_of

from wedefense_lite.files import InputError, read_text

COUNTS = {"train": (220, 56), "dev": (110, 28), "eval": (160, 48)}  # bona fide, each attack
PROMPT_SHARE = 6  # a voice with sentences gives as much as six voices with short words
STOCK = 16  # other utterances of the speaker that concatenation takes its units from
UTTERANCE = {"train": "LA_T", "dev": "LA_D", "eval": "LA_E"}


@dataclass(frozen=True)
class Attack:
    """How spoofs are made, as ``attacks.yaml`` says."""

    method: str
    sets: list[str]
    licence: str
    voices: dict[str, list[str]] | None = None
    language: str | None = None
    neural: bool = False


_TABLE = yaml.safe_load(read_text(Path(__file__).with_name("attacks.yaml")))
ATTACKS = {attack: Attack(**fields) for attack, fields in _TABLE.items()}


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
    english = [s for pool in by_set.values() for s in pool if s.language == "en" and s.text]
    plan = []
    for place, name in enumerate(SETS):
        bonafide, spoof = (max(4, round(count * scale)) for count in COUNTS[name])
        items = [
            Item(name, "-", source) for source in _pick(by_set[name], bonafide, f"{seed}/{name}")
        ]
        late = []
        for attack in (a for a in attacks if name in ATTACKS[a].sets):
            what = ATTACKS[attack]
            pool = english[place::3] if what.language == "en" else by_set[name]
            (late if what.neural else items).extend(_spoofs(name, attack, pool, spoof, seed))
        items.sort(key=lambda item: seed_of(seed, item.key))
        names = (f"{UTTERANCE[name]}_{number}" for number in itertools.count(1000001))
        plan += [replace(item, utterance=next(names)) for item in items + late]
    return plan


def _spoofs(name: str, attack: str, pool: list[Source], count: int, seed: int) -> Iterator[Item]:
    what, stream = ATTACKS[attack], f"{seed}/{name}/{attack}"
    if what.voices is None:
        for source in _pick(pool, count, stream):
            others = ()
            if what.method == "concatenation":
                same = [
                    other for other in pool if other.speaker == source.speaker and other != source
                ]
                others = tuple(_pick(same, min(len(same), STOCK), f"{stream}/stock"))
            yield Item(name, attack, source, others=others)
        return
    pool = [s for s in pool if s.text and s.language == (what.language or s.language)]
    if not pool:
        logging.warning("%s is left out of %s: nothing to say in %s", attack, name, what.language)
        return
    voices = itertools.cycle(what.voices[name])
    for source in _pick(pool, count, stream):
        draw = seed_of(f"{seed}/{name}", attack, source.name)
        yield Item(
            name, attack, source, request=Request(source.text, source.language, next(voices), draw)
        )


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
