"""GLNet backbones for timm: convolution on the grid beside self-attention on semantic slots."""

from glmix.clustering import SlotAssignment
from glmix.glnet import GLNet

__all__ = ["GLNet", "SlotAssignment"]
