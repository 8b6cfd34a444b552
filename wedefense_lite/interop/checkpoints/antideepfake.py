"""AntiDeepfake (https://github.com/nii-yamagishilab/AntiDeepfake), on wav2vec 2.0 encoders."""

from wedefense_lite.interop.patterns import Importer

IMPORTER = Importer(
    encoder=r"^m_ssl\.model\.",
    names=[
        (r"^proj_fc\.", "head.linear."),
    ],
)
