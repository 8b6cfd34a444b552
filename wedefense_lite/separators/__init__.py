"""Mixtures to talkers."""

from wedefense_lite.separators.base import Separator
from wedefense_lite.separators.convtasnet import ConvTasNet

__all__ = ["ConvTasNet", "Separator"]
