"""GLNet backbones for timm: convolution on the grid beside self-attention on semantic slots."""

from glmix import variants as variants  # registers the models with timm
from glmix.clustering import SlotAssignment
from glmix.glnet import GLNet

__all__ = ["GLNet", "SlotAssignment"]
