"""Mixtures to talkers."""

from wedefense_lite.separation.base import Separator
from wedefense_lite.separation.convtasnet import ConvTasNet

__all__ = ["ConvTasNet", "Separator"]
