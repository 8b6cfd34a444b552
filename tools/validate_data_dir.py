"""Check data directories: the files of each agree, and no utterance is in two of them."""

import argparse

from wedefense_lite import cli
from wedefense_lite.audio.data_dir import check_data_dirs

if __name__ == "__main__":
    # By argparse, because cli.run takes no list as a positional argument.
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data_dirs", nargs="+", metavar="DIR", help="such as data/train data/dev")
    with cli.one_line_errors(parser.prog):
        check_data_dirs(parser.parse_args().data_dirs)
