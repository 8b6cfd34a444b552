"""Mixtures of several talkers, of whom any may be spoofed: a plan, then its audio."""

import hashlib
import logging
import os
import re
from pathlib import Path
from typing import Literal

import numpy as np
from jsonargparse.typing import NonNegativeInt, PositiveInt

from wedefense_lite import cli
from wedefense_lite.audio.reading import measure_lengths
from wedefense_lite.audio.utterance import Utterance
from wedefense_lite.files import InputError, read_table
from wedefense_lite.mixtures.plan import as_written, read_plan, write_plan
from wedefense_lite.mixtures.planner import PRESETS, Planner, Recipe, read_sources
from wedefense_lite.mixtures.rendering import render


def simulate_mixtures(
    data_dir: list[str] | str,
    plan: str,
    preset: Literal["two_talker_published", "two_talker", "conversation"] = "two_talker_published",
    num_mixtures: PositiveInt = 1000,
    seed: NonNegativeInt = 1,
    out_dir: str | None = None,
    render_only: bool = False,
    exclude: list[str] | str = (),
    noise_data: str | None = None,
    reverb_data: str | None = None,
    sample_rate: PositiveInt = 16000,
    nj: NonNegativeInt = 0,
    **changes,
) -> None:
    """Draw a plan of mixtures; with --out_dir, render it to shards of mixtures, and in stems/ of their talkers.

    Args:
        data_dir: one or more data directories with utt2dur; spk2gender, if it is there, says f or m.
        plan: table of the mixtures; PLAN.metadata.tsv beside it has mixtures of two in the published columns.
        preset: as published; or two talkers, or two to five in conversation, of like loudness, who overlap in part.
        num_mixtures: how many.
        seed: of all chance.
        out_dir: folder of the audio.
        render_only: render the plan that is there.
        exclude: plans whose utterances are not used again.
        noise_data: wav.scp of noises, of which each mixture has one.
        reverb_data: wav.scp of room responses, one for each talker; ids that agree up to the last - are of one room.
        sample_rate: in Hz, of all audio.
        nj: processes that render; 0 for one on each core.
    """
    exclude, data_dir = (
        [paths] if isinstance(paths, str) else paths for paths in (exclude, data_dir)
    )
    if out_dir and Path(out_dir).resolve() in {Path(folder).resolve() for folder in data_dir}:
        raise InputError(
            f"--out_dir {out_dir}: is one of the data directories, which stay as they are"
        )
    recipe = Recipe(**changes).over(PRESETS[preset])
    _check_options(changes, recipe, noise_data, render_only and not out_dir)
    sources = read_sources(
        data_dir, Recipe() if render_only else recipe, () if render_only else exclude
    )
    tables = ((path and read_table(path) or {}).items() for path in (reverb_data, noise_data))
    rirs, noises = ([Utterance(*row) for row in table] for table in tables)
    if render_only:
        drawn = read_plan(plan)
    else:
        seconds = {
            row.key: row.samples / sample_rate
            for row in noises and measure_lengths(noises, sample_rate)
        }
        planner = Planner(
            sources, recipe, np.random.default_rng([seed]), [row.key for row in rirs], seconds
        )
        name = re.sub(r"[^A-Za-z0-9]", "_", Path(data_dir[0]).resolve().name)
        # Other mixtures have other ids, so that scores of one plan are never taken for those of another.
        drawn_from = recipe, seed, num_mixtures, [one.key for one in sources]
        digest = hashlib.sha256(repr(drawn_from).encode()).hexdigest()[:6]
        drawn = as_written(planner.plan(f"mix_{name}_{digest}", num_mixtures))
    if out_dir:
        files = {
            ("source", one.key): Utterance(one.key, one.wav, label=one.label) for one in sources
        }
        files |= {
            (kind, row.key): row
            for kind, rows in (("rir", rirs), ("noise", noises))
            for row in rows
        }
        render(drawn, files, Path(out_dir), sample_rate, nj or len(os.sched_getaffinity(0)))
    # Rendering writes the plan along, and last, so that a plan that is there is that of the audio.
    if not render_only and not (
        out_dir and Path(plan).resolve() == Path(out_dir, "plan.tsv").resolve()
    ):
        write_plan(plan, drawn)
    logging.info("%d mixtures in %s", len(drawn), plan)


def _check_options(
    changes: dict, recipe: Recipe, noise_data: str | None, renders_nothing: bool
) -> None:
    """Refuse options that would change nothing."""
    for asked, option, needs in (
        (renders_nothing, "--render_only", "--out_dir"),
        (changes.get("snr_db") and not noise_data, "--snr_db", "--noise_data"),
        (
            changes.get("delay") is not None and recipe.overlap is not None,
            "--delay",
            "a preset without overlap",
        ),
    ):
        if asked:
            raise InputError(f"{option} needs {needs}")


if __name__ == "__main__":
    cli.run(simulate_mixtures)
