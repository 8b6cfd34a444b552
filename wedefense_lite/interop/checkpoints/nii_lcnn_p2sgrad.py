"""LFCC-LCNN-LSTM with P2SGrad of NII
(https://github.com/nii-yamagishilab/project-NN-Pytorch-scripts).
"""

from wedefense_lite.interop.patterns import NII_LCNN, Importer, transposed

IMPORTER = Importer(
    names=[
        *NII_LCNN,
        (r"^m_output_act\.0\.", "embed."),
        (r"^m_angle\.0\.weight$", "head.weight"),
    ],
    changes=[
        (r"^model\.layers\..*weight$", transposed),
        (r"^head\.weight$", transposed),
    ],
)
