"""MHFA of WeSpeaker and WeDefense, without WeDefense's mean over the features of a frame."""

from wedefense_lite.interop.patterns import SOFTMAX_PROJECTION, Importer, reversed_rows

IMPORTER = Importer(
    encoder=r"^frontend\.upstream\.upstream\.model\.",
    names=[
        *SOFTMAX_PROJECTION,
        (r"^weights_k$", "key.0.weights_L"),
        (r"^weights_v$", "value.0.weights_L"),
        (r"^cmp_linear_k\.", "key.1."),
        (r"^cmp_linear_v\.", "value.1."),
        (r"^att_head\.", "attention."),
        (r"^pooling_fc\.", "embed."),
    ],
    changes=[(r"^head\.linear\.", reversed_rows)],
)
