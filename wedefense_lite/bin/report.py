"""Stage 8: the results of an experiment on one page that opens without a network."""

from wedefense_lite import cli

import logging
from pathlib import Path

from wedefense_lite.files import write_text
from wedefense_lite.report.page import render
from wedefense_lite.report.pictures import draw
from wedefense_lite.report.run import read_run


def report(exp_dir: str, data_dir: str, sets: str = "") -> None:
    """Write ``report.html`` of an experiment, pictures included.

    Args:
        exp_dir: experiment with scores and results of every set.
        data_dir: folder that holds the data directory of every set.
        sets: names of the sets, separated by commas, in the order of the report. By default dev,
            eval and eval_calibrated, as far as they were evaluated; the last one is eval with the
            scores in ``posteriors/eval_calibrated``.
    """
    run = read_run(exp_dir, data_dir, sets.replace(",", " ").split())
    page = Path(exp_dir, "report.html")
    write_text(page, render(run, draw(run)))
    logging.info("wrote %s", page)


if __name__ == "__main__":
    cli.run(report)
