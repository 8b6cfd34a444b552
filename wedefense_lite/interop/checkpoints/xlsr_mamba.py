"""XLS-R and Mamba in two columns (https://github.com/swagshaw/XLSR-Mamba)."""

from wedefense_lite.interop.patterns import WEIGHTED_LA_2019, Importer

IMPORTER = Importer(
    encoder=r"^ssl_model\.model\.",
    names=[
        (r"^LL\.", "project."),
        (r"^first_bn\.", "norm."),
        (r"^conformer\.(forward|backward)_layers\.5\..*", ""),
        (r"^conformer\.forward_layers\.", "ahead.blocks."),
        (r"^conformer\.backward_layers\.", "back.blocks."),
        (r"^conformer\.f_attention_pool\.", "ahead.attention."),
        (r"^conformer\.b_attention_pool\.", "back.attention."),
        (r"^conformer\.norm_f\.", "column_norm."),
        (r"^conformer\.LL\.", "join."),
        (r"^conformer\.classifier\.", "head.linear."),
    ],
    trained_on=WEIGHTED_LA_2019,
)
