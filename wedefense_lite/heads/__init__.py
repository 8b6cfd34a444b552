"""Embeddings to logits and losses. Importing makes the short class names known to configurations."""

from wedefense_lite.heads.base import Head
from wedefense_lite.heads.cross_entropy import CrossEntropy

__all__ = ["CrossEntropy", "Head"]
