"""Frames to embeddings. Importing the package makes the short class names known to configurations."""

from wedefense_lite.models.base import Backbone, FrameBackbone
from wedefense_lite.models.lcnn import LCNN
from wedefense_lite.models.resnet import ResNet

__all__ = ["LCNN", "Backbone", "FrameBackbone", "ResNet"]
