"""XLS-R and Nes2Net-X (https://github.com/Liu-Tianchi/Nes2Net_ASVspoof_ITW)."""

from wedefense_lite.interop.patterns import (
    SE_RES2,
    WEIGHTED_LA_2019,
    Importer,
    flat,
    without_last_axis,
)

IMPORTER = Importer(
    encoder=r"^ssl_model\.model\.",
    names=[
        (r"^Nested_Res2Net_TDNN\.", ""),
        (r"^bns\.(\d)\.", r"layers.0.branches.\1.2."),
        (r"^bn\.", "layers.1."),
        (r"^fc\.", "head.linear."),
        (r"^Build_in_Res2Nets\.(\d)\.", r"layers.0.branches.\1.0.layers."),
        *SE_RES2,
        (r"weighted_sum\.", "1.weights."),
    ],
    changes=[
        (r"\.3\.layers\.[02]\.weight$", without_last_axis),
        (r"\.1\.weights\.\d$", flat),
    ],
    trained_on=WEIGHTED_LA_2019,
)
