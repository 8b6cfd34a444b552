"""AASIST and AASIST-L (https://github.com/clovaai/aasist), and the AASIST of ASVspoof 5."""

from wedefense_lite.interop.patterns import AASIST, WEIGHTED_LA_2019, Importer

IMPORTER = Importer(
    names=AASIST,
    trained_on=WEIGHTED_LA_2019,
)
