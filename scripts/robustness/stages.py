"""Every command that works for a while, as steps on one run that are killed or starved."""

from collections.abc import Sequence
from dataclasses import dataclass

CONFIG = """\
backbone:
  name: glnet_nano
  weights: null
  args: {depths: [1, 1, 1, 1], embed_dims: [32, 32, 64, 64], slot_grid: [4, 4], slot_scale: 8.0}
data: {root: VOC, train_split: train, mask_split: train}
train_cls: {epochs: 12, batch_size: 6, crop: 64, holdout: 0.2, warmup_steps: 1}
pseudo_masks: {scales: [1.0, 1.5, 2.0], confidence: 0.5, walks: [{block: '8.0', steps: 2}]}
train_seg: {epochs: 8, batch_size: 6, crop: 64, warmup_steps: 1, ema: 0.5}
self_training: {rounds: 2, scales: [1.0]}
ablate: {memory: false}
runtime: {device: cpu, threads: 1, workers: 0, save_every: 0}
"""
"""A tiny run whose trainings have some 30 steps and write their state after each."""


@dataclass(frozen=True)
class Step:
    """A command of the chain.

    Attributes:
        name: shown in the table.
        words: of the call; steps before it have made what it reads.
    """

    name: str
    words: Sequence[str]


STEPS = (
    Step("train-cls", ("train-cls", "config.yaml", "run=run")),
    Step("generate-pseudo-masks", ("generate-pseudo-masks", "run")),
    Step("train-seg", ("train-seg", "run")),
    Step("evaluate", ("evaluate", "run")),
    Step("evaluate seeds", ("evaluate", "run", "--of", "seeds")),
    Step("round 2", ("train-seg", "run", "--round", "2")),
    Step("evaluate round 2", ("evaluate", "run/round_2", "--fast")),
    Step("evaluate --ceiling", ("evaluate", "run", "--ceiling", "--fast")),
    Step("predict", ("predict", "run", "--images", "VOC/JPEGImages", "--out", "masks")),
    Step("refine", ("refine", "masks", "--images", "VOC/JPEGImages", "--out", "refined")),
    Step("visualize", ("visualize", "run", "--count", "4")),
    Step("ablate", ("ablate", "run", "--rows", "default*")),
    Step("export", ("export", "run", "--to", "safetensors")),
    Step("export to a hub", ("export", "run", "--to", "hub")),
    Step("run", ("run", "config.yaml", "run=whole")),
    Step("tune", ("tune", "whole", "--trusted", "VOC/SegmentationClassAug")),
)
