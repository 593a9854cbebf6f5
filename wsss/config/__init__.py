"""The settings of a run: their schema, and reading them."""

from wsss.config.load import load, parse, quoted, save
from wsss.config.schema import (
    BackboneConfig,
    DataConfig,
    EvaluateConfig,
    MaskLossConfig,
    OptimConfig,
    PredictionMode,
    PseudoMasksConfig,
    RunConfig,
    RuntimeConfig,
    SelfTrainingConfig,
)

__all__ = [
    "BackboneConfig",
    "DataConfig",
    "EvaluateConfig",
    "MaskLossConfig",
    "OptimConfig",
    "PredictionMode",
    "PseudoMasksConfig",
    "RunConfig",
    "RuntimeConfig",
    "SelfTrainingConfig",
    "load",
    "parse",
    "quoted",
    "save",
]
