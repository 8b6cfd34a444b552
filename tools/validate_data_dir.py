"""Check data directories: the files of each agree, and no utterance is in two of them.

Recordings that are in two of them under two ids are reported, which reads all audio.
"""

from wedefense_lite import cli

import argparse

from wedefense_lite.audio.data_dir import UTT2LAB, check_data_dirs
from wedefense_lite.labels import NO_LABELS

if __name__ == "__main__":
    # By argparse, because cli.run takes no list as a positional argument.
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data_dirs", nargs="+", metavar="DIR", help="such as data/train data/dev")
    parser.add_argument(
        "--labels",
        choices=(UTT2LAB, NO_LABELS),
        default=UTT2LAB,
        help="none: sets whose labels nobody knows",
    )
    parser.add_argument(
        "--audio",
        choices=("true", "false"),
        default="true",
        help="false: don't look for recordings that are in two sets",
    )
    arguments = parser.parse_args()
    with cli.one_line_errors(parser.prog):
        check_data_dirs(
            arguments.data_dirs,
            has_labels=arguments.labels != NO_LABELS,
            compares_audio=arguments.audio == "true",
        )
