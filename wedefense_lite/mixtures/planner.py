"""Plans of mixtures: who talks when and how loud in recordings of several talkers, any of them spoofed.

A plan is a table with a header and tabs, from which the audio follows: ``mixture label seconds``, then
``source_k label_k speaker_k attack_k offset_k gain_k`` of each talker k from 1, all ``-`` where a mixture has
fewer, then ``overlap level_difference sex``. Where they are used, ``level_k rir_k`` and ``noise snr
noise_offset``. ``-`` is what is not known or not there. Times are in seconds, gains are factors, levels and
ratios are in dB; ``level_difference`` is known once a plan is rendered.
"""

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from math import comb, inf
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from wedefense_lite.audio.data_dir import check_data_dir
from wedefense_lite.audio.index import check_keys
from wedefense_lite.augment.base import Range
from wedefense_lite.files import InputError, read_table
from wedefense_lite.labels import LABELS
from wedefense_lite.mixtures.metrics import class_names
from wedefense_lite.mixtures.plan import Mixture, Talker, read_plan

HEARD = 0.1  # seconds for which each talker talks at least, or a mixture's label would not be true
TRIES = 1000  # draws of a mixture's sources, among which one must be possible
STEPS = 10000  # between taking turns and beginning together
SOURCE_TABLES = ("wav.scp", "utt2dur", "utt2spk", "utt2attack")
LIMITS = {"talkers": (2, 5), "delay": (0, inf), "overlap": (0, 1), "gain": (0, inf)}
LIMITS |= dict.fromkeys(("level_db", "snr_db"), (-inf, inf))


@dataclass(frozen=True)
class Recipe:
    """How mixtures are drawn: a preset, or changes to one, in which None keeps what the preset has.

    Args:
        talkers: how many, 2 to 5, or the lowest and the highest number, each as likely.
        shares: of the classes, from all spoofed to all bona fide; without it each talker is one as likely as the
            other. Numbers of mixtures are exact, to one.
        delay: seconds; all talkers but a random one begin up to so much later.
        overlap: lowest and highest share of the time in which two or more talk, in place of a delay. 0 has them
            take turns. A share that the sources are too uneven for becomes one near it that they allow.
        length: min ends with the talker who ends first, max with the last one.
        gain: lowest and highest factor of a talker.
        level_db: lowest and highest level of a talker while it talks, in dB against full scale, before its gain;
            without it sources stay as loud as they are.
        snr_db: lowest and highest ratio of the powers of all talkers and of the noise, if there is any.
        different_speakers: no speaker talks twice in a mixture.
        balanced_attacks: each attack is as likely, however many utterances it has.

    Raises:
        InputError: a value out of its range.
    """

    talkers: list[int] | int | None = None
    shares: list[float] | None = None
    delay: float | None = None
    overlap: Range | None = None
    length: Literal["min", "max"] | None = None
    gain: Range | None = None
    level_db: Range | None = None
    snr_db: Range | None = None
    different_speakers: bool | None = None
    balanced_attacks: bool | None = None

    def __post_init__(self):
        for name, (low, high) in LIMITS.items():
            if (value := getattr(self, name)) is not None:
                ends = np.atleast_1d(value)
                if len(ends) not in (1, 2) or not low <= ends[0] <= ends[-1] <= high:
                    raise InputError(
                        f"{name} is {value}, expected values of {low} to {high} that do not fall"
                    )

    def over(self, preset: "Recipe") -> "Recipe":
        """The preset with these changes."""
        return replace(
            preset, **{name: value for name, value in vars(self).items() if value is not None}
        )


# As in the study of mixed speakers and spoofing, which draws sources without regard to their speakers.
PUBLISHED = Recipe(2, [0.25, 0.5, 0.25], 1.0, length="min", gain=(0.7, 1.3), snr_db=(5, 20))
CHANGES = Recipe(
    overlap=(0.2, 1),
    length="max",
    gain=(1, 1),
    level_db=(-30, -25),
    different_speakers=True,
    balanced_attacks=True,
)
PRESETS = {
    "two_talker_published": PUBLISHED,
    "two_talker": CHANGES.over(PUBLISHED),
    "conversation": replace(CHANGES.over(PUBLISHED), talkers=[2, 5], shares=None, overlap=(0, 0.6)),
}


class Source(NamedTuple):
    """An utterance that may talk in mixtures; gender is ``f`` or ``m``."""

    key: str
    wav: str
    label: str
    seconds: float
    speaker: str | None = None
    attack: str | None = None
    gender: str | None = None


def read_sources(
    data_dirs: Iterable[str], recipe: Recipe, exclude: Iterable[str] = ()
) -> list[Source]:
    """Utterances of data directories that have ``utt2dur``, without those that talk in the plans of ``exclude``.

    Raises:
        InputError: a directory is not valid or lacks what the recipe needs, or an utterance is in two of them.
    """
    used = {
        talker.source
        for plan in exclude
        for mixture in read_plan(plan)
        for talker in mixture.talkers
    }
    needed = dict(
        zip(SOURCE_TABLES, (True, True, recipe.different_speakers, recipe.balanced_attacks))
    )
    sources = []
    for folder in data_dirs:
        tables = check_data_dir(folder)
        for name, is_needed in needed.items():
            if is_needed and name not in tables:
                raise InputError(f"{Path(folder, name)}: not there, and these mixtures need it")
        genders = (
            read_table(Path(folder, "spk2gender")) if Path(folder, "spk2gender").exists() else {}
        )
        wavs, lengths, speakers, attacks = (tables.get(name, {}) for name in needed)
        for key, label in tables["utt2lab"].items():
            about = speakers.get(key), attacks.get(key), genders.get(speakers.get(key))
            sources.append(Source(key, wavs[key], label, float(lengths[key]), *about))
    check_keys(" ".join(data_dirs), [source.key for source in sources])
    return [source for source in sources if source.key not in used]


def overlap_share(offsets: Sequence[float], ends: Sequence[float], seconds: float) -> float:
    """Share of ``seconds`` in which at least two of the talkers talk, each from its offset to its end."""
    steps = sorted([(offset, 1) for offset in offsets] + [(min(end, seconds), -1) for end in ends])
    talking = accumulate(step for _, step in steps)
    return (
        sum(
            after - time
            for (time, _), (after, _), count in zip(steps, steps[1:], talking)
            if count > 1
        )
        / seconds
    )


def placed(
    lasting: Sequence[float],
    length: Literal["min", "max"],
    delays: Sequence[float],
    overlap: float | None = None,
) -> tuple[list[float], float, float]:
    """When talkers begin, when their mixture ends, and its share of overlap; seconds to a tenth of a millisecond.

    Args:
        lasting: seconds of each talker.
        delays: where each begins, where no ``overlap`` is wanted. For that they take turns, and all beginnings
            are drawn together by one factor until the share is reached.
    """
    turns = delays if overlap is None else [0.0, *accumulate(lasting[:-1])]

    def drawn(step: int) -> tuple[list[float], float, float]:
        offsets = [round(turn * (1 - step / STEPS), 4) for turn in turns]
        ends = [round(offset + one, 4) for offset, one in zip(offsets, lasting)]
        seconds = min(ends) if length == "min" else max(ends)
        return offsets, seconds, overlap_share(offsets, ends, seconds)

    return drawn(
        0
        if overlap is None
        else bisect_left(range(STEPS), overlap, key=lambda step: drawn(step)[2])
    )


class Planner:
    """Draws mixtures of sources as a recipe (a preset, changed perhaps) says.

    Args:
        rng: all chance comes from it.
        rirs: ids of room responses; those that agree up to their last ``-`` are of one room.
        noises: ids of noises with their seconds.

    Raises:
        InputError: fewer room responses than talkers.
    """

    def __init__(
        self,
        sources: Iterable[Source],
        recipe: Recipe,
        rng: np.random.Generator,
        rirs=(),
        noises: Mapping = {},
    ):
        self.recipe, self.rng, self.noises = recipe, rng, list(noises.items())
        self.fewest, self.most = np.atleast_1d(recipe.talkers)[[0, -1]]
        groups: dict[str, dict] = {label: {} for label in LABELS}
        for source in sources:
            groups[source.label].setdefault(recipe.balanced_attacks and source.attack, []).append(
                source
            )
        self.groups = {label: list(parts.values()) for label, parts in groups.items()}
        rooms: dict[str, list[str]] = {}
        for rir in rirs:
            rooms.setdefault(rir.rpartition("-")[0], []).append(rir)
        self.rooms = [room for room in rooms.values() if len(room) >= self.most] or [list(rirs)]
        if 0 < len(self.rooms[0]) < self.most:
            raise InputError(
                f"{len(rirs)} room responses, expected {self.most} or more, one for each talker"
            )

    def plan(self, name: str, count: int) -> list[Mixture]:
        """``count`` mixtures ``<name>_0000001 ...``.

        Raises:
            InputError: shares of other classes, a class without utterances, or a mixture that can't be made.
        """
        talkers = self.rng.integers(self.fewest, self.most, count, endpoint=True)
        bonafide = np.zeros(count, dtype=int)
        for several in np.unique(talkers):
            shares = self.recipe.shares or [comb(several, chosen) for chosen in range(several + 1)]
            if len(shares) != several + 1 or min(shares) < 0 or not sum(shares):
                raise InputError(
                    f"shares are {shares}, expected one for each of {class_names(several)}"
                )
            of_them = np.flatnonzero(talkers == several)
            middles = (np.arange(len(of_them)) + 0.5) / len(of_them)
            bonafide[of_them] = self.rng.permutation(
                np.searchsorted(np.cumsum(shares) / sum(shares), middles)
            )
        names = [class_names(several)[chosen] for several, chosen in zip(talkers, bonafide)]
        return [self.mixture(f"{name}_{place:07d}", one) for place, one in enumerate(names, 1)]

    def mixture(self, key: str, name: str) -> Mixture:
        """One mixture of a class: SB has a spoofed and a bona fide talker, in any order."""
        recipe, rng, talkers = self.recipe, self.rng, len(name)
        sources, offsets, seconds, overlap = self._together(key, name)
        room, levels = self._one(self.rooms), [None] * talkers
        rirs = (
            [room[place] for place in rng.choice(len(room), talkers, replace=False)]
            if room
            else levels
        )
        if recipe.level_db:
            levels = rng.uniform(*recipe.level_db, talkers).tolist()
        how = zip(sources, offsets, rng.uniform(*recipe.gain, talkers).tolist(), levels, rirs)
        people = [Talker(one.key, one.label, one.speaker, one.attack, *rest) for one, *rest in how]
        genders = {one.gender for one in sources}
        sex = None if None in genders else "same" if len(genders) == 1 else "different"
        noise = ()
        if self.noises:
            of, lasting = self._one(self.noises)
            noise = of, rng.uniform(*recipe.snr_db), rng.uniform(0, max(0, lasting - seconds))
        return Mixture(key, name, seconds, people, overlap, None, sex, *noise)

    def _together(self, key: str, name: str) -> tuple[list[Source], list[float], float, float]:
        """Sources that can talk together, and how :func:`placed`."""
        labels = self.rng.permutation([LABELS["SB".index(letter)] for letter in name]).tolist()
        delays = self.rng.uniform(0, self.recipe.delay, len(name))
        delays[self.rng.integers(len(name))] = 0
        overlap = self.rng.uniform(*self.recipe.overlap) if self.recipe.overlap else None
        what = "speaker" if self.recipe.different_speakers else "key"
        for _ in range(TRIES):
            sources = [self._one(self._one(self.groups[label], label)) for label in labels]
            if len({getattr(one, what) for one in sources}) == len(name):
                lasting = [one.seconds for one in sources]
                offsets, seconds, share = placed(
                    lasting, self.recipe.length, delays.tolist(), overlap
                )
                if all(
                    min(seconds - offset, one) >= HEARD for offset, one in zip(offsets, lasting)
                ):
                    return sources, offsets, seconds, share
        what = "speakers" if self.recipe.different_speakers else "utterances"
        raise InputError(
            f"{key}: {TRIES} draws gave no {name} of different {what}, each heard for {HEARD} s"
        )

    def _one(self, items: Sequence, label: str = ""):
        if not items:
            raise InputError(f"no {label} utterance is there for the mixtures that are asked for")
        return items[self.rng.integers(len(items))]
