"""The plan of the corpus: attacks, voices, counts, names. It reads no audio."""

import itertools
import logging
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import yaml
from engines import Request
from sources import SETS, Source, rng_for, seed_of

from wedefense_lite.files import NO_VALUE, InputError, read_text

# Utterances of a set: bona fide, and of each attack.
COUNTS = {"train": (220, 56), "dev": (110, 28), "eval": (160, 48)}
LEAST_COUNT = 4  # of either, at any scale
PROMPT_SHARE = 6  # a voice with sentences gives as much as six voices with short words
STOCK = 16  # other utterances of the speaker that concatenation takes its units from
PREFIX = {"train": "LA_T", "dev": "LA_D", "eval": "LA_E"}
# Work for an utterance by method, in that for human speech: measured for the default tier, for the
# neural one estimated from real-time factors. Only the order and the time left depend on it.
COSTS = {
    "human": 1,
    "espeak": 2,
    "flite": 1.5,
    "festival": 10,
    "world": 8,
    "griffin_lim": 11,
    "lpc": 1.5,
    "concatenation": 6,
    "hibari": 8,
    "piper": 30,
    "kokoro": 60,
}
FIRST_NUMBER = 1000001  # ids have seven digits, as in ASVspoof 2019


@dataclass(frozen=True)
class Attack:
    """A way of making spoofs; the fields of ``attacks.yaml``.

    Attributes:
        method: an engine or a vocoder.
        sets: those that have the attack.
        licence: of the engine or the voices.
        voices: of an engine, by set; None for a vocoder, which keeps the speaker.
        language: of an engine that speaks one language; None for the language of the prompts.
        neural: the attack belongs to the neural tier.
    """

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
    """An utterance of the corpus.

    Attributes:
        set: train, dev or eval.
        attack: key of ATTACKS, or ``-`` for human speech.
        source: human utterance that it is, is made from, or has the text of.
        utterance: id; empty until all utterances of the set are known.
        request: text for an engine to speak; None for human speech and vocoders.
        others: further utterances of the speaker, for concatenation.
    """

    set: str
    attack: str
    source: Source
    utterance: str = ""
    request: Request | None = None
    others: tuple[Source, ...] = ()

    @property
    def key(self) -> str:
        """Name that does not depend on the other utterances of the plan."""
        return f"{self.attack}/{self.source.name}"

    @property
    def cost(self) -> float:
        """Work for the utterance, see ``COSTS``."""
        return COSTS["human" if self.attack == NO_VALUE else ATTACKS[self.attack].method]

    @property
    def speaker(self) -> str:
        """Speaker of the protocol: the human one, or an engine's voice in a language."""
        if self.request is None:
            return self.source.speaker
        return f"{ATTACKS[self.attack].method}_{self.request.language}_{self.request.voice}"


def make_plan(
    sources: Iterable[Source], attacks: Collection[str], seed: int = 1, scale: float = 1.0
) -> list[Item]:
    """Every utterance of the corpus.

    Args:
        sources: human utterances.
        attacks: keys of ``ATTACKS`` that can be made; each is made for its own sets.
        seed: of every choice.
        scale: factor on the number of utterances.

    Raises:
        InputError: a set has less human speech than it needs.
    """
    by_set = defaultdict(list)
    for source in sources:
        by_set[source.set].append(source)
    # English engines speak English in every set; each set has its own third of the prompts.
    english = []
    for pool in by_set.values():
        english += [source for source in pool if source.language == "en" and source.text]
    plan = []
    for position, name in enumerate(SETS):
        bonafide_count, spoof_count = (
            max(LEAST_COUNT, round(count * scale)) for count in COUNTS[name]
        )
        humans = _pick(by_set[name], bonafide_count, f"{seed}/{name}")
        items = [Item(name, NO_VALUE, source) for source in humans]
        neural_items = []
        for attack in attacks:
            if name not in ATTACKS[attack].sets:
                continue
            pool = by_set[name]
            if ATTACKS[attack].language == "en":
                pool = english[position :: len(SETS)]
            spoofs = _spoofs(name, attack, pool, spoof_count, seed)
            if ATTACKS[attack].neural:
                neural_items += spoofs
            else:
                items += spoofs
        # The order, and with it the id, tells nothing of the class. The neural tier comes last, so
        # that the ids of the default tier are the same with it and without.
        items.sort(key=lambda item: seed_of(seed, item.key))
        for number, item in enumerate(items + neural_items, FIRST_NUMBER):
            plan.append(replace(item, utterance=f"{PREFIX[name]}_{number}"))
    return plan


def _spoofs(name: str, attack: str, pool: list[Source], count: int, seed: int) -> Iterator[Item]:
    """Spoofs of one attack in one set, from a pool of human utterances."""
    stream = f"{seed}/{name}/{attack}"
    if ATTACKS[attack].voices is None:
        for source in _pick(pool, count, stream):
            others = ()
            if ATTACKS[attack].method == "concatenation":
                others = _stock(source, pool, f"{stream}/stock")
            yield Item(name, attack, source, others=others)
        return
    language = ATTACKS[attack].language
    texts = [source for source in pool if source.text and language in (None, source.language)]
    if not texts:
        logging.warning("%s is left out of %s: nothing to say in %s", attack, name, language)
        return
    voices = itertools.cycle(ATTACKS[attack].voices[name])
    for source in _pick(texts, count, stream):
        engine_seed = seed_of(f"{seed}/{name}", attack, source.name)
        request = Request(source.text, source.language, next(voices), engine_seed)
        yield Item(name, attack, source, request=request)


def _stock(source: Source, pool: list[Source], stream: str) -> tuple[Source, ...]:
    """Other utterances of the speaker of a source, ``STOCK`` at most."""
    others = [other for other in pool if other.speaker == source.speaker and other != source]
    return tuple(_pick(others, min(len(others), STOCK), stream))


def _pick(pool: list[Source], count: int, stream: str) -> list[Source]:
    """Random sources, voices in turn; voices with sentences ``PROMPT_SHARE`` times as often.

    Args:
        pool: sources to pick from.
        count: number of sources.
        stream: key of the random stream.

    Raises:
        InputError: the pool is smaller than ``count``.
    """
    if len(pool) < count:
        raise InputError(
            f"{len(pool)} human utterances for {stream}, {count} are needed (fewer: --scale)"
        )
    # The n-th utterance of a voice has rank (n + 1/2) / share, so that in the order of ranks every
    # voice comes as often as its share says, from the start.
    counts = defaultdict(int)
    rank = {}
    for index in rng_for(stream).permutation(len(pool)):
        source = pool[index]
        voice = (source.speaker, source.language)
        share = PROMPT_SHARE if source.package.startswith("asterisk") else 1
        rank[source] = (counts[voice] + 0.5) / share
        counts[voice] += 1
    return sorted(rank, key=rank.get)[:count]
