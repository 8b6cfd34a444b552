"""The report as one HTML page that needs nothing beside itself."""

import base64
from pathlib import Path

import numpy as np
import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from wedefense_lite.report.run import Run, ScoredSet

HARDEST = 8


def show(value: float | None, metric: str) -> str:
    """A metric as text: rates as percent with two digits, counts whole, anything else with three."""
    if value is None or isinstance(value, int):
        return "–" if value is None else f"{value:,}"
    return f"{100 * value:.2f} %" if metric.startswith("eer") else f"{value:z.3f}"


def interval(results: dict, metric: str) -> str:
    """The confidence interval of a metric as text, empty where there is none."""
    bounds = results.get("ci", {}).get(metric, ())
    return "–".join(show(bound, metric).removesuffix(" %") for bound in bounds)


def warnings(run: Run) -> list[str]:
    """What a reader must know before believing the numbers."""
    found = []
    for one in run.sets:
        eer, actual, least = (one.results[metric] for metric in ("eer", "act_dcf", "min_dcf"))
        if eer > 0.5:
            found.append(
                f"{one.name}: EER above 50 %. The polarity of the scores may be flipped: "
                "a higher score must mean more bona fide."
            )
        elif actual > 1.5 * least + 0.05:
            found.append(
                f"{one.name}: actual DCF {actual:.3f} is far above min DCF {least:.3f}. The scores are "
                "not calibrated for this set"
                + (", and no detector costs 1." if actual >= 1 else ".")
            )
    return found


def hardest(one: ScoredSet) -> dict[str, np.ndarray]:
    """The trials of each class that scored worst, worst first."""
    order = np.argsort(one.llr, kind="stable")
    lowest, highest = order[one.bonafide[order]], order[~one.bonafide[order]][::-1]
    return {
        "bona fide with the lowest scores": lowest[:HARDEST],
        "spoofs with the highest scores": highest[:HARDEST],
    }


def render(run: Run, drawn: dict[str, str]) -> str:
    """The page, from an experiment and its pictures (SVG text by name)."""
    page = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined
    )
    eers = [row.get("eer", 0) for one in run.ranked for row in one.results.get("by", {}).values()]
    return page.get_template("page.html").render(
        run=run,
        pictures={
            name: base64.b64encode(picture.encode()).decode() for name, picture in drawn.items()
        },
        show=show,
        interval=interval,
        hardest=hardest,
        warnings=warnings(run),
        worst=max(eers, default=0) or 1,
        env=yaml.safe_dump(run.env, sort_keys=False, allow_unicode=True, width=1000),
    )
