"""ResNet34 of WeSpeaker (https://github.com/wenet-e2e/wespeaker)."""

from wedefense_lite.interop.patterns import (
    SOFTMAX_PROJECTION,
    Importer,
    reversed_rows,
    stages,
)

IMPORTER = Importer(
    names=[*SOFTMAX_PROJECTION, *stages((3, 4, 6, 3)), (r"^seg_1\.", "embed.")],
    changes=[(r"^head\.linear\.", reversed_rows)],
    classifier=r"^projection\.",
)
