"""The command ``wedefense-lite``: one word for each entry point that a user types by hand.

A subcommand is an entry point of ``bin/`` as it is, with its options and its exit status.
"""

import runpy
import sys

from wedefense_lite.files import printable

PROGRAM = "wedefense-lite"
# Subcommand to its module in bin/, and what it does.
COMMANDS = {
    "score": ("score", "score recordings: bona fide, spoof, or not sure"),
    "serve": ("serve", "score recordings that come by HTTP, with a page to upload them"),
    "explain": ("explain", "show which parts of a recording made a detector say spoof"),
    "stages": ("stages", "print the commands of a recipe, stage by stage"),
    "export": ("export_bundle", "make one folder of a trained system, to be handed on"),
    "export-onnx": ("export_onnx", "make an ONNX file of a trained system, which needs no PyTorch"),
    "compare-systems": ("compare_systems", "show several experiments side by side on one page"),
    "report": ("report", "show the results of an experiment on one page"),
}
USAGE = f"usage: {PROGRAM} COMMAND [OPTIONS]"


def main() -> None:
    """Run the subcommand that the command line begins with.

    Exit status: that of the entry point; 2 where there is no such subcommand.
    """
    name = sys.argv[1] if len(sys.argv) > 1 else ""
    if name in ("-h", "--help"):
        print(_help())
        return
    if name not in COMMANDS:
        problem = f"no command {printable(name)!r}" if name else "no command"
        names = ", ".join(COMMANDS)
        print(f"{PROGRAM}: error: {problem}, expected one of {names}", file=sys.stderr)
        sys.exit(2)
    module, _ = COMMANDS[name]
    # Errors and help begin with the words that were typed.
    sys.argv = [f"{PROGRAM} {name}", *sys.argv[2:]]
    # Importing the module would leave out how its entry point reads the command line.
    runpy.run_module(f"wedefense_lite.bin.{module}", run_name="__main__")


def _help() -> str:
    lines = [USAGE, "", "commands:"]
    width = max(map(len, COMMANDS))
    for name, (_, purpose) in COMMANDS.items():
        lines.append(f"  {name.ljust(width)}  {purpose}")
    lines += ["", f"{PROGRAM} COMMAND --help lists the options of a command."]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
