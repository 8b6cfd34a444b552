"""Frames to embeddings.

Configurations name the class of any module here without its path: an experiment imports them all
before it reads a configuration.
"""

from wedefense_lite.models.base import Backbone, FrameBackbone
from wedefense_lite.models.lcnn import LCNN
from wedefense_lite.models.resnet import ResNet

__all__ = ["LCNN", "Backbone", "FrameBackbone", "ResNet"]
