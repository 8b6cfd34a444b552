"""Stage 8: the results of an experiment on one page that opens without a network."""

from wedefense_lite import cli

import logging
import tempfile
from dataclasses import replace
from pathlib import Path

from jsonargparse.typing import NonNegativeFloat, NonNegativeInt

from wedefense_lite.files import InputError, check_writable, read_bytes, write_text
from wedefense_lite.report.beside import localization_pictures, mixture_confusions
from wedefense_lite.report.decisions import decide, threshold_of
from wedefense_lite.report.embeddings import Projection, check_projection, read_map
from wedefense_lite.report.groups import GroupTable, measure_groups, read_groups
from wedefense_lite.report.page import Details, render
from wedefense_lite.report.pictures import draw
from wedefense_lite.report.recordings import MOST_SECONDS, Recording, add_audio, list_errors
from wedefense_lite.report.run import Run, read_run
from wedefense_lite.report.run_tables import tables_of
from wedefense_lite.report.tables import write_tables


def report(
    exp_dir: str,
    data_dir: str,
    sets: str = "",
    projection: Projection = "pca",
    groups: str = "",
    bootstrap: NonNegativeInt = 1000,
    worst: NonNegativeInt = 3,
    inline_audio_mb: NonNegativeFloat = 4.0,
    explain: str = "",
    model: str | None = None,
    tables: str | None = None,
) -> None:
    """Write ``report.html`` of an experiment, pictures included.

    Args:
        exp_dir: experiment with scores and results of every set.
        data_dir: folder that holds the data directory of every set.
        sets: names of the sets, separated by commas, in the order of the report. By default dev,
            eval and eval_calibrated, as far as they were evaluated; the last one is eval with the
            scores in ``posteriors/eval_calibrated``.
        projection: how embeddings become points of a plane: pca; umap, which needs umap-learn; or
            none.
        groups: columns of each set's meta.tsv, separated by commas, whose values are compared in
            a table: sex (also of spk2gender), language, codec ..., or speaker.
        bootstrap: samples for the 95 % intervals of groups; 0 for none.
        worst: errors of each kind in a set that are shown with spectrogram and player.
        inline_audio_mb: megabytes of audio in the page, at most; 0 for no players.
        explain: method of bin/explain.py, such as grad_cam, that explains the worst errors; needs
            captum.
        model: bundle or experiment that is explained; unless given, exp_dir.
        tables: folder for each table of the page as TSV and as LaTeX.
    """
    check_projection(projection)
    page = Path(exp_dir, "report.html")
    check_writable(page, Path(tables, "table.tsv") if tables else None)
    run = read_run(exp_dir, data_dir, sets.replace(",", " ").split())
    decisions = decide(run)
    group_tables = compare_groups(run, data_dir, groups.replace(",", " ").split(), bootstrap)
    embedding_map = read_map(run, exp_dir, projection)
    errors = add_audio(list_errors(run, data_dir, worst), run.config_text, inline_audio_mb)
    if explain:
        errors = add_explanations(errors, explain, model or exp_dir)
    details = Details(
        decisions=decisions,
        groups=group_tables,
        embedding_map=embedding_map,
        errors=errors,
        most_audio=inline_audio_mb,
        localization=localization_pictures(exp_dir),
        mixtures=mixture_confusions(exp_dir),
    )
    write_text(page, render(run, draw(run), details))
    logging.info("wrote %s", page)
    if tables:
        write_tables(tables, tables_of(run, decisions, group_tables))
        logging.info("wrote tables in %s", tables)


def compare_groups(run: Run, data_dir: str, columns: list[str], bootstrap: int) -> list[GroupTable]:
    """Tables of groups: a set and a column each."""
    measured = []
    for scored in run.ranked:
        threshold, _ = threshold_of(run, scored)
        for column in columns:
            values = read_groups(data_dir, scored, column)
            measured.append(measure_groups(scored, column, values, threshold, bootstrap))
    return measured


def add_explanations(recordings: list[Recording], method: str, model: str) -> list[Recording]:
    """Recordings with pictures of what made the model say spoof.

    Raises:
        InputError: captum is missing, no such method, or a model that can't be explained.
    """
    # These import PyTorch, which a report needs for nothing else.
    from wedefense_lite.explain.attribution import METHODS, captum_attr
    from wedefense_lite.explain.explainer import Explainer, Pair
    from wedefense_lite.explain.pictures import draw_explanations
    from wedefense_lite.scoring.bundle import Detector

    captum_attr()
    if method not in METHODS or method == "random":
        expected = ", ".join(name for name in METHODS if name != "random")
        raise InputError(f"--explain {method!r}, expected one of {expected}")
    detector = Detector(model, trim=False)
    explainer = Explainer(detector, [method], curves=False, max_seconds=MOST_SECONDS)
    explained = []
    with tempfile.TemporaryDirectory() as folder:
        picture = Path(folder, "explanation.png")
        audio = Path(folder, "recording.flac")
        for recording in recordings:
            if recording.note:
                explained.append(recording)
                continue
            # The recording may be in a shard; the page has read as much of it as is explained.
            audio.write_bytes(recording.sound)
            explanation = explainer.explain(Pair(recording.key, str(audio), None))
            draw_explanations(
                picture,
                recording.key,
                explanation.spectra,
                explanation.mask_QF,
                explanation.attributions,
                detector.data.sample_rate,
            )
            explained.append(replace(recording, explanation=read_bytes(picture)))
    return explained


if __name__ == "__main__":
    cli.run(report, from_hub=True, builds_systems=True)
