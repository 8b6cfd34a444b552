"""SE-Res2Net50 (https://github.com/lixucuhk/ASV-anti-spoofing-with-Res2Net)."""

from wedefense_lite.interop.patterns import Importer, reversed_rows, se_res2net50

IMPORTER = Importer(
    names=[*se_res2net50(""), (r"^cls_layer\.", "head.linear.")],
    changes=[(r"^head\.linear\.", reversed_rows)],
)
