"""Print the score of a recording by a bundle: score_bundle.py BUNDLE RECORDING."""

import sys

import wedefense_lite
from wedefense_lite import cli

if __name__ == "__main__":
    with cli.one_line_errors("score_bundle.py"):
        detector = wedefense_lite.load(sys.argv[1], trim=False)
        print(repr(detector.score(sys.argv[2])), detector.classify(sys.argv[2]))
