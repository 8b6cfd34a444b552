"""Models that turn a mixture into a stream for each talker."""

from wedefense_lite.separators.base import Separator
from wedefense_lite.separators.convtasnet import ConvTasNet

__all__ = ["ConvTasNet", "Separator"]
