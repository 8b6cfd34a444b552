"""RawNet2, the baseline of ASVspoof 2021 (https://github.com/asvspoof-challenge/2021)."""

from wedefense_lite.interop.patterns import RAWNET2, WEIGHTED_LA_2019, Importer

IMPORTER = Importer(
    names=[(r"^block\d\.0\.bn1\..*", ""), *RAWNET2],
    trained_on=WEIGHTED_LA_2019,
)
