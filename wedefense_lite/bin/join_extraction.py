"""Join the archives that the jobs of an array extracted to the one of the whole list."""

from wedefense_lite import cli

import logging
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Literal

from jsonargparse.typing import PositiveInt

from wedefense_lite.audio.index import read_index
from wedefense_lite.files import (
    InputError,
    abbreviate,
    check_writable,
    file_path,
    folder_lock,
    note_input,
)
from wedefense_lite.provenance import file_hash
from wedefense_lite.scoring.joining import join, part_path
from wedefense_lite.scoring.recordings import window_rows
from wedefense_lite.scoring.sidecar import (
    Sidecar,
    begin_results,
    check_sidecar,
    read_sidecar,
    sidecar_path,
    write_sidecar,
)
from wedefense_lite.systems.experiment import load_experiment


def join_extraction(
    config: str,
    data_list: str,
    embed_ark: str,
    parts: PositiveInt,
    data_type: Literal["shard", "raw"] = "shard",
    model_path: str | None = None,
) -> None:
    """Join what ``extract.py --part 1/N`` to ``N/N`` wrote: as one extraction writes it.

    Every utterance of the list has to be there exactly once, and all parts have to be of one model.
    The folders of the parts are removed afterwards.

    Args:
        config: exp/X/config.yaml.
        data_list: list that was extracted.
        embed_ark: archive to write, as it was given to extract.py.
        parts: number of parts.
        data_type: kind of the list.
        model_path: checkpoint that they have to be of; by default that of the first part.
    """
    experiment = load_experiment(config)
    archive = file_path(embed_ark)
    check_writable(archive, archive.with_suffix(".scp"), sidecar_path(archive))
    archives = [part_path(archive, number, parts) for number in range(1, parts + 1)]
    for path in archives:
        note_input(path)
    with folder_lock(archive.parent, "joining"):
        # Before anything is replaced: a part may be missing, or of another model.
        sidecar = _common_sidecar(archives)
        if model_path is not None:
            check_sidecar(archives[0], sidecar, model_hash=file_hash(model_path))
        index = read_index(data_list, data_type)
        if sidecar.window_seconds:
            rate = experiment.data.sample_rate
            index = window_rows(index, round(sidecar.window_seconds * rate), rate)
        keys = []
        for row in index:
            keys.extend(experiment.system.names(row.key))
        begin_results(archive)
        join(keys, archives, archive)
        write_sidecar(archive, sidecar)
        for path in archives:
            shutil.rmtree(path.parent)
    logging.info("%s: %d rows of %d parts", archive, len(keys), parts)


def _common_sidecar(archives: list[Path]) -> Sidecar:
    """Sidecar that all parts have.

    Raises:
        InputError: a part is missing or unfinished, or two are of different models or code.
    """
    sidecars = []
    missing = []
    reasons = []
    for number, path in enumerate(archives, 1):
        try:
            sidecar = read_sidecar(path)
        except InputError as error:
            missing.append(f"{number}/{len(archives)}")
            reasons.append(str(error))
            continue
        sidecars.append(replace(sidecar, hashes={}))
    if missing:
        raise InputError(f"{reasons[0]}: extract again --part {abbreviate(missing)}, and join then")
    first = sidecars[0]
    for path, sidecar in zip(archives, sidecars):
        if sidecar != first:
            raise InputError(
                f"{sidecar_path(path)}: of another model or code than "
                f"{sidecar_path(archives[0])}: extract all parts by the same"
            )
    return first


if __name__ == "__main__":
    cli.run(join_extraction, builds_systems=True)
