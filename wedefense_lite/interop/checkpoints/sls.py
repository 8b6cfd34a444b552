"""XLS-R and SLS (https://github.com/QiShanZhang/SLSforASVspoof-2021-DF)."""

from wedefense_lite.interop.patterns import WEIGHTED_LA_2019, Importer

IMPORTER = Importer(
    encoder=r"^ssl_model\.model\.",
    names=[
        (r"^fc0\.", "gate."),
        (r"^first_bn\.", "norm."),
        (r"^fc1\.", "embed."),
        (r"^fc3\.", "head.linear."),
    ],
    trained_on=WEIGHTED_LA_2019,
)
