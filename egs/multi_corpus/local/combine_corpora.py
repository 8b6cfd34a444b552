"""Several prepared corpora to the data directories of one training."""

from wedefense_lite import cli

import logging
from pathlib import Path

from wedefense_lite.audio.data_dir import UTT2LAB
from wedefense_lite.audio.index import check_keys
from wedefense_lite.audio.subsets import combine, of_corpus, read_data_dir, write_data_dir
from wedefense_lite.files import InputError

RECIPES = Path(__file__).parents[2]
SETS = ("train", "dev", "eval")


def find_corpora(words: str) -> dict[str, Path]:
    """Folders of corpora by name.

    Args:
        words: names of recipes whose data are prepared, and ``NAME=FOLDER``.

    Raises:
        InputError: a folder without data directories, or a name that is there twice.
    """
    folders: dict[str, Path] = {}
    for word in words.split():
        name, is_named, text = word.partition("=")
        folder = Path(text) if is_named else RECIPES / word / "data"
        check_keys("--corpora", [name])
        if name in folders:
            raise InputError(f"--corpora: {name} twice, expected another name: NAME=FOLDER")
        has_sets = any((folder / part / UTT2LAB).exists() for part in (".", *SETS))
        if not has_sets:
            raise InputError(
                f"--corpora: {folder} has no train, dev or eval with {UTT2LAB}: run stage 1 of its "
                "recipe, or give NAME=FOLDER"
            )
        folders[name] = folder
    return folders


def write_set(data_dir: str, set_name: str, corpora: dict[str, Path]) -> None:
    """Write one set of all corpora; a corpus may be a single data directory, for eval.

    Raises:
        InputError: a corpus without this set.
    """
    parts = []
    for name, folder in corpora.items():
        part = folder / set_name
        if set_name == "eval" and (folder / UTT2LAB).exists():
            part = folder
        if not (part / UTT2LAB).exists():
            raise InputError(
                f"{name}: {part} has no {UTT2LAB}: leave it out of --{set_name}_corpora"
            )
        parts.append(of_corpus(read_data_dir(part), name))
    write_data_dir(Path(data_dir, set_name), combine(parts))
    logging.info("%s: %s", set_name, ", ".join(corpora))


def combine_corpora(
    corpora: str, data_dir: str = "data", dev_corpora: str = "", eval_corpora: str = ""
) -> None:
    """Write data/{train,dev,eval} of several corpora.

    Args:
        corpora: names of recipes whose stage 1 has run, or NAME=FOLDER with train, dev and eval,
            separated by spaces: the training set.
        data_dir: folder to write into.
        dev_corpora: corpora of the dev set; by default those of corpora that have one.
        eval_corpora: corpora of the test set, or single data directories; by default those of
            corpora that have one.
    """
    trained = find_corpora(corpora)
    if not trained:
        raise InputError("--corpora is empty, expected recipes or NAME=FOLDER")
    chosen = {"train": trained}
    for set_name, words in (("dev", dev_corpora), ("eval", eval_corpora)):
        chosen[set_name] = find_corpora(words)
        if not words:
            for name, folder in trained.items():
                if (folder / set_name / UTT2LAB).exists():
                    chosen[set_name][name] = folder
        if not chosen[set_name]:
            raise InputError(f"no corpus has a {set_name} set: --{set_name}_corpora names others")
    for set_name, folders in chosen.items():
        write_set(data_dir, set_name, folders)


if __name__ == "__main__":
    cli.run(combine_corpora)
