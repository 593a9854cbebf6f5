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
from wsss.models.start_mask import STRENGTH, Answer, Start, start_from
from wsss.seeding.cam import resize
from wsss.seeding.clicks import Click, ClickRules, Likeness, certain, corrected
from wsss.seeding.indexing import best_channel
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
        self._started: tuple[NDArray[np.uint8], tuple[Start, Answer] | None] | None = None

    @torch.inference_mode()
    def mask(
        self,
        clicks: Sequence[Click] = (),
        levels: Mapping[int, float] = {},
        tags: Sequence[int] | None = None,
        painted: NDArray[np.uint8] | None = None,
        start: NDArray[np.uint8] | None = None,
    ) -> NDArray[np.uint8]:
        """The mask that follows from all that is known.

        Args:
            clicks: in any order; where two are equally near, the last one counts.
            levels: mask value of a tag → how much more or less of it: its threshold moves so that
                its seed covers 2^level times the area; 0 leaves it.
            tags: class indices from 0, in place of those that the image was opened with.
            painted: (H, W) of the full-size image: labels that are certain, 255 elsewhere.
            start: (H, W) of the full-size image: the mask before anything is said, in place of that
                by the tags that the image was opened with. Where they differ it counts like clicks
                that can be taken back; what nothing changes stays as it is.

        Returns:
            (H, W) uint8 of the full-size image; 255 where no label is likely enough.

        Raises:
            WsssError: a click outside the image or of no class, or a painting of another size.
        """
        self._check(clicks, painted)
        own = self.tags if tags is None else tags
        found = None if start is None else self._of_start(start)
        if found is None:
            answer = self._answer(own, clicks, levels, painted)
            full = resize_mask(answer.mask, self.size)
        else:
            shown, before = found
            answer = self._answer(own, clicks, levels, painted, shown)
            removed = {tag + 1 for tag in self.tags} - {tag + 1 for tag in own}
            full = shown.changed(before, answer, removed)
        if painted is not None:
            full = np.where(painted != IGNORE_INDEX, painted, full)
        return full

    def _of_start(self, mask: NDArray[np.uint8]) -> tuple[Start, Answer] | None:
        """A mask to start from, and what it comes to; None where it is the seeds' own."""
        if self._started is None or not np.array_equal(self._started[0], mask):
            seeds = resize_mask(self._answer(self.tags).mask, self.size)
            device = self.evidence[0].cam.device
            start = start_from(mask.copy(), seeds, self.tags, self.grid, device)
            found = None if start is None else (start, self._answer(self.tags, start=start))
            self._started = mask.copy(), found
        return self._started[1]

    def _answer(
        self,
        tags: Sequence[int],
        clicks: Sequence[Click] = (),
        levels: Mapping[int, float] = {},
        painted: NDArray[np.uint8] | None = None,
        start: Start | None = None,
    ) -> Answer:
        own = {tag + 1 for tag in tags}
        said = {click.label for click in clicks}
        if painted is not None:
            said |= set(np.unique(painted).tolist())
        if start is not None:
            said |= set(start.foreign)
        labels = [*sorted(own), *sorted(said - {0, IGNORE_INDEX, *own})]
        if not labels:
            mask = np.full(self.computed, 0 if self.background else IGNORE_INDEX, np.uint8)
            return Answer(mask, mask, np.zeros(self.computed, np.bool_))
        known = certain(
            [self._reduced(click) for click in clicks],
            self.computed,
            self.rules.radius * min(self.computed),
        )
        if painted is not None:
            small = torch.from_numpy(resize_mask(painted, self.computed))
            known = torch.where(small != IGNORE_INDEX, small, known)
        return self._solve(labels, own, clicks, levels, known, start)

    def _solve(
        self,
        labels: list[int],
        seeded: set[int],
        clicks: Sequence[Click],
        levels: Mapping[int, float],
        known: Tensor,
        start: Start | None,
    ) -> Answer:
        above = torch.stack(
            [
                self._margin(label, levels.get(label, 0.0), label in seeded, labels, start)
                for label in labels
            ]
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
        values = torch.tensor([0, *labels], device=probs.device, dtype=torch.uint8)
        probs = torch.where(sure, (known == values[:, None, None]).float(), probs)
        likeliest = known if start is None else values[best_channel(probs)]  # nobody asks
        if self._refine is not None and several:
            probs = torch.cat([probs[:first], self._refine(probs[first:])])
        mask = harden(probs, labels, self.settings.confidence, self.background)
        mask = torch.where(sure, known, mask)
        return Answer(mask.cpu().numpy(), likeliest.cpu().numpy(), sure.cpu().numpy())

    def _margin(
        self, label: int, level: float, seeded: bool, labels: Sequence[int], start: Start | None
    ) -> Tensor:
        """(h, w) on the grid of the seeds: score − threshold, or what the start says instead."""
        found = torch.full(self.grid, UNSEEDED, device=self.evidence[0].cam.device)
        shift = torch.zeros_like(found[0, 0])  # by the level
        if seeded:
            scores = self._seed(label)
            own = [self.levels.get(label, 0.0)]
            threshold = thresholds(scores[None], self.settings.background, own)[0]
            found = scores - threshold
            shift = threshold - moved(scores, threshold, level) if level else shift
        if start is not None:
            asked = 2 * STRENGTH * self.rules.target / self.settings.sharpness
            found = start.margin(label, labels, asked, found)
        return found + shift

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
