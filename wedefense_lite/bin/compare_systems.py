"""Several systems side by side: metrics, paired tests and curves on one page."""

from wedefense_lite import cli

import logging
from pathlib import Path

from jsonargparse.typing import PositiveInt

from wedefense_lite.files import InputError, check_writable, write_text
from wedefense_lite.report.comparison import Pairs, compare_runs, system_names
from wedefense_lite.report.page import render_comparison
from wedefense_lite.report.run import read_run
from wedefense_lite.report.tables import write_tables


def compare_systems(
    exp_dirs: list[str],
    data_dir: str,
    sets: str = "",
    output: str = "comparison.html",
    bootstrap: PositiveInt = 1000,
    pairs: Pairs = "first",
    tables: str | None = None,
) -> None:
    """Write a page of several experiments on the same sets, with paired tests.

    Args:
        exp_dirs: experiments after stage 7, two or more.
        data_dir: folder that holds the data directory of every set.
        sets: names of the sets, separated by commas; unless given, dev, eval and eval_calibrated,
            as far as all experiments have them.
        output: page to write.
        bootstrap: samples of a paired test.
        pairs: first, to test each further experiment against the first; all, to test each pair.
            P values are corrected by Holm's method for as many tests as there are.
        tables: folder for each table of the page as TSV and as LaTeX.
    """
    if len(exp_dirs) < 2:
        raise InputError(f"{len(exp_dirs)} experiments, expected two or more")
    if len({Path(path).resolve() for path in exp_dirs}) < len(exp_dirs):
        raise InputError("an experiment is named twice")
    check_writable(output, Path(tables, "table.tsv") if tables else None)
    runs = [read_run(path, data_dir, sets.replace(",", " ").split()) for path in exp_dirs]
    names = system_names(exp_dirs, [run.name for run in runs])
    run_by_name = dict(zip(names, runs))
    compared = compare_runs(run_by_name, bootstrap, pairs)
    write_text(output, render_comparison(run_by_name, compared))
    logging.info("wrote %s", output)
    if tables is not None:
        for compared_set in compared:
            rows_by_name = {
                f"{compared_set.name}_metrics": compared_set.metric_rows(),
                f"{compared_set.name}_differences": compared_set.difference_rows(),
            }
            write_tables(tables, rows_by_name)


if __name__ == "__main__":
    cli.run(compare_systems, several="exp_dirs")
