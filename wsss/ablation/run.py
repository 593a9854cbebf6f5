"""The ablation: score maps and refinements of one classifier, or several, on the same images.

Reads `train_cls/model.safetensors` of every run and true masks, which score and choose nothing.
Writes `ablation/rows/*.npz` into every run while it goes, so that a killed start resumes where it
stopped; `ablation/ablation.json` and `.md` into the config's run.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from glmix.attention import attention_modules
from wsss.ablation.baselines import PixelWalk
from wsss.ablation.counts import RowCounts
from wsss.ablation.rows import Row, all_rows, choose, row_maps
from wsss.ablation.table import Figures, figures, markdown
from wsss.config import PseudoMasksConfig, RunConfig
from wsss.config.schema import SeedsConfig, ViewsConfig
from wsss.crf import make_crf
from wsss.data.augment import limit_side, normalise, resize_mask
from wsss.data.images import Sample, TaggedDataset
from wsss.data.masks import (
    mask_path,
    read_pair,
    require_truth,
    true_masks,
    void_background,
    with_truth,
)
from wsss.data.open import open_tagged
from wsss.engine.checkpoint import load_trained
from wsss.engine.profile import Stopwatch, peak_memory
from wsss.engine.progress import Tracker, track
from wsss.engine.runtime import Runtime, join, start
from wsss.errors import WsssError
from wsss.files import read_json, write_json, write_text
from wsss.models.classifier import TagClassifier, build_classifier
from wsss.models.multiscale import check_walks, observe, seed_size
from wsss.run.state import Run
from wsss.seeding.maps import Evidence
from wsss.seeding.masks import Refiner, harden, margins, refine, seed_probabilities

SAVE_EVERY = 20
"""Images between two writings of the counts."""

SIZES = {"320×240": (240, 320), "1024²": (1024, 1024)}
"""Images whose memory is measured: rows and columns."""

DENSE_TOKENS = 6000
"""With more tokens than this the matrix of a walk on pixels is made, and not squared: hours."""


def run(config: RunConfig, rows: str = "*", overwrite: bool = False) -> Path:
    """Score every row on every classifier, write the table; returns its path.

    Args:
        config: of the run; `ablate.runs` names the runs whose classifiers are scored.
        rows: names of rows, with `*` for anything, separated by `;`.
        overwrite: recount what is counted.
    """
    team = join()
    with team.together():
        require_truth(config.data)
        runtime = start(config.runtime, config.seed)
        tagged = _sample(config)
        folders = config.ablate.runs or (config.run,)
        benches = [Bench(config, Run(folder), tagged, runtime) for folder in folders]
        # a pattern that matches nothing is reported before anything is counted
        chosen_of = [choose(bench.rows, rows) for bench in benches]
    team.require_equal(tagged.digest, f"The images of {config.data.root}")
    split = config.data.score_split
    root = team.once(lambda: true_masks(config.data, split, tagged, track))
    all_counts: dict[str, list[RowCounts]] = {}
    chosen: dict[str, Row] = {}
    for bench, own in zip(benches, chosen_of, strict=True):
        chosen |= {row.name: row for row in own}
        for row, row_counts in zip(own, bench.count(own, root, overwrite), strict=True):
            all_counts.setdefault(row.name, []).append(row_counts)
    write = partial(_write, config, list(chosen.values()), all_counts, len(tagged))

    def finish() -> Path:
        path = write({})
        if config.ablate.memory:
            path = write(benches[0].memory([row for row in benches[0].rows if row.name in chosen]))
        return path

    return team.once(finish)


class Bench:
    """One classifier and the rows that it is measured by."""

    def __init__(
        self, config: RunConfig, run: Run, tagged: TaggedDataset, runtime: Runtime
    ) -> None:
        run.require("train_cls")
        self.config, self.run, self.tagged, self.team = config, run, tagged, runtime.team
        weights = run.model("train_cls")
        self.model: TagClassifier
        self.model, _ = load_trained(
            weights, "classifier", build_classifier, runtime.device, tagged.class_names
        )
        self.digest = hashlib.sha256(weights.read_bytes()).hexdigest()[:16]
        self.watch = Stopwatch(runtime.device)
        recipe = config.pseudo_masks.seeding
        check_walks(recipe, self.model)
        self.rows = all_rows(recipe, attention_modules(self.model.backbone, tokens=False))
        self.refiners = _refiners(config.pseudo_masks)

    def count(self, rows: Sequence[Row], root: Path, overwrite: bool) -> list[RowCounts]:
        """Go over the images that a row lacks; returns the rows' counts."""
        labels = len(self.tagged.class_names) + 1
        paths = [self.run.ablation / "rows" / f"{_slug(row.name)}.npz" for row in rows]
        settings = [self._settings(row) for row in rows]

        def known() -> list[RowCounts]:
            for path in paths if overwrite else ():
                path.unlink(missing_ok=True)
            return [RowCounts.load(p, labels, s) for p, s in zip(paths, settings, strict=True)]

        all_counts = self.team.once(known)
        first, total = min(row_counts.images for row_counts in all_counts), len(self.tagged)
        step = SAVE_EVERY * self.team.world
        title = f"ablate {self.run.root.name}"
        with Tracker(title, total, done=first, quiet=not self.team.is_main) as tracker:
            while first < total:
                block = range(first, min(first - first % step + step, total))
                lacking = [i for i, counts in enumerate(all_counts) if counts.images < block.stop]
                parts = {i: RowCounts(labels, settings[i]) for i in lacking}
                deal = self.team.deal(block)
                for image in deal:
                    own = [(rows[i], parts[i]) for i in lacking if all_counts[i].images <= image]
                    self._image(self.tagged.samples[image], root, own)
                    tracker.advance(deal.finish(1))
                for i in lacking:
                    all_counts[i].add(parts[i], self.team)
                self.team.once(partial(_save, [(all_counts[i], paths[i]) for i in lacking]))
                first = block.stop
        return all_counts

    @torch.inference_mode()
    def _image(self, sample: Sample, root: Path, lacking: Sequence[tuple[Row, RowCounts]]) -> None:
        image, target = read_pair(sample.path, mask_path(root, sample.id))
        background = self.config.data.background
        if not background:
            target = void_background(target)
        image = limit_side(image, self.config.data.max_side)
        watch = Stopwatch(self.watch.device)
        settings = self.config.pseudo_masks
        with watch("network"):
            evidence = self._observe(image, settings.scales, settings.flip)
        own = sample.labels
        labels = torch.tensor(own, dtype=torch.long, device=watch.device)
        for row, row_counts in lacking:
            with watch(row.name):
                scores, mask = self._make(row, evidence, image, labels)
            if mask is not None:
                whole = resize_mask(mask.cpu().numpy(), target.shape)
                row_counts.add_mask(str(settings.background), target, torch.from_numpy(whole))
            else:
                row_counts.add_scores(target, scores, labels.byte(), background)
            row_counts.seconds += watch.seconds[row.name]
            row_counts.network += watch.seconds["network"]
            row_counts.images += 1

    def _make(
        self, row: Row, evidence: Sequence[Evidence], image: NDArray[np.uint8], labels: Tensor
    ) -> tuple[Tensor, Tensor | None]:
        """A row's score maps, and its mask where it is refined."""
        tags = torch.zeros(1, len(self.tagged.class_names), dtype=torch.bool)
        tags[0, labels.cpu() - 1] = True
        scores = row_maps(row, evidence, tags, seed_size(*image.shape[:2]))
        return scores, self._refine(row, scores, image, labels) if row.refine else None

    def _observe(
        self, image: NDArray[np.uint8], scales: tuple[float, ...], flip: bool
    ) -> list[Evidence]:
        images = normalise(image)[None].to(self.watch.device)
        return observe(self.model, images, scales, flip, attention=True)

    def _refine(self, row: Row, scores: Tensor, image: NDArray[np.uint8], labels: Tensor) -> Tensor:
        settings = self.config.pseudo_masks
        background = self.config.data.background
        above = margins(scores, settings.background, image.shape[:2])
        probs = seed_probabilities(above, settings.sharpness, background)
        pixels = torch.from_numpy(image).permute(2, 0, 1).to(labels.device)
        for name in row.refine:
            (probs,) = refine([pixels], [probs], self.refiners[name], background)
        return harden(probs, labels.tolist(), background=background)

    @torch.inference_mode()
    def memory(self, rows: Sequence[Row]) -> dict[str, dict[str, float | None]]:
        """Row → size → MiB of its own part; two tags, scale 1, no mirror image.

        What was measured before, with the same settings, is taken from the run's folder.
        """
        path = self.run.ablation / "memory.json"
        known = _measured(path)
        keys = {row.name: self._settings(row) for row in rows}
        labels = torch.tensor([1, 2], device=self.watch.device)
        for size, (height, width) in SIZES.items():
            lacking = [row for row in rows if size not in known.get(keys[row.name], {})]
            if not lacking:
                continue
            rng = np.random.default_rng(0)
            image = rng.integers(0, 256, (height, width, 3), np.uint8)
            evidence = self._observe(image, (1.0,), False)
            for row in track(lacking, f"memory {size}", len(lacking)):
                peak = self._peak(row, evidence, image, labels)
                known.setdefault(keys[row.name], {})[size] = peak
                write_json(path, known)
        return {name: {size: known[key][size] for size in SIZES} for name, key in keys.items()}

    def _peak(
        self, row: Row, evidence: Sequence[Evidence], image: NDArray[np.uint8], labels: Tensor
    ) -> float | None:
        tokens = evidence[0].features[1].shape[-2:].numel()
        if isinstance(row.source, PixelWalk) and tokens > DENSE_TOKENS:
            row = replace(row, source=replace(row.source, doublings=0))
        work = partial(self._make, row, evidence, image, labels)
        if image.shape[0] < 512:
            work()  # libraries take their own memory first
        peak = peak_memory(self.watch.device, work)
        return None if peak is None else round(peak / 2**20, 1)

    def _settings(self, row: Row) -> str:
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


def _save(rows: Iterable[tuple[RowCounts, Path]]) -> None:
    for row_counts, path in rows:
        row_counts.save(path)


def _measured(path: Path) -> dict[str, dict[str, float | None]]:
    """What was measured before; nothing where the file is damaged."""
    if not path.is_file():
        return {}
    try:
        found = read_json(path, "delete it")
    except WsssError:
        return {}
    return {key: sizes for key, sizes in found.items() if isinstance(sizes, dict)}


def _refiners(settings: PseudoMasksConfig) -> dict[str, Refiner | None]:
    preset = "irn" if settings.crf == "none" else settings.crf
    steps = settings.crf_iterations
    return {
        "crf": make_crf(preset, steps, settings.crf_backend),
        "par": make_crf(preset, steps, "par"),
    }


def _sample(config: RunConfig) -> TaggedDataset:
    """The images to score on: all of the split, or so many drawn by the seed, in their order."""
    tagged = with_truth(config.data, open_tagged(config.data, config.data.score_split))
    count = config.ablate.images
    if count is None or count >= len(tagged):
        return tagged
    drawn = sorted(np.random.default_rng(config.seed).permutation(len(tagged))[:count])
    return replace(tagged, samples=tuple(tagged.samples[i] for i in drawn))


def _slug(name: str) -> str:
    return re.sub(r"[^\w.=]+", "_", name)


def _write(
    config: RunConfig,
    rows: Sequence[Row],
    all_counts: dict[str, list[RowCounts]],
    images: int,
    memory: dict[str, dict[str, float | None]],
) -> Path:
    settings, masks = config.ablate, config.pseudo_masks
    rule = str(masks.background)
    table: list[Figures] = []
    for row in rows:
        fixed = settings.fixed_walk if row.walked else settings.fixed_cam
        found = figures(row, all_counts[row.name], fixed, rule)
        table.append({**found, "peak_mib": memory.get(row.name, {})})
    first = next(iter(all_counts.values()))
    network = [1e3 * row_counts.network / max(row_counts.images, 1) for row_counts in first]
    protocol: dict[str, Any] = {
        "split": f"{config.data.score_split}, {images} images, tags given",
        "classifiers": ", ".join(str(path) for path in settings.runs or (config.run,)),
        "scales": list(masks.scales),
        "flip": masks.flip,
        "refined masks": f"threshold {rule}, sharpness {masks.sharpness}, {masks.crf} "
        f"({masks.crf_backend}), {masks.crf_iterations} iterations, likeliest label",
        "ms": "processor time per image of the row's own part (CPU), wall time elsewhere; the "
        f"network's passes, shared by all rows: {np.mean(network):.1f}",
        "MiB": "peak of the row's own part beyond the network's, scale 1, no flip, two tags; "
        f"pixel affinity of over {DENSE_TOKENS} tokens without its squarings, which take more",
        "threads": torch.get_num_threads(),
    }
    path = Run(config.run).ablation / "ablation.json"
    write_json(path, {"protocol": protocol, "rows": table})
    text = markdown(table, list(SIZES) if memory else [], protocol)
    write_text(path.with_suffix(".md"), text)
    return path.with_suffix(".md")
