"""EABN (https://github.com/AmirmohammadRostami/ASV-anti-spoofing-with-EABN).

Its checkpoints lack the centres of the triplet term, and the classifier of its branch has no bias.
"""

from wedefense_lite.interop.patterns import (
    Importer,
    reversed_rows,
    se_res2net50,
    without_inner_axes,
)

IMPORTER = Importer(
    names=[
        (r"^model\.", ""),
        (r"^perception_branch\.features\.", "trunk.embed."),
        (r"^perception_branch\.cls_layer\.", "head.head.linear."),
        (r"^loss\.btc_loss\.centers$", "head.centers"),
        (r"^attention_branch\.conv1\.", "branch.0.0."),
        (r"^attention_branch\.bn1\.", "branch.0.1."),
        (r"^attention_branch\.middle_layers\.0\.0\.", "branch.1."),
        (r"^attention_branch\.middle_layers\.1\.0\.", "branch.2."),
        (r"^attention_branch\.middle_layers\.2\.0\.", "branch.3."),
        (r"^attention_branch\.middle_layers\.3\.0\.", "branch.4."),
        (r"(branch\.\d)\.downsample\.", r"\1.shortcut."),
        (r"^attention_branch\.att_conv\.", "branch.5.0."),
        (r"^attention_branch\.bn_att2\.", "branch.5.1."),
        (r"^attention_branch\.att_conv3\.", "mask.0."),
        (r"^attention_branch\.bn_att3\.", "mask.1."),
        (r"^attention_branch\.att_conv2\.weight$", "classifier.linear.weight"),
        (r"^perception_branch\.", "trunk."),
        *se_res2net50("trunk."),
    ],
    changes=[
        (r"^(head\.|model\.classifier\.)", reversed_rows),
        (r"^model\.classifier\.", without_inner_axes),
    ],
    training_only=r"^(head\.centers|model\.classifier\.linear\.bias)$",
)
