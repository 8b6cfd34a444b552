"""The report as one HTML page that needs nothing beside itself."""

import base64
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from wedefense_lite.files import printable
from wedefense_lite.metrics.summary import likely_cause
from wedefense_lite.report.beside import PicturesOfSet
from wedefense_lite.report.decisions import Decisions
from wedefense_lite.report.embeddings import EmbeddingMap
from wedefense_lite.report.groups import GroupTable
from wedefense_lite.report.pictures import set_colours
from wedefense_lite.report.recordings import MEGABYTE, MOST_SECONDS, Recording, in_base64
from wedefense_lite.report.run import Run
from wedefense_lite.report.run_tables import (
    METRICS,
    confusion_rows,
    group_rows,
    hardest,
    interval,
    show,
)


@dataclass(frozen=True)
class Details:
    """What the page shows beside metrics and curves; what is empty has no section.

    Attributes:
        decisions: decisions on each set.
        groups: tables of groups.
        embedding_map: embeddings as points; None where there are none.
        errors: the worst errors.
        most_audio: megabytes of audio that the page may have.
        localization: pictures of utterances by set.
        mixtures: confusion matrices of mixtures by set, SVG text.
    """

    decisions: Sequence[Decisions] = ()
    groups: Sequence[GroupTable] = ()
    embedding_map: EmbeddingMap | None = None
    errors: Sequence[Recording] = ()
    most_audio: float = 0.0
    localization: Sequence[PicturesOfSet] = ()
    mixtures: Mapping[str, str] = field(default_factory=dict)

    @property
    def players(self) -> int:
        """Recordings that the page plays."""
        return sum(1 for recording in self.errors if recording.has_player)

    @property
    def audio_megabytes(self) -> float:
        """Size of their audio in the page."""
        sizes = [len(recording.sound) for recording in self.errors if recording.has_player]
        return 4 * sum(sizes) / 3 / MEGABYTE


def warnings(run: Run) -> list[str]:
    """Sentences for a reader who is about to believe the numbers."""
    sentences = []
    for scored in run.sets:
        actual = scored.results["act_dcf"]
        minimum = scored.results["min_dcf"]
        eer = scored.results["eer"]
        cause = likely_cause(eer, scored.results["cllr"])
        if cause:
            sentences.append(f"{scored.name}: EER {100 * eer:.1f} %, {cause}.")
        elif actual > 1.5 * minimum + 0.05:
            # A system that decides without listening has a normalised DCF of 1.
            ending = ", and no detector costs 1." if actual >= 1 else "."
            sentences.append(
                f"{scored.name}: actual DCF {actual:.3f} is far above min DCF {minimum:.3f}. "
                f"The scores are not calibrated for this set{ending}"
            )
    return sentences


def _shown(value: object) -> object:
    """Value of a field of the page; names may come from other people's files."""
    # Text that is marked as HTML is the template's own.
    if isinstance(value, str) and not isinstance(value, Markup):
        return printable(value, keep="\n\t")
    return value


def _pieces(cell: str) -> list[str]:
    """Value, interval and p value of a cell, between which a line of a narrow page may end."""
    return re.split(r" (?=\[|p )", cell)


def _templates() -> Environment:
    # An undefined name in the template is an error, not an empty text.
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_shown,
    )
    environment.globals["pieces"] = _pieces
    # Columns of points stay in their order.
    environment.policies["json.dumps_kwargs"] = {"sort_keys": False}
    return environment


def _encoded(pictures: Mapping[str, str]) -> dict[str, str]:
    """Pictures in base 64 by their names."""
    encoded = {}
    for name, picture in pictures.items():
        encoded[name] = base64.b64encode(picture.encode()).decode()
    return encoded


def render(run: Run, pictures: dict[str, str], details: Details | None = None) -> str:
    """HTML of the page.

    Args:
        run: the experiment.
        pictures: SVG text by name.
        details: what else the page shows.
    """
    details = details or Details()
    eers = []
    for scored in run.ranked:
        for row in scored.results.get("by", {}).values():
            eers.append(row.get("eer", 0))
    names = [scored.name for scored in run.sets]
    return (
        _templates()
        .get_template("page.html")
        .render(
            run=run,
            colours=dict(zip(names, set_colours(run))),
            pictures=_encoded(pictures),
            show=show,
            interval=interval,
            hardest=hardest,
            metrics=METRICS,
            details=details,
            confusion_rows=confusion_rows,
            group_rows=group_rows,
            in_base64=in_base64,
            most_seconds=MOST_SECONDS,
            warnings=warnings(run),
            worst=max(eers, default=0) or 1,
            env=yaml.safe_dump(run.env, sort_keys=False, allow_unicode=True, width=1000),
        )
    )


def render_comparison(runs: Mapping[str, Run], compared: Sequence) -> str:
    """HTML of the page of several systems.

    Args:
        runs: experiments by the names of the systems.
        compared: the systems on each set, ``report.comparison.ComparedSet``.
    """
    sentences = {}
    for name, run in runs.items():
        sentences[name] = warnings(run)
    return (
        _templates()
        .get_template("comparison.html")
        .render(
            title=", ".join(runs),
            runs=runs,
            sets=compared,
            warnings=sentences,
            pictures=_encoded({one.name: one.picture() for one in compared}),
        )
    )
