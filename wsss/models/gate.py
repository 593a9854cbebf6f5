"""Which classes an image may hold, by the classifier of the segmenter's run."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from wsss.config import RunConfig
from wsss.engine.checkpoint import load_trained, read_metadata
from wsss.models.classifier import TagClassifier, build_classifier
from wsss.run.state import Run
from wsss.seeding.cam import resize, scaled_size

GATE_FILE = "classifier.safetensors"
"""The classifier beside a segmenter that has left its run."""
_LARGEST = 1024  # side from which on images are reduced


class Gate(NamedTuple):
    """A classifier, and how probable a class has to be for its regions to be kept.

    Attributes:
        model: in eval mode.
        least: (C,) probabilities, on the CPU.
        background: whether an image may hold no class at all.
    """

    model: TagClassifier
    least: Tensor
    background: bool = True

    @torch.inference_mode()
    def probabilities(self, images: Tensor) -> Tensor:
        """Of the classes in images (B, 3, H, W), normalised: (B, C)."""
        return whole_image_logits(self.model, images).sigmoid()

    def allows(self, likely: Tensor) -> Tensor:
        """Which classes of these probabilities (B, C) may be there."""
        allowed = likely >= self.least
        if not self.background:  # something is: what comes nearest
            nearest = (likely - self.least).argmax(dim=1)
            allowed[torch.arange(len(allowed)), nearest] = True
        return allowed


def whole_image_logits(model: TagClassifier, images: Tensor) -> Tensor:
    """The classifier's answer to whole images (B, 3, H, W), normalised: (B, C) float32."""
    height, width = images.shape[-2:]
    size = scaled_size(height, width, min(1.0, _LARGEST / max(height, width)))
    logits: Tensor = model(resize(images, size)).logits
    return logits.float()


def gate_of(
    config: RunConfig, card: Mapping[str, Any], device: torch.device, weights: Path | None = None
) -> Gate | None:
    """The gate of a segmenter where `evaluate.gate` asks for one.

    Args:
        config: of the run whose classifier it is.
        card: metadata of the segmenter.
        device: where it computes.
        weights: of another classifier, in place of the run's; it need not exist.

    Returns:
        None without a classifier, or with one that holds no thresholds.

    Raises:
        WsssError: the file is damaged, or the classifier is of other classes.
    """
    weights = weights or Run.of_round(config, 1).model("train_cls")
    if not config.evaluate.gate or not has_thresholds(weights):
        return None
    names = card["class_names"]
    model, metadata = load_trained(weights, "classifier", build_classifier, device, names)
    return Gate(model, torch.tensor(metadata["least"]), card.get("background", True))


def has_thresholds(weights: Path) -> bool:
    """Whether there is a classifier that `gate_of` would make a gate of."""
    return weights.is_file() and "least" in read_metadata(weights, "classifier")


def why_no_gate(weights: Path) -> str:
    """What `gate_of` misses in a classifier, and what to do."""
    if not weights.is_file():
        return "evaluate.gate is on, but no classifier lies beside the model"
    return (
        f"evaluate.gate is on, but {weights} has no threshold by class, since its training held no "
        "images back (wsss train-cls RUN train_cls.holdout=0.2 --overwrite does)"
    )
