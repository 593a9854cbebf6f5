"""The networks of a run as training left them, in eval mode."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from wsss.engine.checkpoint import load_trained
from wsss.models.classifier import TagClassifier, build_classifier
from wsss.models.segmenter import Segmenter, build_segmenter


def load_classifier(
    path: Path, device: torch.device, class_names: Sequence[str] | None = None
) -> TagClassifier:
    """A classifier; see `load_trained`."""
    return load_trained(path, "classifier", build_classifier, device, class_names)[0]


def load_segmenter(
    path: Path, device: torch.device, class_names: Sequence[str] | None = None
) -> tuple[Segmenter, dict[str, Any]]:
    """A segmenter with its metadata; see `load_trained`."""
    return load_trained(path, "segmenter", build_segmenter, device, class_names)
