"""The commands of a recipe, stage by stage."""

from wedefense_lite import cli

import subprocess
import sys
from argparse import REMAINDER
from pathlib import Path

from wedefense_lite.files import InputError, read_text


def stages(recipe: str, options: list[str]) -> int:
    """Print the command of each stage of a recipe, as it is typed in the root of the repository.

    Nothing is run or written. Files of earlier stages count as there.

    Args:
        recipe: its run.sh, or the folder of it.
        options: options of the recipe, such as --task or --stage.

    Returns:
        exit status of the recipe: 2 where it refuses an option.

    Raises:
        InputError: no recipe of that name.
    """
    script = Path(recipe)
    if script.is_dir():
        script = script / "run.sh"
    if not script.is_file():
        raise InputError(f"{script}: no such file, expected a recipe such as egs/mini/run.sh")
    # Another script would not know --dry_run, and do its work.
    if "tools/recipe.sh" not in read_text(script):
        raise InputError(f"{script}: no recipe, expected a script that sources tools/recipe.sh")
    command = ["bash", str(script), *options, "--dry_run", "true"]
    return subprocess.run(command, check=False).returncode


def main() -> None:
    """Read the command line; words behind the recipe are its own."""
    parser = cli.Parser(description=(stages.__doc__ or "").split("\n\n")[0])
    parser.add_argument("recipe", help="its run.sh, or the folder of it")
    parser.add_argument("options", nargs=REMAINDER, help="options of the recipe, such as --task")
    arguments = parser.parse_args()
    with cli.one_line_errors(parser.prog):
        sys.exit(stages(arguments.recipe, arguments.options))


if __name__ == "__main__":
    main()
