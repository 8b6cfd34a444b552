"""Frames to embeddings.

Configurations know the classes that the package imports by their short names; the other models by
the path of their module.
"""

from wedefense_lite.models.base import Backbone, FrameBackbone
from wedefense_lite.models.lcnn import LCNN
from wedefense_lite.models.resnet import ResNet

__all__ = ["LCNN", "Backbone", "FrameBackbone", "ResNet"]
