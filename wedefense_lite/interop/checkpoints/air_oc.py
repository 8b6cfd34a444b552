"""ResNet18 with OC-softmax (https://github.com/yzyouzhang/AIR-ASVspoof)."""

from wedefense_lite.interop.patterns import Importer, flat, stages

IMPORTER = Importer(
    names=[
        (r"^model\.(fc_mu|fc_att)\..*", ""),
        (r"^model\.", ""),
        *stages((2, 2, 2, 2)),
        (r"\.shortcut\.0\.", ".shortcut."),
        (r"^attention\.att_weights$", "pool.weight_D"),
        (r"^fc\.", "embed."),
        (r"^loss\.center$", "head.weight"),
    ],
    changes=[(r"^model\.pool\.weight_D$", flat)],
)
