"""Cost models: priors and costs of the errors, always explicit and printed beside every number."""

import math
from dataclasses import asdict, dataclass, fields, replace

from wedefense_lite.files import number


@dataclass(frozen=True)
class CostModel:
    """Priors of the three classes of trials and the costs of their errors.

    A trial is a target, a nontarget (bona fide, another speaker) or a spoof; for detection alone
    target and nontarget are both bona fide. The same numbers serve the DCF (``c_miss``,
    ``c_fa_spoof``), the t-DCF of 2019 and of 2021, and the a-DCF.

    Attributes:
        name: printed beside the results.
        p_spoof: prior of spoofs.
        p_nontarget: prior of nontargets; what both leave of 1 is the prior of targets.
        c_miss: cost of rejecting a target, or a bona fide trial.
        c_fa_nontarget: cost of accepting a nontarget.
        c_fa_spoof: cost of accepting a spoof.

    Raises:
        ValueError: a prior outside (0, 1), or a cost that is not positive and finite.
    """

    # Defaults are those of ASVspoof 2019, 2021 and 5: one bona fide trial in a hundred is a
    # nontarget.
    name: str
    p_spoof: float = 0.05
    p_nontarget: float = 0.95 * 0.01
    c_miss: float = 1.0
    c_fa_nontarget: float = 10.0
    c_fa_spoof: float = 10.0

    def __post_init__(self):
        if not 0 < self.p_spoof < 1:
            raise ValueError(f"p_spoof is {self.p_spoof:g}, expected a number between 0 and 1")
        if not 0 <= self.p_nontarget < 1 - self.p_spoof:
            raise ValueError(
                f"p_nontarget is {self.p_nontarget:g}, expected at least 0 and less than "
                f"{1 - self.p_spoof:g}, which p_spoof leaves"
            )
        for name in ("c_miss", "c_fa_nontarget", "c_fa_spoof"):
            cost = getattr(self, name)
            if not 0 < cost < math.inf:
                raise ValueError(f"{name} is {cost:g}, expected a positive finite number")

    @property
    def p_target(self) -> float:
        return 1 - self.p_spoof - self.p_nontarget

    @property
    def miss_weight(self) -> float:
        """Expected cost of rejecting every bona fide trial."""
        return self.c_miss * (1 - self.p_spoof)

    @property
    def fa_weight(self) -> float:
        """Expected cost of accepting every spoofed trial."""
        return self.c_fa_spoof * self.p_spoof

    @property
    def threshold(self) -> float:
        """Bayes threshold on an LLR (natural logarithm): accept at this value or more."""
        return -math.log(self.miss_weight / self.fa_weight)

    def as_dict(self) -> dict[str, float | str]:
        """Every number that defines the model, and the threshold that follows from it."""
        return asdict(self) | {"threshold": self.threshold}

    def __str__(self):
        numbers = self.as_dict()
        name = numbers.pop("name")
        return ", ".join([name, *(f"{field}={value:g}" for field, value in numbers.items())])


# The evaluations of the series share their numbers.
NAMES = ("asvspoof2019", "asvspoof2021", "asvspoof5_track1", "asvspoof5_track2")
PRESETS = {name: CostModel(name) for name in NAMES}
# Defaults of the a-DCF package, a-DCF1 of Shim et al., 2024.
PRESETS["a_dcf"] = CostModel("a_dcf", p_spoof=0.05, p_nontarget=0.05, c_fa_spoof=20)
DEFAULT = PRESETS["asvspoof5_track1"]
TRACK_2 = PRESETS["asvspoof5_track2"]


def cost_model(text: str) -> CostModel:
    """A preset by name, or ``name:field=value,...`` that changes some of its numbers.

    Raises:
        ValueError: no such preset or field, or a value that is no number in range; names the text.
    """
    try:
        return _cost_model(text)
    except ValueError as error:
        raise ValueError(f"cost model {text!r}: {error}") from None


def _cost_model(text: str) -> CostModel:
    name, _, changes = text.partition(":")
    if name not in PRESETS:
        raise ValueError(f"no preset {name!r}, expected one of {', '.join(PRESETS)}")
    numbers = [field.name for field in fields(CostModel) if field.name != "name"]
    values = {}
    for change in changes.split(","):
        if not change:
            continue
        field, _, value = change.partition("=")
        if field not in numbers:
            raise ValueError(f"{change!r}, expected field=value of {', '.join(numbers)}")
        try:
            values[field] = number(value)
        except ValueError:
            raise ValueError(f"{field} is {value!r}, expected a number") from None
    return replace(PRESETS[name], name=text, **values)
