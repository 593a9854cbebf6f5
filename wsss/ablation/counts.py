"""The score of one row over images: every fixed threshold from one histogram, rules beside it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from wsss.engine.team import Team
from wsss.files import write_atomic
from wsss.metrics.confusion import ConfusionMatrix
from wsss.metrics.threshold_sweep import ThresholdSweep
from wsss.seeding.cam import resize
from wsss.seeding.masks import margins, seed_mask
from wsss.seeding.thresholds import RULES

BINS = 100
"""Steps of the thresholds between 0 and 1."""
Counts = NDArray[np.int64]


@dataclass
class RowCounts:
    """Counts of one row.

    Attributes:
        labels: mask values, background included; L.
        settings: what the row was made with, to recognise it.
        sweep: every fixed threshold.
        rules: rule → (L, L) confusion matrix, row = truth.
        seconds: spent on the row's own part.
        network: seconds of the network's passes, which all rows share.
        images: counted so far.
    """

    labels: int
    settings: str
    sweep: ThresholdSweep = field(init=False)
    rules: dict[str, Counts] = field(default_factory=dict)
    seconds: float = 0.0
    network: float = 0.0
    images: int = 0

    def __post_init__(self) -> None:
        self.sweep = ThresholdSweep(self.labels, [k / BINS for k in range(1, BINS)])

    def add_scores(
        self, target: NDArray[np.uint8], scores: Tensor, labels: Tensor, background: bool = True
    ) -> None:
        """Count an image's score maps, at every fixed threshold and by every rule.

        Args:
            target: (H, W), 255 ignored.
            scores: (C, h, w) in 0…1.
            labels: (C,) mask value of every channel.
            background: whether there is one; if not, no fixed threshold is counted.
        """
        size = (target.shape[0], target.shape[1])
        for rule in RULES:
            mask = seed_mask(margins(scores, rule, size), labels, background)
            self.add_mask(rule, target, mask)
        if background:
            self.sweep.update(target, resize(scores[None], size)[0], labels)

    def add_mask(self, rule: str, target: NDArray[np.uint8], mask: Tensor) -> None:
        """Count an image's mask, (H, W) labels, under the name of a rule."""
        confusion = ConfusionMatrix(self.labels)
        confusion.update(target, mask)
        self.rules[rule] = self.rules.get(rule, 0) + confusion.matrix

    def at(self, threshold: float) -> float:
        """MIoU where a class needs more than `threshold`, rounded to 1/BINS; nan if none is."""
        return self.sweep.confusion(round(threshold * BINS) - 1).compute().miou

    def oracle(self) -> tuple[float, float]:
        """The one threshold for all images that gives the highest mIoU, and that mIoU."""
        return self.sweep.best()

    def by_rule(self, rule: str) -> float | None:
        """MIoU of a rule's masks; None where they weren't made."""
        return _miou(self.rules[rule]) if rule in self.rules else None

    def add(self, part: "RowCounts", team: Team) -> None:
        """Add further images, of which each process of a team has counted a part."""
        zeros = np.zeros((self.labels, self.labels), np.int64)
        names = sorted(set[str]().union(*team.gather(set(part.rules))))
        rules = [part.rules.get(name, zeros.copy()) for name in names]
        numbers = np.array([part.seconds, part.network, part.images])
        team.add_up(numbers, *part.sweep.counts, *rules)
        self.seconds += float(numbers[0])
        self.network += float(numbers[1])
        self.images += int(numbers[2])
        self.sweep.joint += part.sweep.joint
        for name, counts in zip(names, rules, strict=True):
            self.rules[name] = self.rules.get(name, 0) + counts

    @property
    def swept(self) -> bool:
        """Whether there are scores to put a threshold to."""
        return bool(self.sweep.joint.any())

    def save(self, path: Path) -> None:
        """Write the counts, atomically."""
        arrays: dict[str, Any] = {
            "joint": self.sweep.joint,
            "settings": np.array(self.settings),
            "numbers": np.array([self.labels, self.seconds, self.network, self.images]),
            **{f"rule_{name}": counts for name, counts in self.rules.items()},
        }
        write_atomic(path, lambda target: np.savez_compressed(target, **arrays))

    @classmethod
    def load(cls, path: Path, labels: int, settings: str) -> "RowCounts":
        """Counts so far; empty where there are none of these settings, or they are damaged."""
        row_counts = cls(labels, settings)
        if not path.is_file():
            return row_counts
        try:
            with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
                found = {name: stored[name] for name in stored.files}
        except Exception:  # a damaged archive makes its readers raise anything
            return row_counts
        return row_counts if row_counts._take(found) else cls(labels, settings)

    def _take(self, found: Mapping[str, NDArray[Any]]) -> bool:
        """Take counts over from a file; whether they are of these settings and whole."""
        if str(found.get("settings")) != self.settings:
            return False
        rules = {k.removeprefix("rule_"): v for k, v in found.items() if k.startswith("rule_")}
        counts = {**rules, "joint": found.get("joint", np.zeros(0))}
        shapes: dict[str, tuple[int, ...]] = dict.fromkeys(rules, (self.labels, self.labels))
        shapes["joint"] = self.sweep.joint.shape
        numbers = found.get("numbers", np.zeros(0))
        if any(c.shape != shapes[k] or c.dtype != np.int64 for k, c in counts.items()):
            return False
        if numbers.shape != (4,) or numbers.dtype != np.float64 or not (numbers >= 0).all():
            return False
        _, self.seconds, self.network, images = numbers.tolist()
        self.images, self.rules, self.sweep.joint = int(images), rules, counts["joint"]
        return True


def _miou(matrix: Counts) -> float:
    confusion = ConfusionMatrix(len(matrix))
    confusion.matrix = matrix
    return confusion.compute().miou
