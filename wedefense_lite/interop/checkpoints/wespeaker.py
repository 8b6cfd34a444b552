"""ResNet18, ResNet34 and ECAPA-TDNN of WeSpeaker (https://github.com/wenet-e2e/wespeaker).

Those for speakers are starting points: their classifier is left out.
"""

from wedefense_lite.interop.patterns import SOFTMAX_PROJECTION, Importer, reversed_rows, stages

IMPORTER = Importer(
    names=[
        *SOFTMAX_PROJECTION,
        *stages((2, 2, 2, 2)),
        (r"^seg_1\.", "embed."),
    ],
    forms={r"^layer3\.5\.": "wespeaker_resnet34", r"^layer1\.conv\.": "wespeaker_ecapa"},
    classifier=r"^projection\.",
    changes=[(r"^head\.linear\.", reversed_rows)],
)
