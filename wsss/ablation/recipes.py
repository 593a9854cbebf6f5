"""What recipes make of images whose masks are right, and what a choice among them is worth."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wsss.config import PseudoMasksConfig, RunConfig
from wsss.crf import make_crf
from wsss.data.augment import limit_side, normalise_pixels, resize_mask
from wsss.data.images import Sample, TaggedDataset, read_image
from wsss.data.masks import void_background
from wsss.engine.inference import to_device
from wsss.engine.progress import Tracker
from wsss.metrics import choice
from wsss.models.classifier import TagClassifier, slot_blocks
from wsss.models.multiscale import observe, seed_size
from wsss.seeding.cam import resize
from wsss.seeding.candidates import CRFS, LEVELS, THRESHOLDS, Candidate, seedings
from wsss.seeding.maps import score_maps
from wsss.seeding.masks import harden, margins, refine, seed_mask, seed_probabilities
from wsss.seeding.thresholds import thresholds
from wsss.seeding.walks import Seeding

TRIED = 3
"""Recipes that go through the CRF: the best without it, by each choice."""

UNCHANGED = 0.999
"""Share of equal pixels from which on a mask is the recipe's own, resized at most."""


class Example(NamedTuple):
    """An image whose mask is right.

    Attributes:
        labels: mask values of its tags.
        pixels: (3, H, W) uint8, reduced to the largest side.
        target: (H, W) its mask, of that size.
        scores: for each way to make them (L, h, w) in 0…1 of its tags.
    """

    labels: list[int]
    pixels: Tensor
    target: NDArray[np.uint8]
    scores: Mapping[Seeding, Tensor]

    @property
    def size(self) -> tuple[int, int]:
        """(H, W)."""
        return self.target.shape[0], self.target.shape[1]


class Choice(NamedTuple):
    """A way to choose, and what it is worth.

    Attributes:
        name: for people.
        areas: (3, C), of every image by what is chosen on the others.
        settings: chosen on all images.
    """

    name: str
    areas: choice.Areas
    settings: PseudoMasksConfig

    @property
    def miou(self) -> float:
        """On masks that it didn't see."""
        return float(choice.mean_iou(self.areas))


class Bench:
    """Trusted masks, and what recipes make of their images."""

    def __init__(
        self,
        config: RunConfig,
        tagged: TaggedDataset,
        model: TagClassifier,
        found: Sequence[tuple[Sample, NDArray[np.uint8]]],
    ) -> None:
        """Looks at every image once."""
        settings = config.pseudo_masks
        self.settings, self.names = settings, tagged.class_names
        self.background = config.data.background
        self.levels = settings.levels_by_value(self.names)
        self.seedings = seedings(settings.seeding, slot_blocks(model.glnet), self.background)
        self.current = Candidate(settings.seeding, settings.background, settings.crf)
        self.rules = tuple(dict.fromkeys((settings.background, *THRESHOLDS)))
        self.crfs = tuple(dict.fromkeys((settings.crf, *CRFS)))
        self._known: dict[tuple[Candidate, int, tuple[float, ...]], choice.Areas] = {}
        self._by_level: dict[Candidate, choice.Areas] = {}
        with Tracker("tune: seeds", len(found)) as tracker:
            self.examples = []
            for sample, mask in found:
                self.examples.append(self._example(config, model, sample, mask))
                tracker.advance()

    def compare(self) -> list[Choice]:
        """Leave everything; change levels by class; change the recipe; change both."""
        tops = [
            Candidate(one.seeding, one.background, crf) for one in self._tops() for crf in self.crfs
        ]
        with Tracker("tune: masks", len(tops)) as tracker:
            rows = []
            for top in tops:
                rows.append([self._areas(top, i) for i in range(len(self.examples))])
                tracker.advance()
        found = np.array(rows)
        each = [tops[k] for k in choice.best_without_each(found)]
        every = tops[choice.best(found)]
        now = [self.current] * len(self.examples)
        return [
            self._choice("as it is", now, self.current, self.levels),
            self._choice("levels by class", now, self.current),
            self._choice("another recipe", each, every, {}),
            self._choice("another recipe, levels by class", each, every),
        ]

    def unchanged(self) -> int:
        """Masks that are what the present recipe makes: their contours are its own."""
        found = (self._areas(self.current, i, self.levels) for i in range(len(self.examples)))
        return sum(bool(a[0].sum() >= UNCHANGED * a[2].sum()) for a in found)

    def _choice(
        self,
        name: str,
        each: Sequence[Candidate],
        every: Candidate,
        levels: Mapping[int, float] | None = None,
    ) -> Choice:
        """A choice by the recipe for each image, and for all; levels are chosen where not given."""
        parts = [
            self._areas(one, i, self._levels(one, i) if levels is None else levels)
            for i, one in enumerate(each)
        ]
        own = self._levels(every) if levels is None else levels
        update = {
            "walks": every.seeding.walks,
            "border": every.seeding.border,
            "background": every.background,
            "crf": every.crf,
            "levels": {self.names[value - 1]: level for value, level in own.items() if level},
        }
        return Choice(name, np.sum(parts, axis=0), self.settings.model_copy(update=update))

    @torch.inference_mode()
    def _example(
        self,
        config: RunConfig,
        model: TagClassifier,
        sample: Sample,
        mask: NDArray[np.uint8],
    ) -> Example:
        image = limit_side(read_image(sample.path), config.data.max_side)
        target = resize_mask(mask, image.shape[:2])
        if not self.background:
            target = void_background(target)
        pixels = to_device([image], next(model.parameters()).device)
        evidence = observe(
            model, normalise_pixels(pixels), self.settings.scales, self.settings.flip
        )
        tags = torch.zeros(1, len(self.names), dtype=torch.bool)
        tags[0, list(sample.tags)] = True
        size = seed_size(*target.shape)
        scores = {
            # rounded as stage 2 keeps them
            one: score_maps(evidence, tags, one, size)[0, list(sample.tags)].half()
            for one in self.seedings.values()
        }
        return Example(sample.labels, pixels[0], target, scores)

    def _tops(self) -> list[Candidate]:
        """Recipes worth a CRF: the current one, and for each choice the best ones without it."""
        recipes = [
            Candidate(one, rule, "none") for one in self.seedings.values() for rule in self.rules
        ]
        found = np.array([self._hard(example) for example in self.examples]).swapaxes(0, 1)
        total = found.sum(axis=1)
        views = [total, *(total - found[:, i] for i in range(found.shape[1]))]
        best = {int(k) for view in views for k in choice.mean_iou(view).argsort()[-TRIED:]}
        now = Candidate(self.current.seeding, self.current.background, "none")
        return list(dict.fromkeys((now, *(recipes[k] for k in sorted(best)))))

    @torch.inference_mode()
    def _hard(self, example: Example) -> list[choice.Areas]:
        """Areas of every way and threshold, without a CRF."""
        found = []
        values = torch.tensor(example.labels, device=example.pixels.device)
        for one in self.seedings.values():
            scores = example.scores[one].float()
            large = resize(scores[None], example.size)[0]
            for rule in self.rules:
                above = large - thresholds(scores, rule)[:, None, None]
                mask = seed_mask(above, values, self.background).cpu().numpy()
                found.append(choice.areas(example.target, mask, len(self.names) + 1))
        return found

    @torch.inference_mode()
    def _areas(
        self, candidate: Candidate, i: int, levels: Mapping[int, float] | None = None
    ) -> choice.Areas:
        """Areas of the mask that a recipe makes of an image."""
        example = self.examples[i]
        own = tuple((levels or {}).get(label, 0.0) for label in example.labels)
        key = (candidate, i, own)
        if key not in self._known:
            scores = example.scores[candidate.seeding].float()
            above = margins(scores, candidate.background, example.size, own)
            probs = seed_probabilities(above, self.settings.sharpness, self.background)
            crf = make_crf(candidate.crf, self.settings.crf_iterations, self.settings.crf_backend)
            (probs,) = refine([example.pixels], [probs], crf, self.background)
            mask = harden(probs, example.labels, 0.0, self.background).cpu().numpy()
            self._known[key] = choice.areas(example.target, mask, len(self.names) + 1)
        return self._known[key]

    def _levels(self, candidate: Candidate, without: int | None = None) -> dict[int, float]:
        """Mask value → level that suits the images, or all of them but one."""
        if candidate not in self._by_level:
            parts = [self._of_levels(candidate, example) for example in self.examples]
            self._by_level[candidate] = np.stack(parts, axis=1)
        found = self._by_level[candidate]
        if without is not None:
            found = np.delete(found, without, axis=1)
        chosen = choice.best_levels(found)
        return {value: LEVELS[k] for value, k in enumerate(chosen.tolist()) if value and LEVELS[k]}

    @torch.inference_mode()
    def _of_levels(self, candidate: Candidate, example: Example) -> choice.Areas:
        """(G, 3, C): each class at every level, the others as they are; without a CRF."""
        scores = example.scores[candidate.seeding].float()
        large = resize(scores[None], example.size)[0]
        base = large - thresholds(scores, candidate.background)[:, None, None]
        found = np.zeros((len(LEVELS), 3, len(self.names) + 1), np.int64)
        for c, label in enumerate(example.labels):
            others = torch.cat([base[:c], base[c + 1 :]])
            if self.background:
                others = torch.cat([others, torch.zeros_like(base[:1])])
            rival = others.amax(dim=0) if len(others) else torch.full_like(base[0], -torch.inf)
            for g, level in enumerate(LEVELS):
                moved = thresholds(scores[c : c + 1], candidate.background, [level])
                mine = (large[c] - moved > rival).cpu().numpy() * np.uint8(label)
                found[g, :, label] = choice.areas(example.target, mine, len(self.names) + 1)[
                    :, label
                ]
        return found
