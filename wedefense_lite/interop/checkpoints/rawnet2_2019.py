"""RawNet2 on ASVspoof 2019 (https://github.com/eurecom-asp/rawnet2-antispoofing)."""

from wedefense_lite.interop.patterns import RAWNET2, WEIGHTED_LA_2019, Importer

IMPORTER = Importer(
    names=RAWNET2,
    trained_on=WEIGHTED_LA_2019,
)
