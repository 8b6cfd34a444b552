"""RawNet2, the baseline of ASVspoof 5 (https://github.com/asvspoof-challenge/asvspoof5).

Its weights have the names and shapes of those of ASVspoof 2021, but here ``bn1`` is in use.
"""

from wedefense_lite.interop.patterns import RAWNET2, Importer

IMPORTER = Importer(
    names=RAWNET2,
)
