"""LFCC-LCNN-LSTM of NII (https://github.com/nii-yamagishilab/project-NN-Pytorch-scripts).

The one with a sigmoid; the one with P2SGrad is known by its names.
"""

from wedefense_lite.interop.patterns import LA_2019, NII_LCNN, Importer, difference_rows, transposed

IMPORTER = Importer(
    names=[*NII_LCNN, (r"^m_output_act\.0\.", "head.linear.")],
    changes=[
        (r"^model\.layers\..*weight$", transposed),
        (r"^head\.linear\.", difference_rows),
    ],
    forms={r"^m_angle\.": "nii_lcnn_p2sgrad"},
    trained_on=LA_2019,
)
