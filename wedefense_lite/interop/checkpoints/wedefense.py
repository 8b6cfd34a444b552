"""MHFA on a fine-tuned encoder, and ResNet18, of WeDefense (https://github.com/zlin0/wedefense).

There, the mean over the features is taken from each frame, which is put into the weights. The
layer behind the pooling is there in localization too, which has no use for it.
"""

from wedefense_lite.interop.checkpoints import mhfa
from wedefense_lite.interop.patterns import Importer, centred_rows, reversed_rows

IMPORTER = Importer(
    encoder=mhfa.IMPORTER.encoder,
    names=mhfa.IMPORTER.names,
    changes=[
        (r"^head\.linear\.", reversed_rows),
        (r"^model\.(key|value)\.1\.weight$", centred_rows),
    ],
    optional=r"^model\.embed\.",
    forms={r"^layer1\.0\.": "wespeaker", r"^layer1\.conv\.": "wespeaker_ecapa"},
)
