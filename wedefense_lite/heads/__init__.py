"""Embeddings to logits and losses. Importing makes the short class names known to
configurations.
"""

from wedefense_lite.heads.base import Head
from wedefense_lite.heads.cosine import AAM, AMSoftmax, ASoftmax, OCSoftmax, P2SGrad
from wedefense_lite.heads.cross_entropy import CrossEntropy, Focal, SquaredError
from wedefense_lite.heads.triplet import WithTriplet

__all__ = [
    "AAM",
    "AMSoftmax",
    "ASoftmax",
    "CrossEntropy",
    "Focal",
    "Head",
    "OCSoftmax",
    "P2SGrad",
    "SquaredError",
    "WithTriplet",
]
