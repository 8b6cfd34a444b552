"""Tables of noises and of room impulse responses for augmentation, from MUSAN and RIRS_NOISES."""

import logging
from collections import Counter
from pathlib import Path
from typing import Literal

import soundfile as sf
from jsonargparse.typing import PositiveInt

from wedefense_lite import cli
from wedefense_lite.audio.data_dir import durations
from wedefense_lite.audio.index import check_keys
from wedefense_lite.files import InputError, atomic_path, read_rows, write_table

LICENCES = {
    "musan": "MUSAN (openslr.org/17): CC BY 4.0; single files have their own, see its LICENSE files",
    "rirs": "RIRS_NOISES (openslr.org/28): Apache 2.0",
}
ROOMS = ("smallroom", "mediumroom", "largeroom")
# Kind, beginning of the ids, and where the files are: the folder of real responses holds noises too, which
# its list leaves out.
PLACES = {
    "musan": [(kind, kind, f"{kind}/**/*.wav") for kind in ("noise", "music", "speech")],
    "rirs": [
        *(("simulated", room, f"simulated_rirs/{room}/rir_list") for room in ROOMS),
        ("real", "real", "real_rirs_isotropic_noises/rir_list"),
    ],
}


def find(corpus_dir: Path, place: str) -> list[Path]:
    """Files of a pattern, or of a ``rir_list``, whose lines end with ``RIRS_NOISES/.../x.wav``.

    Raises:
        InputError: there are none.
    """
    if place.endswith("rir_list"):
        rows = read_rows(corpus_dir / place, columns=None)
        return [corpus_dir.joinpath(*Path(cells[-1]).parts[1:]) for _, cells in rows]
    if not (files := sorted(corpus_dir.glob(place))):
        raise InputError(f"{corpus_dir}: no {place}")
    return files


def first_channel(path: Path, mono: Path) -> Path:
    """``path``, or where it has several channels the new file ``mono`` with the first of them."""
    try:
        if sf.info(path).channels == 1:
            return path
        wav, rate = sf.read(path, always_2d=True, dtype="float32")
    except (OSError, sf.LibsndfileError) as error:
        raise InputError(f"{path}: {error}") from error
    with atomic_path(mono) as temporary:
        sf.write(temporary, wav[:, 0], rate, format="WAV", subtype="FLOAT")
    return mono


def prepare_noise(
    corpus: Literal["musan", "rirs"], corpus_dir: str, out_dir: str, num_threads: PositiveInt = 8
):
    """Write out_dir/wav.scp of all files, and out_dir/KIND/wav.scp of each kind.

    Kinds of MUSAN are noise, music and speech, of the responses simulated and real; an id begins with
    the kind (or room): noise-free-sound-0000, smallroom-Room001-00001.

    Args:
        corpus: whose layout the folder has.
        corpus_dir: musan or RIRS_NOISES, as published.
        out_dir: folder to write into; also gets the first channels of responses that have several.
        num_threads: threads that read the headers of the audio files.
    """
    logging.info("licence of %s", LICENCES[corpus])
    found: list[tuple[str, str, str]] = []
    for kind, beginning, place in PLACES[corpus]:
        for path in find(Path(corpus_dir), place):
            key = f"{beginning}-{path.stem.removeprefix(f'{beginning}-')}".replace(".", "_")
            found.append((kind, key, str(first_channel(path, Path(out_dir, "mono", f"{key}.wav")))))
    check_keys(corpus_dir, [key for _, key, _ in found])
    everything = {key: wav for _, key, wav in found}
    durations(everything, 16000, num_threads)  # all of them can be read
    for kind in dict.fromkeys(kind for kind, *_ in found):
        write_table(
            Path(out_dir, kind, "wav.scp"), {key: wav for of, key, wav in found if of == kind}
        )
    write_table(Path(out_dir, "wav.scp"), everything)
    logging.info("wrote %s: %s", out_dir, dict(Counter(kind for kind, *_ in found)))


if __name__ == "__main__":
    cli.run(prepare_noise, positional=True)
