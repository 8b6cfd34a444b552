"""ECAPA-TDNN of WeSpeaker (https://github.com/wenet-e2e/wespeaker)."""

from wedefense_lite.interop.patterns import SOFTMAX_PROJECTION, Importer, reversed_rows

IMPORTER = Importer(
    names=[
        *SOFTMAX_PROJECTION,
        (r"^layer1\.conv\.", "first.0."),
        (r"^layer1\.bn\.", "first.2."),
        (r"^layer2\.se_res2block\.", "blocks.0.layers."),
        (r"^layer3\.se_res2block\.", "blocks.1.layers."),
        (r"^layer4\.se_res2block\.", "blocks.2.layers."),
        (r"layers\.([02])\.conv\.", r"layers.\1.0."),
        (r"layers\.([02])\.bn\.", r"layers.\1.2."),
        (r"layers\.1\.convs\.(\d)\.", r"layers.1.branches.\1.0."),
        (r"layers\.1\.bns\.(\d)\.", r"layers.1.branches.\1.2."),
        (r"3\.linear1\.", "3.layers.0."),
        (r"3\.linear2\.", "3.layers.2."),
        (r"^conv\.", "join."),
        (r"^pool\.linear1\.", "pool.attention.0."),
        (r"^pool\.linear2\.", "pool.attention.2."),
        (r"^bn\.", "embed.0."),
        (r"^linear\.", "embed.1."),
    ],
    classifier=r"^projection\.",
    changes=[(r"^head\.linear\.", reversed_rows)],
)
