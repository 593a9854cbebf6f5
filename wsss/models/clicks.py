"""An image that a person corrects: network and lattice once, then a mask per click."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wsss.config import PseudoMasksConfig
from wsss.crf import make_crf
from wsss.data.augment import limit_side, normalise_pixels, resize_mask
from wsss.engine.inference import to_device
from wsss.errors import WsssError
from wsss.labels import IGNORE_INDEX
from wsss.models.classifier import TagClassifier
from wsss.models.multiscale import check_walks, observe, seed_size
from wsss.seeding.cam import resize
from wsss.seeding.clicks import Click, ClickRules, Likeness, certain, corrected
from wsss.seeding.maps import Evidence, score_maps
from wsss.seeding.masks import harden
from wsss.seeding.thresholds import moved, thresholds
from wsss.seeding.walks import blocks_of

UNSEEDED = -1.0
"""Margin of a label that is clicked without being a tag: it has no seed."""


class OpenImage:
    """Masks of one image by its tags, and by what a person says of it.

    What depends on the image alone is computed when it is opened: class activation, what walks
    through slots reach, the CRF's lattices. Seeds of a tag, and what is like a clicked location,
    are made when they are first asked for. Answers don't depend on what was asked before. With
    tags alone they are those of stage 2.
    """

    def __init__(
        self,
        model: TagClassifier,
        image: NDArray[np.uint8],
        tags: Sequence[int],
        settings: PseudoMasksConfig,
        device: torch.device,
        max_side: int | None = 1024,
        rules: ClickRules = ClickRules(),  # noqa: B008
        background: bool = True,
        levels: Mapping[int, float] = {},
    ) -> None:
        """Runs the network.

        Args:
            model: classifier in eval mode, on the device.
            image: (H, W, 3) uint8 RGB.
            tags: class indices from 0.
            settings: scales, flip, walks, threshold, CRF, confidence.
            device: where to compute.
            max_side: a larger image is reduced to this long side to compute, as stage 2 does.
            rules: how clicks become evidence.
            background: whether a pixel may be none of the classes, as `data.background`.
            levels: mask value of a class → how much more or less of it in every image, as
                `pseudo_masks.levels`.

        Raises:
            WsssError: a walk names a block without slots.
        """
        self.tags, self.settings, self.rules = tuple(tags), settings, rules
        self.background, self.levels = background, dict(levels)
        self.size = (image.shape[0], image.shape[1])
        self.classes = len(model.bias)
        check_walks(settings.seeding, model)
        small = limit_side(image, max_side)
        pixels = to_device([small], device)
        self.computed = (pixels.shape[-2], pixels.shape[-1])
        self.grid = seed_size(*self.computed)
        with torch.inference_mode():
            found = observe(model, normalise_pixels(pixels), settings.scales, settings.flip)
            self._likeness = Likeness(found, small, rules, self.grid)
            walks = settings.seeding.every_walk
            self.evidence = [_kept(one, [walk.block for walk in walks]) for one in found]
            crf = make_crf(settings.crf, settings.crf_iterations, settings.crf_backend)
            self._refine = None if crf is None else crf.of_image(pixels[0])
        self._scores: dict[int, Tensor] = {}
        self._alike: dict[tuple[float, float], Tensor] = {}

    @torch.inference_mode()
    def mask(
        self,
        clicks: Sequence[Click] = (),
        levels: Mapping[int, float] = {},
        tags: Sequence[int] | None = None,
        painted: NDArray[np.uint8] | None = None,
    ) -> NDArray[np.uint8]:
        """The mask that follows from all that is known.

        Args:
            clicks: in any order; where two are equally near, the last one counts.
            levels: mask value of a tag → how much more or less of it: its threshold moves so that
                its seed covers 2^level times the area; 0 leaves it.
            tags: class indices from 0, in place of those that the image was opened with.
            painted: (H, W) of the full-size image: labels that are certain, 255 elsewhere.

        Returns:
            (H, W) uint8 of the full-size image; 255 where no label is likely enough.

        Raises:
            WsssError: a click outside the image or of no class, or a painting of another size.
        """
        self._check(clicks, painted)
        own = sorted({tag + 1 for tag in (self.tags if tags is None else tags)})
        said = {click.label for click in clicks}
        if painted is not None:
            said |= set(np.unique(painted).tolist())
        labels = [*own, *sorted(said - {0, IGNORE_INDEX, *own})]
        mask = np.full(self.computed, 0 if self.background else IGNORE_INDEX, np.uint8)
        if labels:
            known = certain(
                [self._reduced(click) for click in clicks],
                self.computed,
                self.rules.radius * min(self.computed),
            )
            if painted is not None:
                small = torch.from_numpy(resize_mask(painted, self.computed))
                known = torch.where(small != IGNORE_INDEX, small, known)
            mask = self._solve(labels, set(own), clicks, levels, known)
        full = resize_mask(mask, self.size)
        if painted is not None:
            full = np.where(painted != IGNORE_INDEX, painted, full)
        return full

    def _solve(
        self,
        labels: list[int],
        seeded: set[int],
        clicks: Sequence[Click],
        levels: Mapping[int, float],
        known: Tensor,
    ) -> NDArray[np.uint8]:
        above = torch.stack(
            [self._margin(label, levels.get(label, 0.0), label in seeded) for label in labels]
        )
        above = torch.cat([torch.zeros_like(above[:1]), above])
        first = 0 if self.background else 1  # of the labels that compete
        several = len(above) > first + 1
        if clicks and several:
            channels = [[0, *labels].index(click.label) - first for click in clicks]
            above[first:] = self._corrected(above[first:], clicks, channels)
        logits = self.settings.sharpness * resize(above[None], self.computed)[0]
        logits[:first] = -torch.inf
        probs = logits.softmax(dim=0)
        known = known.to(probs.device)
        sure = known != IGNORE_INDEX
        values = torch.tensor([0, *labels], device=probs.device)
        probs = torch.where(sure, (known == values[:, None, None]).float(), probs)
        if self._refine is not None and several:
            probs = torch.cat([probs[:first], self._refine(probs[first:])])
        mask = harden(probs, labels, self.settings.confidence, self.background)
        return torch.where(sure, known, mask).cpu().numpy()

    def _margin(self, label: int, level: float, seeded: bool) -> Tensor:
        """(h, w) on the grid of the seeds: score − threshold."""
        if not seeded:
            return torch.full(self.grid, UNSEEDED, device=self.evidence[0].cam.device)
        scores = self._seed(label)
        own = [self.levels.get(label, 0.0)]
        threshold = float(thresholds(scores[None], self.settings.background, own))
        return scores - (moved(scores, threshold, level) if level else threshold)

    def _seed(self, label: int) -> Tensor:
        """(h, w) scores in 0…1 of a class, rounded as stage 2 keeps them."""
        if label not in self._scores:
            tags = torch.zeros(1, self.classes, dtype=torch.bool)
            tags[0, label - 1] = True
            found = score_maps(self.evidence, tags, self.settings.seeding, self.grid)
            self._scores[label] = found[0, label - 1].half().float()
        return self._scores[label]

    def _corrected(self, above: Tensor, clicks: Sequence[Click], channels: Sequence[int]) -> Tensor:
        """Margins (L, h, w) on the grid of the seeds after clicks on these channels."""
        height, width = self.size
        places = [((click.x + 0.5) / width, (click.y + 0.5) / height) for click in clicks]
        new = [place for place in dict.fromkeys(places) if place not in self._alike]
        if new:
            self._alike |= zip(new, self._likeness(torch.tensor(new)), strict=True)
        alike = torch.stack([self._alike[place] for place in places])
        cells = self._likeness.cells(torch.tensor(places))
        sharpness = self.settings.sharpness
        return corrected(sharpness * above, alike, cells, channels, self.rules) / sharpness

    def _reduced(self, click: Click) -> Click:
        """The click in pixels of the computed size."""
        x = int((click.x + 0.5) * self.computed[1] / self.size[1])
        y = int((click.y + 0.5) * self.computed[0] / self.size[0])
        return Click(x, y, click.label)

    def _check(self, clicks: Sequence[Click], painted: NDArray[np.uint8] | None) -> None:
        height, width = self.size
        for click in clicks:
            if not (0 <= click.x < width and 0 <= click.y < height):
                raise WsssError(
                    f"A click is at ({click.x}, {click.y}), outside the image of {width}×{height}: "
                    "give a pixel of the full-size image."
                )
            if click.label == 0 and not self.background:
                raise WsssError(
                    "A click says background, and by data.background=false there is none: click "
                    "with a class."
                )
            if not 0 <= click.label <= self.classes:
                raise WsssError(
                    f"A click says {click.label}; expected 0 (background) to {self.classes}, a "
                    "mask value of the classes."
                )
        if painted is None:
            return
        strange = painted[(painted > self.classes) & (painted != IGNORE_INDEX)]
        if strange.size:
            raise WsssError(
                f"A painting holds the value {strange[0]}; expected 0 (background) to "
                f"{self.classes}, or {IGNORE_INDEX} where nothing is painted."
            )
        if painted.shape != self.size:
            raise WsssError(
                f"A painting is {painted.shape[1]}×{painted.shape[0]} and the image "
                f"{width}×{height}: give one of the full-size image."
            )


def _kept(evidence: Evidence, blocks: Sequence[str]) -> Evidence:
    """What walks through these blocks need; not the features."""
    names = {name for block in blocks for name in blocks_of(block, evidence.assignments)}
    kept = {name: evidence.assignments[name] for name in names}
    return evidence._replace(assignments=kept, features=())
