"""XLS-R and AASIST (https://github.com/TakHemlata/SSL_Anti-spoofing), models for LA and for DF."""

from wedefense_lite.interop.patterns import AASIST, WEIGHTED_LA_2019, Importer

IMPORTER = Importer(
    encoder=r"^ssl_model\.model\.",
    names=[
        *AASIST,
        (r"^LL\.", "project."),
        (r"^first_bn1\.", "last_bn."),
    ],
    trained_on=WEIGHTED_LA_2019,
)
