"""Tables of noises and of room impulse responses for augmentation, from MUSAN and RIRS_NOISES."""

from wedefense_lite import cli

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import soundfile as sf
from jsonargparse.typing import PositiveInt

from wedefense_lite.audio import reading
from wedefense_lite.audio.data_dir import check_file_names, durations
from wedefense_lite.audio.index import check_keys
from wedefense_lite.audio.utterance import Utterance
from wedefense_lite.files import InputError, atomic_path, check_writable, read_rows, write_table

LICENCES = {
    "musan": "MUSAN (openslr.org/17): CC BY 4.0; files have their own, see its LICENSE files",
    "rirs": "RIRS_NOISES (openslr.org/28): Apache 2.0",
}
SAMPLE_RATE = 16000  # Hz, of both corpora


@dataclass(frozen=True)
class Collection:
    """Files of a corpus that lie together.

    Args:
        category: name of their table: noise, music or speech; simulated or real responses.
        prefix: beginning of their ids.
        pattern: the files, or a ``rir_list`` of them, below the folder of the corpus.
    """

    category: str
    prefix: str
    pattern: str


COLLECTIONS = {
    "musan": [
        Collection("noise", "noise", "noise/**/*.wav"),
        Collection("music", "music", "music/**/*.wav"),
        Collection("speech", "speech", "speech/**/*.wav"),
    ],
    "rirs": [
        Collection("simulated", "smallroom", "simulated_rirs/smallroom/rir_list"),
        Collection("simulated", "mediumroom", "simulated_rirs/mediumroom/rir_list"),
        Collection("simulated", "largeroom", "simulated_rirs/largeroom/rir_list"),
        # The folder of the real responses also holds noises, which its list leaves out.
        Collection("real", "real", "real_rirs_isotropic_noises/rir_list"),
    ],
}


def list_files(corpus_dir: Path, pattern: str) -> list[Path]:
    """Files of a pattern, sorted, or those of a ``rir_list`` in its order.

    Raises:
        InputError: no such files.
    """
    if pattern.endswith("rir_list"):
        files = []
        for _, cells in read_rows(corpus_dir / pattern, columns=None):
            # The last cell is RIRS_NOISES/.../x.wav; the folder may have another name here.
            below = Path(cells[-1]).parts[1:]
            files.append(corpus_dir.joinpath(*below))
        return files
    files = sorted(corpus_dir.glob(pattern))
    if not files:
        raise InputError(f"{corpus_dir}: no {pattern}")
    return files


def first_channel(path: Path, mono: Path) -> Path:
    """File of the first channel: the file itself if it has one channel only.

    Args:
        path: audio file.
        mono: file to write if ``path`` has several channels.

    Raises:
        InputError: the audio can't be read.
    """
    with reading.open_audio(Utterance(path.name, str(path)), channel=1) as file:
        if file.decoder.channels == 1:
            return path
        wav = reading.as_float(reading.decode(file))
        sample_rate = file.sample_rate
    with atomic_path(mono) as temporary:
        sf.write(temporary, wav, sample_rate, format="WAV", subtype="FLOAT")
    return mono


def prepare_noise(
    corpus: Literal["musan", "rirs"], corpus_dir: str, out_dir: str, num_threads: PositiveInt = 8
):
    """Write out_dir/wav.scp of all files, and out_dir/CATEGORY/wav.scp of each category.

    The categories of MUSAN are noise, music and speech; those of RIRS_NOISES are simulated and
    real. An id begins with the category, or with the size of a simulated room:
    noise-free-sound-0000, smallroom-Room001-00001.

    Args:
        corpus: layout of corpus_dir.
        corpus_dir: the folder musan or RIRS_NOISES, as published.
        out_dir: folder of the tables, and of the first channels of files that have several.
        num_threads: threads that read the headers of the audio files.
    """
    logging.info("licence of %s", LICENCES[corpus])
    check_writable(Path(out_dir, "wav.scp"))
    keys: list[str] = []
    table: dict[str, str] = {}
    by_category: dict[str, dict[str, str]] = {}
    for collection in COLLECTIONS[corpus]:
        for path in list_files(Path(corpus_dir), collection.pattern):
            # Names of most files begin with the prefix already. A dot would end the id of a member
            # of a shard.
            name = path.stem.removeprefix(f"{collection.prefix}-")
            key = f"{collection.prefix}-{name}".replace(".", "_")
            check_file_names(corpus_dir, {key: str(path)})
            wav = str(first_channel(path, Path(out_dir, "mono", f"{key}.wav")))
            keys.append(key)
            table[key] = wav
            by_category.setdefault(collection.category, {})[key] = wav
    # From the list: the table has already lost an id that two files share.
    check_keys(corpus_dir, keys)
    # The durations are not needed. Reading them shows that each file is audio, and of which kind.
    durations(table, SAMPLE_RATE, num_threads)
    for category, rows in by_category.items():
        write_table(Path(out_dir, category, "wav.scp"), rows)
    write_table(Path(out_dir, "wav.scp"), table)
    counts = {category: len(rows) for category, rows in by_category.items()}
    logging.info("wrote %s: %s", out_dir, counts)


if __name__ == "__main__":
    cli.run(prepare_noise, positional=True)
