"""One classifier and the rows that it is measured by, over images with true masks.

A batch of images passes the network at once; each row is made of one image after the other, so that
its time is that of an image, and counted while the device computes.
"""

import hashlib
import json
import re
import sys
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from threading import Lock
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wsss.ablation.counts import RowCounts
from wsss.ablation.rows import Row, all_rows, row_maps
from wsss.config import PseudoMasksConfig, RunConfig
from wsss.config.schema import SeedsConfig, ViewsConfig
from wsss.crf import make_crf
from wsss.data.augment import limit_side, normalise_pixels, resize_mask
from wsss.data.images import Sample, TaggedDataset
from wsss.data.masks import mask_path, read_pair, void_background
from wsss.engine.inference import (
    Steps,
    batch_size,
    from_device,
    network_autocast,
    process,
    to_device,
)
from wsss.engine.profile import Stopwatch
from wsss.engine.progress import Tracker
from wsss.engine.runtime import Runtime
from wsss.engine.usage import Usage
from wsss.models.classifier import slot_blocks
from wsss.models.multiscale import check_walks, observe, seed_size
from wsss.models.trained import load_classifier
from wsss.run.state import Run
from wsss.seeding.maps import Evidence
from wsss.seeding.masks import Refiner, harden, margins, refine, seed_probabilities

SAVE_EVERY = 20
"""Batches of each process between two writings of the counts."""


class RowBench:
    """A run's classifier with its rows."""

    def __init__(
        self, config: RunConfig, run: Run, tagged: TaggedDataset, runtime: Runtime
    ) -> None:
        run.require("train_cls")
        self.config, self.run, self.tagged, self.team = config, run, tagged, runtime.team
        # processor time is counted on a CPU, that of threads beside the rows, too
        self.runtime = replace(runtime, workers=0) if runtime.device.type == "cpu" else runtime
        weights = run.model("train_cls")
        self.model = load_classifier(weights, runtime.device, tagged.class_names)
        self.digest = hashlib.sha256(weights.read_bytes()).hexdigest()[:16]
        recipe = config.pseudo_masks.seeding
        check_walks(recipe, self.model)
        self.rows = all_rows(recipe, slot_blocks(self.model.glnet))
        self.refiners = _refiners(config.pseudo_masks)

    def count(self, rows: Sequence[Row], root: Path, overwrite: bool) -> list[RowCounts]:
        """Go over the images that a row lacks; returns the rows' counts."""
        labels = len(self.tagged.class_names) + 1
        names = [re.sub(r"[^\w.=]+", "_", row.name) for row in rows]
        paths = [self.run.ablation / "rows" / f"{name}.npz" for name in names]
        keys = [self.settings(row) for row in rows]

        def known() -> list[RowCounts]:
            for path in paths if overwrite else ():
                path.unlink(missing_ok=True)
            return [RowCounts.load(p, labels, key) for p, key in zip(paths, keys, strict=True)]

        all_counts = self.team.once(known)
        first, total = min(row_counts.images for row_counts in all_counts), len(self.tagged)
        step = SAVE_EVERY * batch_size(self.runtime) * self.team.world
        title, usage = f"ablate {self.run.root.name}", Usage(processes=self.team.world)
        progress = Tracker(title, total, done=first, quiet=not self.team.is_main)
        while first < total:
            lacking = [i for i, counts in enumerate(all_counts) if counts.images <= first]
            later = [counts.images for counts in all_counts if counts.images > first]
            block = range(first, min(first - first % step + step, total, *later))
            parts = [RowCounts(labels, keys[i]) for i in lacking]
            usage.merge(self._count(block, root, [rows[i] for i in lacking], parts, progress))
            for i, part in zip(lacking, parts, strict=True):
                all_counts[i].add(part, self.team)
            self.team.once(partial(_save, [(all_counts[i], paths[i]) for i in lacking]))
            first = block.stop
        if usage.units and self.team.is_main:
            print(f"{title}  {usage}", file=sys.stderr)
        return all_counts

    def _count(
        self,
        images: range,
        root: Path,
        rows: Sequence[Row],
        parts: Sequence[RowCounts],
        progress: Tracker,
    ) -> Usage:
        """Add images to parts of the rows' counts, each process those that it is dealt."""
        watch, locks = Stopwatch(self.runtime.device), [Lock() for _ in rows]
        background, rule = self.config.data.background, str(self.config.pseudo_masks.background)

        def read(image: int) -> _Read:
            sample = self.tagged.samples[image]
            whole, target = read_pair(sample.path, mask_path(root, sample.id))
            target = target if background else void_background(target)
            return _Read(sample, limit_side(whole, self.config.data.max_side), target)

        @torch.inference_mode()
        def add(scored: _Scored) -> None:
            target = scored.read.target
            labels = torch.tensor(scored.read.sample.labels, dtype=torch.uint8)
            for row, part, lock, found in zip(rows, parts, locks, scored.found, strict=True):
                with lock:
                    if row.refine:
                        mask = torch.from_numpy(resize_mask(found.numpy(), target.shape))
                        part.add_mask(rule, target, mask)
                    else:
                        part.add_scores(target, found, labels, background)
                    part.images += 1

        steps: Steps[int, _Read, _Scored] = Steps(
            read, lambda one: one.image.shape, partial(self._compute, rows, watch), add
        )
        usage, _ = process(images, steps, self.runtime, progress)
        for row, part in zip(rows, parts, strict=True):
            part.seconds = watch.seconds.get(row.name, 0.0)
            part.network = watch.seconds.get("network", 0.0)
        return usage

    @torch.inference_mode()
    def _compute(
        self, rows: Sequence[Row], watch: Stopwatch, batch: Sequence["_Read"]
    ) -> "list[_Scored]":
        settings = self.config.pseudo_masks
        pixels = to_device([one.image for one in batch], self.runtime.device)
        with watch("network"):
            evidence = self.observe(pixels, settings.scales, settings.flip)
        found: list[Tensor] = []
        for i, one in enumerate(batch):
            own = [scale.of_image(i) for scale in evidence]
            for row in rows:
                with watch(row.name):
                    found.append(self.make(row, own, pixels[i], one.sample.labels))
        found = _fetched(found)
        return [
            _Scored(one, found[i * len(rows) : (i + 1) * len(rows)]) for i, one in enumerate(batch)
        ]

    def observe(self, pixels: Tensor, scales: tuple[float, ...], flip: bool) -> list[Evidence]:
        """What the classifier says of images (B, 3, H, W) uint8, on its device."""
        with network_autocast(self.runtime)():
            return observe(self.model, normalise_pixels(pixels), scales, flip, attention=True)

    def make(
        self, row: Row, evidence: Sequence[Evidence], pixels: Tensor, labels: Sequence[int]
    ) -> Tensor:
        """What a row makes of an image: score maps (L, h, w), or the mask (H, W) where it refines.

        Args:
            row: of the table.
            evidence: of the image at every scale.
            pixels: (3, H, W) uint8.
            labels: L mask values of its tags.
        """
        settings, background = self.config.pseudo_masks, self.config.data.background
        tags = torch.zeros(1, len(self.tagged.class_names), dtype=torch.bool)
        tags[0, [label - 1 for label in labels]] = True
        size = (pixels.shape[-2], pixels.shape[-1])
        scores = row_maps(row, evidence, tags, seed_size(*size))
        if not row.refine:
            return scores
        above = margins(scores, settings.background, size)
        probs = seed_probabilities(above, settings.sharpness, background)
        for name in row.refine:
            (probs,) = refine([pixels], [probs], self.refiners[name], background)
        return harden(probs, labels, background=background)

    def settings(self, row: Row) -> str:
        """What a row's counts depend on, to recognise them."""
        config = self.config
        # a row brings walks and border of its own, and a refined one needs no confidence
        kept = set(ViewsConfig.model_fields)
        if row.refine:
            own = {*SeedsConfig.model_fields, "confidence", "keep_seeds"}
            kept |= set(PseudoMasksConfig.model_fields) - own
        masks = config.pseudo_masks.model_dump(mode="json", include=kept)
        masks |= config.data.model_dump(include={"max_side", "background"}, exclude_defaults=True)
        ids = "\n".join(sample.id for sample in self.tagged.samples)
        listed = hashlib.sha256(ids.encode()).hexdigest()[:16]
        return json.dumps({"row": repr(row), "model": self.digest, "images": listed, **masks})


class _Read(NamedTuple):
    """An image (h, w, 3) uint8, reduced to the largest side, and its true mask (H, W)."""

    sample: Sample
    image: NDArray[np.uint8]
    target: NDArray[np.uint8]


class _Scored(NamedTuple):
    """What every row made of an image, on the CPU."""

    read: _Read
    found: list[Tensor]


def _fetched(tensors: Sequence[Tensor]) -> list[Tensor]:
    """Tensors on the CPU, in their order, by one copy for each type."""
    found: dict[int, Tensor] = {}
    for kind in {one.dtype for one in tensors}:
        places = [i for i, one in enumerate(tensors) if one.dtype == kind]
        found |= zip(places, from_device([tensors[i] for i in places]), strict=True)
    return [found[i] for i in range(len(tensors))]


def _save(rows: Iterable[tuple[RowCounts, Path]]) -> None:
    for row_counts, path in rows:
        row_counts.save(path)


def _refiners(settings: PseudoMasksConfig) -> dict[str, Refiner | None]:
    preset = "irn" if settings.crf == "none" else settings.crf
    steps = settings.crf_iterations
    return {
        "crf": make_crf(preset, steps, settings.crf_backend),
        "par": make_crf(preset, steps, "par"),
    }
