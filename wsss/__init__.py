"""Semantic segmentation from image-level labels alone, by the semantic slots of GLNet."""

__version__ = "0.1.0"
