"""Several data directories as one, whose meta.tsv says which set an utterance is from."""

from wedefense_lite import cli

import argparse

from wedefense_lite.audio.subsets import combine, read_data_dir, write_data_dir
from wedefense_lite.files import inputs_kept

if __name__ == "__main__":
    # By argparse, because cli.run takes no list as a positional argument.
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("dest_dir", help="data directory to write")
    parser.add_argument("src_dirs", nargs="+", metavar="DIR", help="such as data/a data/b")
    arguments = parser.parse_args()
    with cli.one_line_errors(parser.prog), inputs_kept():
        parts = [read_data_dir(folder) for folder in arguments.src_dirs]
        write_data_dir(arguments.dest_dir, combine(parts))
