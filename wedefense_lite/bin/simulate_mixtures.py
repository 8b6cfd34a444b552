"""Mixtures of several talkers, some of them spoofed: a plan, then its audio."""

from wedefense_lite import cli

import hashlib
import logging
import re
from pathlib import Path
from typing import Literal

import numpy as np
from jsonargparse.typing import NonNegativeInt, PositiveInt

from wedefense_lite.audio.data_dir import SHARD_LIST
from wedefense_lite.audio.index import read_wavs
from wedefense_lite.audio.reading import measure_lengths
from wedefense_lite.audio.utterance import Utterance
from wedefense_lite.files import InputError, check_writable
from wedefense_lite.mixtures.plan import read_plan, write_plan
from wedefense_lite.mixtures.planner import PRESETS, Planner, Recipe, Source, read_sources
from wedefense_lite.mixtures.rendering import Files, render
from wedefense_lite.processes import usable_cores


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
    """Draw a plan of mixtures; with --out_dir, render mixtures and the stems of their talkers.

    Args:
        data_dir: one or more data directories with utt2dur; spk2gender, if it is there, has f or m.
        plan: table of the mixtures. If all are of two talkers, PLAN.metadata.tsv beside it has them
            in the published columns.
        preset: two_talker_published, as in the study; two_talker, of like loudness and with part of
            the time in common; or conversation, the same of two to five talkers.
        num_mixtures: number of mixtures.
        seed: seed of all random draws.
        out_dir: folder of the audio: shards of mixtures, and stems/ of their talkers.
        render_only: render an existing plan.
        exclude: plans whose utterances are not used again.
        noise_data: wav.scp of noises; each mixture has one.
        reverb_data: wav.scp of room responses, one for each talker; ids with the same text before
            their last - are of one room.
        sample_rate: sample rate of all audio, in Hz.
        nj: processes that render; 0 for one on each core.

    Raises:
        InputError: an option without effect, an out_dir that is one of the data directories, or
            data that the mixtures can't be made of.
    """
    data_dirs = [data_dir] if isinstance(data_dir, str) else data_dir
    excluded_plans = [exclude] if isinstance(exclude, str) else exclude
    _check_out_dir(out_dir, data_dirs)
    check_writable(*_outputs(None if render_only else plan, out_dir))
    recipe = Recipe(**changes).over(PRESETS[preset])
    _check_options(changes, recipe, noise_data, render_only and not out_dir)
    rirs = _read_wav_list(reverb_data)
    noises = _read_wav_list(noise_data)

    if render_only:
        # An existing plan needs the tables of no recipe, and nothing is excluded from it.
        sources = read_sources(data_dirs, Recipe())
        mixtures = read_plan(plan)
    else:
        sources = read_sources(data_dirs, recipe, excluded_plans)
        noise_seconds = {}
        if noises:
            for row in measure_lengths(noises, sample_rate):
                noise_seconds[row.key] = row.samples / row.rate
        rng = np.random.default_rng([seed])
        planner = Planner(sources, recipe, rng, [row.key for row in rirs], noise_seconds)
        name = _mixture_name(data_dirs[0], recipe, seed, num_mixtures, sources)
        mixtures = planner.plan(name, num_mixtures)

    if out_dir:
        files = _files(sources, rirs, noises)
        # Rendering writes OUT_DIR/plan.tsv along.
        is_rendered = Path(plan).resolve() == Path(out_dir, "plan.tsv").resolve()
        plan_path = None if render_only or is_rendered else Path(plan)
        num_processes = nj or usable_cores()
        render(mixtures, files, Path(out_dir), sample_rate, num_processes, plan_path=plan_path)
    else:
        write_plan(plan, mixtures)
    logging.info("%d mixtures in %s", len(mixtures), plan)


def _check_out_dir(out_dir: str | None, data_dirs: list[str]) -> None:
    if not out_dir:
        return
    for folder in data_dirs:
        if Path(out_dir).resolve() == Path(folder).resolve():
            raise InputError(
                f"--out_dir {out_dir}: is one of the data directories, which stay as they are"
            )


def _outputs(plan: str | None, out_dir: str | None) -> list[Path]:
    """Files that will be written, one of each folder."""
    outputs = []
    if plan is not None:
        outputs.append(Path(plan))
    if out_dir is not None:
        for name in (
            "plan.tsv",
            "shards/shards.tar",
            f"stems/{SHARD_LIST}",
            "stems/shards/shards.tar",
        ):
            outputs.append(Path(out_dir, name))
    return outputs


def _check_options(
    changes: dict, recipe: Recipe, noise_data: str | None, renders_nothing: bool
) -> None:
    """Refuse options that would change nothing."""
    if renders_nothing:
        raise InputError("--render_only needs --out_dir")
    if changes.get("snr_db") and not noise_data:
        raise InputError("--snr_db needs --noise_data")
    if changes.get("delay") is not None and recipe.overlap is not None:
        raise InputError("--delay needs a preset without overlap")


def _read_wav_list(path: str | None) -> list[Utterance]:
    if not path:
        return []
    return [Utterance(key, wav) for key, wav in read_wavs(path).items()]


def _mixture_name(
    data_dir: str, recipe: Recipe, seed: int, num_mixtures: int, sources: list[Source]
) -> str:
    """Beginning of the ids of a plan, with a hash of all that it is drawn from.

    Mixtures of another plan have other ids, so that scores of one are never taken for another's.
    """
    folder = re.sub(r"[^A-Za-z0-9]", "_", Path(data_dir).resolve().name)
    facts = (recipe, seed, num_mixtures, [source.key for source in sources])
    digest = hashlib.sha256(repr(facts).encode()).hexdigest()[:6]
    return f"mix_{folder}_{digest}"


def _files(sources: list[Source], rirs: list[Utterance], noises: list[Utterance]) -> Files:
    """All audio that mixtures may be made of."""
    files = {}
    for source in sources:
        files["source", source.key] = Utterance(source.key, source.wav, label=source.label)
    for row in rirs:
        files["rir", row.key] = row
    for row in noises:
        files["noise", row.key] = row
    return files


if __name__ == "__main__":
    cli.run(simulate_mixtures)
