"""Check data directories: each by itself, and that no utterance is in two of them."""

import argparse

from wedefense_lite import cli
from wedefense_lite.audio.data_dir import check_data_dirs

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data_dirs", nargs="+", metavar="DIR", help="data/train, data/dev ...")
    with cli.one_line_errors(parser.prog):
        check_data_dirs(parser.parse_args().data_dirs)
