"""The ablation: score maps and refinements of one classifier, or several, on the same pictures.

Reads `train_cls/model.safetensors` of every run and true masks, which score and choose nothing.
Writes `ablation/rows/*.npz` into every run while it goes, so that a killed start goes on where it
was; `ablation/ablation.json` and `.md` into the config's run.
"""

import hashlib
import json
import re
from collections.abc import Sequence
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
from wsss.ablation.rows import Row, all_rows, choose, row_maps
from wsss.ablation.table import Figures, figures, markdown
from wsss.ablation.tally import Tally
from wsss.config import PseudoMasksConfig, RunConfig
from wsss.crf import make_crf
from wsss.data.masks import mask_path, read_pair, true_masks
from wsss.data.sources import open_tagged
from wsss.data.tags import Picture, TaggedPictures
from wsss.data.transforms import limit_side, normalise, resize_mask
from wsss.engine.checkpoint import load_trained
from wsss.engine.memory import peak_memory
from wsss.engine.runtime import start
from wsss.engine.timing import Stopwatch
from wsss.engine.tracking import Tracker, track
from wsss.models.classifier import TagClassifier, build_classifier
from wsss.models.multiscale import check_walks, observe, seed_size
from wsss.run_dir import RunDir, write_atomic, write_json
from wsss.seeding.maps import Evidence
from wsss.seeding.masks import Refiner, harden, margins, refine, seed_probabilities

SAVE_EVERY = 20
"""Pictures between two writings of the counts."""
SIZES = {"320×240": (240, 320), "1024²": (1024, 1024)}
"""Pictures whose memory is measured: rows and columns."""
DENSE_TOKENS = 6000
"""With more tokens than this the matrix of a walk on pixels is made, and not squared: hours."""


def run(config: RunConfig, rows: str = "*", overwrite: bool = False) -> Path:
    """Score every row on every classifier, write the table; returns its path.

    Args:
        config: of the run; `ablate.runs` names the runs whose classifiers are scored.
        rows: names of rows, with `*` for anything, separated by `;`.
        overwrite: count anew what is counted.
    """
    root = true_masks(config.data)
    device = start(config.runtime, config.seed).device
    pictures = _sample(config)
    tallies: dict[str, list[Tally]] = {}
    chosen: dict[str, Row] = {}
    folders = config.ablate.runs or (config.run,)
    benches = [Bench(config, RunDir(folder), pictures, device) for folder in folders]
    # a pattern that matches nothing is told before anything is counted
    for bench, own in [(bench, choose(bench.rows, rows)) for bench in benches]:
        chosen |= {row.name: row for row in own}
        for row, tally in zip(own, bench.count(own, root, overwrite), strict=True):
            tallies.setdefault(row.name, []).append(tally)
    write = partial(_write, config, list(chosen.values()), tallies, len(pictures))
    path = write({})
    if config.ablate.memory:
        path = write(benches[0].memory([row for row in benches[0].rows if row.name in chosen]))
    return path


class Bench:
    """One classifier and the rows that it is measured by."""

    def __init__(
        self, config: RunConfig, run_dir: RunDir, pictures: TaggedPictures, device: torch.device
    ) -> None:
        run_dir.require("train_cls")
        self.config, self.run_dir, self.pictures = config, run_dir, pictures
        weights = run_dir.model("train_cls")
        self.model: TagClassifier
        self.model, _ = load_trained(
            weights, "classifier", build_classifier, device, pictures.class_names
        )
        self.digest = hashlib.sha256(weights.read_bytes()).hexdigest()[:16]
        self.watch = Stopwatch(device)
        recipe = config.pseudo_masks.seeding
        check_walks(recipe, self.model)
        self.rows = all_rows(recipe, attention_modules(self.model.backbone, tokens=False))
        self.refiners = _refiners(config.pseudo_masks)

    def count(self, rows: Sequence[Row], root: Path, overwrite: bool) -> list[Tally]:
        """Go over the pictures that a row lacks; returns the rows' counts."""
        labels = len(self.pictures.class_names) + 1
        paths = [self.run_dir.ablation / "rows" / f"{_slug(row.name)}.npz" for row in rows]
        if overwrite:
            for path in paths:
                path.unlink(missing_ok=True)
        tallies = [
            Tally.load(path, labels, self._settings(row))
            for path, row in zip(paths, rows, strict=True)
        ]
        first, total = min(tally.pictures for tally in tallies), len(self.pictures)
        with Tracker(f"ablate {self.run_dir.root.name}", total, done=first) as tracker:
            for i in range(first, total):
                lacking = [(r, t) for r, t in zip(rows, tallies, strict=True) if t.pictures <= i]
                self._picture(self.pictures.pictures[i], root, lacking)
                if (i + 1) % SAVE_EVERY == 0 or i + 1 == total:
                    for path, tally in zip(paths, tallies, strict=True):
                        if tally.pictures == i + 1:
                            tally.save(path)
                tracker.advance()
        return tallies

    @torch.inference_mode()
    def _picture(self, picture: Picture, root: Path, lacking: Sequence[tuple[Row, Tally]]) -> None:
        image, target = read_pair(picture.path, mask_path(root, picture.id))
        image = limit_side(image, self.config.data.max_side)
        watch = Stopwatch(self.watch.device)
        settings = self.config.pseudo_masks
        with watch("network"):
            evidence = self._observe(image, settings.scales, settings.flip)
        own = [tag + 1 for tag in picture.tags]
        labels = torch.tensor(own, dtype=torch.long, device=watch.device)
        for row, tally in lacking:
            with watch(row.name):
                scores, mask = self._make(row, evidence, image, labels)
            if mask is not None:
                whole = resize_mask(mask.cpu().numpy(), target.shape)
                tally.add_mask(str(settings.background), target, torch.from_numpy(whole))
            else:
                tally.add_scores(target, scores, labels.byte())
            tally.seconds += watch.seconds[row.name]
            tally.network += watch.seconds["network"]
            tally.pictures += 1

    def _make(
        self, row: Row, evidence: Sequence[Evidence], image: NDArray[np.uint8], labels: Tensor
    ) -> tuple[Tensor, Tensor | None]:
        """A row's score maps, and its mask where it is refined."""
        tags = torch.zeros(
            1, len(self.pictures.class_names), dtype=torch.bool, device=labels.device
        )
        tags[0, labels - 1] = True
        scores = row_maps(row, evidence, tags, seed_size(*image.shape[:2]))
        return scores, self._refine(row, scores, image, labels) if row.refine else None

    def _observe(
        self, image: NDArray[np.uint8], scales: tuple[float, ...], flip: bool
    ) -> list[Evidence]:
        images = normalise(image)[None].to(self.watch.device)
        return observe(self.model, images, scales, flip, attention=True)

    def _refine(self, row: Row, scores: Tensor, image: NDArray[np.uint8], labels: Tensor) -> Tensor:
        settings = self.config.pseudo_masks
        above = margins(scores, settings.background, image.shape[:2])
        probs = seed_probabilities(above, settings.sharpness)
        pixels = torch.from_numpy(image).permute(2, 0, 1).to(labels.device)
        for name in row.refine:
            (probs,) = refine([pixels], [probs], self.refiners[name])
        return harden(probs, labels.tolist())

    @torch.inference_mode()
    def memory(self, rows: Sequence[Row]) -> dict[str, dict[str, float | None]]:
        """Row → size → MiB of its own part; two tags, scale 1, no mirror image.

        What was measured before, with the same settings, is taken from the run's folder.
        """
        path = self.run_dir.ablation / "memory.json"
        known = json.loads(path.read_text()) if path.is_file() else {}
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
        """What a row's counts depend on, to know them again."""
        config = self.config
        masks = config.pseudo_masks.model_dump(mode="json", include={"scales", "flip"})
        masks |= config.data.model_dump(include={"max_side"}, exclude_defaults=True)
        if row.refine:
            keys = {"background", "sharpness", "crf", "crf_backend", "crf_iterations"}
            masks |= config.pseudo_masks.model_dump(mode="json", include=keys)
        ids = "\n".join(picture.id for picture in self.pictures.pictures)
        listed = hashlib.sha256(ids.encode()).hexdigest()[:16]
        return json.dumps({"row": repr(row), "model": self.digest, "pictures": listed, **masks})


def _refiners(settings: PseudoMasksConfig) -> dict[str, Refiner | None]:
    preset = "irn" if settings.crf == "none" else settings.crf
    steps = settings.crf_iterations
    return {
        "crf": make_crf(preset, steps, settings.crf_backend),
        "par": make_crf(preset, steps, "par"),
    }


def _sample(config: RunConfig) -> TaggedPictures:
    """The pictures to score on: all of the split, or so many drawn by the seed, in their order."""
    pictures = open_tagged(config.data, config.data.score_split)
    count = config.ablate.pictures
    if count is None or count >= len(pictures):
        return pictures
    drawn = sorted(np.random.default_rng(config.seed).permutation(len(pictures))[:count])
    return replace(pictures, pictures=tuple(pictures.pictures[i] for i in drawn))


def _slug(name: str) -> str:
    return re.sub(r"[^\w.=]+", "_", name)


def _write(
    config: RunConfig,
    rows: Sequence[Row],
    tallies: dict[str, list[Tally]],
    pictures: int,
    memory: dict[str, dict[str, float | None]],
) -> Path:
    settings, masks = config.ablate, config.pseudo_masks
    rule = str(masks.background)
    table: list[Figures] = []
    for row in rows:
        fixed = settings.fixed_walk if row.walked else settings.fixed_cam
        found = figures(row, tallies[row.name], fixed, rule)
        table.append({**found, "peak_mib": memory.get(row.name, {})})
    first = next(iter(tallies.values()))
    network = [1e3 * tally.network / max(tally.pictures, 1) for tally in first]
    protocol: dict[str, Any] = {
        "split": f"{config.data.score_split}, {pictures} pictures, tags given",
        "classifiers": ", ".join(str(path) for path in settings.runs or (config.run,)),
        "scales": list(masks.scales),
        "flip": masks.flip,
        "refined masks": f"threshold {rule}, sharpness {masks.sharpness}, {masks.crf} "
        f"({masks.crf_backend}), {masks.crf_iterations} iterations, likeliest label",
        "ms": "processor time a picture of the row's own part (CPU), wall time elsewhere; the "
        f"network's passes, shared by all rows: {np.mean(network):.1f}",
        "MiB": "peak of the row's own part beyond the network's, scale 1, no flip, two tags; "
        f"pixel affinity of over {DENSE_TOKENS} tokens without its squarings, which take more",
        "threads": torch.get_num_threads(),
    }
    path = RunDir(config.run).ablation / "ablation.json"
    write_json(path, {"protocol": protocol, "rows": table})
    text = markdown(table, list(SIZES) if memory else [], protocol)
    write_atomic(path.with_suffix(".md"), lambda target: target.write_text(text))
    return path.with_suffix(".md")
