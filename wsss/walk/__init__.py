"""Random walks that carry class activation over the picture: through slots, and the baselines'."""

from wsss.walk.maps import batch_maps, score_maps
from wsss.walk.recipe import Border, Evidence, Seeding, Walk, blocks_of
from wsss.walk.slots import (
    attention_walk,
    confined_one_way_walk,
    confined_symmetric_walk,
    limit_walk,
    min_max,
    one_way_walk,
    sharpen,
    symmetric_walk,
)

__all__ = [
    "Border",
    "Evidence",
    "Seeding",
    "Walk",
    "attention_walk",
    "batch_maps",
    "blocks_of",
    "confined_one_way_walk",
    "confined_symmetric_walk",
    "limit_walk",
    "min_max",
    "one_way_walk",
    "score_maps",
    "sharpen",
    "symmetric_walk",
]
