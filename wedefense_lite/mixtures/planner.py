"""Drawing of plans: who talks when and how loud in recordings of several talkers, some spoofed."""

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import comb, inf
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from wedefense_lite.audio.data_dir import check_data_dir
from wedefense_lite.audio.index import check_keys
from wedefense_lite.augment.base import Range
from wedefense_lite.files import NO_VALUE, InputError, read_table
from wedefense_lite.labels import BONAFIDE, LABELS, SPOOF
from wedefense_lite.mixtures.metrics import class_names
from wedefense_lite.mixtures.plan import DECIMALS, Mixture, Talker, read_plan

MIN_AUDIBLE_SECONDS = 0.1  # of each talker; with less of one, a mixture's label would not be true
MAX_DRAWS = 1000  # of a mixture's sources, until some can talk together
OVERLAP_STEPS = 10000  # between taking turns and beginning together
LIMITS = {
    "talkers": (2, 5),
    "delay": (0, inf),
    "overlap": (0, 1),
    "gain": (0, inf),
    "level_db": (-inf, inf),
    "snr_db": (-inf, inf),
}


@dataclass(frozen=True)
class Recipe:
    """How mixtures are drawn: a preset, or changes to one, in which None keeps the preset's value.

    Args:
        talkers: number of talkers, 2 to 5, or the lowest and the highest number, all equally
            likely.
        shares: of the classes, from all spoofed to all bona fide, exact to one mixture. Without it
            each talker is spoofed or bona fide with equal probability.
        delay: seconds; all talkers but a random one begin up to so much later.
        overlap: lowest and highest share of the time in which two or more talk, in place of a
            delay. 0: talkers take turns. If the durations can't give the requested share, the
            nearest possible one is used.
        length: min ends with the talker who ends first, max with the last one.
        gain: lowest and highest factor of a talker.
        level_db: lowest and highest level of a talker while it talks, in dB against full scale,
            before its gain; without it sources stay as loud as they are.
        snr_db: lowest and highest ratio of the power of all talkers to that of the noise, if any.
        different_speakers: no speaker talks twice in a mixture.
        balanced_attacks: each attack is equally likely, however many utterances it has.

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
            value = getattr(self, name)
            if value is None:
                continue
            ends = _ends(value)
            if len(ends) not in (1, 2) or not low <= ends[0] <= ends[-1] <= high:
                raise InputError(
                    f"{name} is {value}, expected values of {low} to {high} that do not fall"
                )

    @property
    def talker_range(self) -> tuple[int, int]:
        """Lowest and highest number of talkers.

        ``talkers`` itself stays as it was typed: ids of mixtures hold a hash of the recipe's text.
        """
        ends = _ends(self.talkers)
        return ends[0], ends[-1]

    def over(self, preset: "Recipe") -> "Recipe":
        """The preset with these changes."""
        changes = {name: value for name, value in vars(self).items() if value is not None}
        return replace(preset, **changes)


def _ends(value: float | Sequence[float]) -> list[float]:
    """Numbers of an option that takes one, or the ends of a range."""
    return list(value) if isinstance(value, (list, tuple)) else [value]


# The published study of mixed speakers and spoofing, which draws sources whoever speaks them.
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
    """Utterances of data directories that have ``utt2dur``.

    Args:
        data_dirs: data directories.
        recipe: which tables it needs: of speakers, of attacks.
        exclude: plans whose utterances are left out.

    Raises:
        InputError: a directory is not valid or lacks what the recipe needs, or an utterance is in
            two of them.
    """
    used = set()
    for path in exclude:
        for mixture in read_plan(path):
            used.update(talker.source for talker in mixture.talkers)
    needed = ["wav.scp", "utt2dur"]
    if recipe.different_speakers:
        needed.append("utt2spk")
    if recipe.balanced_attacks:
        needed.append("utt2attack")

    sources = []
    for folder in data_dirs:
        tables = check_data_dir(folder)
        for name in needed:
            if name not in tables:
                raise InputError(f"{Path(folder, name)}: not there, and these mixtures need it")
        gender_table = Path(folder, "spk2gender")
        genders = read_table(gender_table) if os.path.lexists(gender_table) else {}
        wavs = tables.get("wav.scp", {})
        durations = tables.get("utt2dur", {})
        speakers = tables.get("utt2spk", {})
        attacks = tables.get("utt2attack", {})
        for key, label in tables["utt2lab"].items():
            speaker = speakers.get(key)
            source = Source(
                key,
                wavs[key],
                label,
                float(durations[key]),
                _value_or_none(speaker),
                _value_or_none(attacks.get(key)),
                genders.get(speaker),
            )
            sources.append(source)
    check_keys(" ".join(data_dirs), [source.key for source in sources])
    return [source for source in sources if source.key not in used]


def _value_or_none(cell: str | None) -> str | None:
    return None if cell == NO_VALUE else cell


def overlap_share(offsets: Sequence[float], ends: Sequence[float], seconds: float) -> float:
    """Share of ``seconds`` in which at least two talkers talk, each from its offset to its end."""
    events = [(offset, 1) for offset in offsets]
    events += [(min(end, seconds), -1) for end in ends]
    events.sort()
    talking = 0
    durations = []
    for (time, change), (next_time, _) in zip(events, events[1:]):
        talking += change
        if talking > 1:
            durations.append(next_time - time)
    return sum(durations) / seconds


class Placement(NamedTuple):
    """When talkers talk: where each begins and where their mixture ends, seconds; overlap share."""

    offsets: list[float]
    seconds: float
    overlap: float


def place_talkers(
    durations: Sequence[float],
    length: Literal["min", "max"],
    delays: Sequence[float],
    overlap: float | None = None,
) -> Placement:
    """When talkers begin and their mixture ends, to a tenth of a millisecond.

    Args:
        durations: seconds of each talker.
        length: min ends with the talker who ends first, max with the last one.
        delays: beginning of each talker, where no ``overlap`` is requested.
        overlap: requested share. Talkers take turns, and all beginnings are drawn together by one
            factor until the share is reached.
    """
    if overlap is None:
        return _placement(durations, delays, 1.0, length)
    turns = [0.0]
    for duration in durations[:-1]:
        turns.append(turns[-1] + duration)
    # The share grows as talkers move together, so bisection finds the first step that reaches it.
    low = 0
    high = OVERLAP_STEPS
    while low < high:
        middle = (low + high) // 2
        placement = _placement(durations, turns, 1 - middle / OVERLAP_STEPS, length)
        if placement.overlap < overlap:
            low = middle + 1
        else:
            high = middle
    return _placement(durations, turns, 1 - low / OVERLAP_STEPS, length)


def _placement(
    durations: Sequence[float],
    beginnings: Sequence[float],
    factor: float,
    length: Literal["min", "max"],
) -> Placement:
    """Talkers who begin at ``factor`` times some seconds."""
    offsets = [round(beginning * factor, DECIMALS) for beginning in beginnings]
    ends = []
    for offset, duration in zip(offsets, durations):
        ends.append(round(offset + duration, DECIMALS))
    seconds = min(ends) if length == "min" else max(ends)
    return Placement(offsets, seconds, overlap_share(offsets, ends, seconds))


class Planner:
    """Draws mixtures of sources by a recipe: a preset, perhaps with changes.

    Numbers are rounded to those of a plan's file, so that a plan renders to the same samples
    whether it has just been drawn or is read.

    Args:
        sources: utterances that may talk.
        recipe: a preset, perhaps with changes.
        rng: all chance comes from it.
        rirs: ids of room responses; ids with the same text before their last ``-`` are of one room.
        noises: ids of noises with their seconds.

    Raises:
        InputError: fewer room responses than talkers.
    """

    def __init__(
        self,
        sources: Iterable[Source],
        recipe: Recipe,
        rng: np.random.Generator,
        rirs: Iterable[str] = (),
        noises: Mapping[str, float] = {},
    ):
        self.recipe = recipe
        self.rng = rng
        self.noises = list(noises.items())
        self.groups = _group_sources(sources, recipe.balanced_attacks)
        self.rooms = _group_rooms(list(rirs), recipe.talker_range[1])

    def plan(self, name: str, count: int) -> list[Mixture]:
        """Draw ``count`` mixtures ``<name>_0000001 ...``.

        Raises:
            InputError: shares of other classes, a class without utterances, or a mixture that can't
                be made.
        """
        fewest, most = self.recipe.talker_range
        counts = self.rng.integers(fewest, most, count, endpoint=True)
        bonafide = np.zeros(count, dtype=int)
        for num_talkers in np.unique(counts):
            rows = np.flatnonzero(counts == num_talkers)
            bonafide[rows] = self._bonafide_counts(num_talkers, len(rows))
        mixtures = []
        for row in range(count):
            class_name = class_names(counts[row])[bonafide[row]]
            mixtures.append(self.mixture(f"{name}_{row + 1:07d}", class_name))
        return mixtures

    def _bonafide_counts(self, num_talkers: int, count: int) -> np.ndarray:
        """Bona fide talkers of ``count`` mixtures, by the shares of classes, shuffled."""
        shares = self.recipe.shares
        if not shares:
            # Each talker is of either class with equal probability: a binomial distribution.
            shares = [comb(num_talkers, chosen) for chosen in range(num_talkers + 1)]
        if len(shares) != num_talkers + 1 or min(shares) < 0 or not sum(shares):
            raise InputError(
                f"shares are {shares}, expected one for each of {class_names(num_talkers)}"
            )
        # The middle of each mixture's interval of [0, 1]: exact shares, where draws would vary.
        middles = (np.arange(count) + 0.5) / count
        return self.rng.permutation(np.searchsorted(np.cumsum(shares) / sum(shares), middles))

    # The order of draws below is part of a plan: another order gives other plans for a seed.

    def mixture(self, key: str, class_name: str) -> Mixture:
        """One mixture of a class: SB has a spoofed and a bona fide talker, in any order."""
        recipe = self.recipe
        num_talkers = len(class_name)
        sources, placement = self._draw_sources(key, class_name)
        room = self._draw(self.rooms)
        rirs = [None] * num_talkers
        if room:
            # Without replacement: each talker stands in another place of the room.
            positions = self.rng.choice(len(room), num_talkers, replace=False)
            rirs = [room[position] for position in positions]
        levels = [None] * num_talkers
        if recipe.level_db:
            levels = [
                round(level, DECIMALS) for level in self._uniform(recipe.level_db, num_talkers)
            ]
        gains = [round(gain, DECIMALS) for gain in self._uniform(recipe.gain, num_talkers)]
        talkers = []
        for source, offset, gain, level, rir in zip(
            sources, placement.offsets, gains, levels, rirs
        ):
            talkers.append(
                Talker(
                    source.key,
                    source.label,
                    source.speaker,
                    source.attack,
                    offset,
                    gain,
                    level,
                    rir,
                )
            )
        return Mixture(
            key,
            class_name,
            placement.seconds,
            talkers,
            round(placement.overlap, DECIMALS),
            sex=_sex(sources),
            **self._draw_noise(placement.seconds),
        )

    def _draw_noise(self, seconds: float) -> dict[str, str | float]:
        """Fields of a mixture with noise; none without noises."""
        if not self.noises:
            return {}
        noise, duration = self._draw(self.noises)
        snr = self.rng.uniform(*self.recipe.snr_db)
        # A noise shorter than the mixture begins at its start, and rendering repeats it.
        offset = self.rng.uniform(0, max(0, duration - seconds))
        return {
            "noise": noise,
            "snr": round(snr, DECIMALS),
            "noise_offset": round(offset, DECIMALS),
        }

    def _draw_sources(self, key: str, class_name: str) -> tuple[list[Source], Placement]:
        """Sources that can talk together, and when they do."""
        in_order = [LABELS[SPOOF] if letter == "S" else LABELS[BONAFIDE] for letter in class_name]
        labels = self.rng.permutation(in_order).tolist()
        delays = self.rng.uniform(0, self.recipe.delay, len(labels))
        # Someone talks from the beginning, at random: position says nothing about the class.
        delays[self.rng.integers(len(labels))] = 0
        overlap = self.rng.uniform(*self.recipe.overlap) if self.recipe.overlap else None
        for _ in range(MAX_DRAWS):
            sources = []
            for label in labels:
                group = self._draw(self.groups[label], label)
                sources.append(self._draw(group))
            # All are drawn again: keeping some would make talkers of small groups more likely.
            if not self._are_different(sources):
                continue
            durations = [source.seconds for source in sources]
            placement = place_talkers(durations, self.recipe.length, delays.tolist(), overlap)
            if _are_audible(placement, durations):
                return sources, placement
        unit = "speakers" if self.recipe.different_speakers else "utterances"
        raise InputError(
            f"{key}: {MAX_DRAWS} draws gave no {class_name} of different {unit}, "
            f"each heard for {MIN_AUDIBLE_SECONDS} s"
        )

    def _are_different(self, sources: list[Source]) -> bool:
        names = set()
        for source in sources:
            names.add(source.speaker if self.recipe.different_speakers else source.key)
        return len(names) == len(sources)

    def _uniform(self, limits: Range, count: int) -> list[float]:
        return self.rng.uniform(*limits, count).tolist()

    def _draw(self, items: Sequence, label: str = ""):
        """One of some items, each equally likely."""
        if not items:
            raise InputError(f"no {label} utterance is there for the mixtures that are asked for")
        return items[self.rng.integers(len(items))]


def _group_sources(
    sources: Iterable[Source], balanced_attacks: bool | None
) -> dict[str, list[list[Source]]]:
    """Groups of sources of each label, equally likely: one for each attack, or a single one."""
    groups: dict[str, dict[str | None, list[Source]]] = {label: {} for label in LABELS}
    for source in sources:
        attack = source.attack if balanced_attacks else None
        groups[source.label].setdefault(attack, []).append(source)
    return {label: list(by_attack.values()) for label, by_attack in groups.items()}


def _group_rooms(rirs: list[str], num_talkers: int) -> list[list[str]]:
    """Responses of each room that has enough of them for a mixture; all as one, if no room has.

    Raises:
        InputError: fewer responses than talkers.
    """
    rooms: dict[str, list[str]] = {}
    for rir in rirs:
        name, _, _ = rir.rpartition("-")
        rooms.setdefault(name, []).append(rir)
    large_rooms = [room for room in rooms.values() if len(room) >= num_talkers]
    if large_rooms:
        return large_rooms
    if 0 < len(rirs) < num_talkers:
        raise InputError(
            f"{len(rirs)} room responses, expected {num_talkers} or more, one for each talker"
        )
    return [rirs]


def _are_audible(placement: Placement, durations: list[float]) -> bool:
    """Whether each talker is heard for long enough before the mixture ends."""
    for offset, duration in zip(placement.offsets, durations):
        if min(placement.seconds - offset, duration) < MIN_AUDIBLE_SECONDS:
            return False
    return True


def _sex(sources: list[Source]) -> str | None:
    """Whether talkers are of the ``same`` or of ``different`` sex; None where one is unknown."""
    genders = {source.gender for source in sources}
    if None in genders:
        return None
    return "same" if len(genders) == 1 else "different"
