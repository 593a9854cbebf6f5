"""Images of a run: a contact sheet of CAM, slots, seed, pseudo-mask, prediction and truth.

Above every row stand the image's name, its tags, and where the prediction disagrees with them.

Reads whatever of these the run has; writes `report/<split>.png`. True masks are opened for showing,
and for finding the worst images of a kind.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from wsss.config import RunConfig
from wsss.data.augment import normalise, resize_mask
from wsss.data.images import Sample, TaggedDataset
from wsss.data.mask_io import read_mask
from wsss.data.masks import find_mask, has_truth, mask_path, true_masks, with_truth
from wsss.data.open import open_tagged
from wsss.engine.inference import load, to_device
from wsss.engine.progress import track
from wsss.engine.runtime import Runtime, start
from wsss.errors import WsssError
from wsss.files import names_below, write_atomic
from wsss.models.gate import Gate, gate_of
from wsss.models.inference import predict_images
from wsss.models.segmenter import Segmenter
from wsss.models.soft_seeds import RunSeeds
from wsss.models.trained import load_segmenter
from wsss.report.failures import KINDS, against_tags, failures
from wsss.report.sheet import Caption, contact_sheet, heat, mask_over, slots_over
from wsss.run.state import Run
from wsss.seeding.cam import resize, scaled_size
from wsss.seeding.masks import seed_mask
from wsss.seeding.walks import blocks_of

Cell = NDArray[np.uint8]
Gated = tuple[Segmenter, Gate | None]
FALSE_ALARMS = 2  # images with one that a sheet shows, where there are any


def run(
    config: RunConfig,
    count: int = 12,
    ids: Sequence[str] = (),
    split: str | None = None,
    out: Path | None = None,
    worst: str | None = None,
) -> Path:
    """Draw the contact sheet of a run; returns its path.

    Args:
        config: of the run.
        count: images, drawn by the run's seed among those of the split that have pseudo-masks: one
            in six without tags, and two in which the segmenter finds a class that isn't tagged,
            where there are any.
        ids: these images instead.
        split: `data.score_split` by default.
        out: path of the sheet instead of the run's report folder.
        worst: kind of failure, whose worst pseudo-masks are shown instead of a random choice.
    """
    run = Run(config.run)
    runtime = start(config.runtime, config.seed)
    split = split or config.data.score_split
    if worst is not None:
        ids = _worst(config, run, split, count, worst)
    tagged = open_tagged(config.data, split)
    samples = _choose(config, run, tagged, split, count, ids)
    seeds = RunSeeds(config, tagged.class_names, runtime)
    segmenter: Gated | None = None
    if run.finished("train_seg"):
        network, card = load_segmenter(run.model("train_seg"), runtime.device)
        segmenter = network, gate_of(config, card, runtime.device)
    if segmenter is not None and not ids:
        shown = count - min(FALSE_ALARMS, count // 4)
        samples, others = samples[:shown], samples[shown:]
        samples += _false_alarms(config, tagged, others, count - shown, segmenter, runtime)
    samples = samples if ids else sorted(samples[:count])
    drawn = replace(tagged, samples=tuple(samples))
    scored = with_truth(config.data, drawn) if has_truth(config.data) else None
    truth = true_masks(config.data, split, scored, track) if scored else None
    rows, captions = [], []
    for sample in samples:
        mask = None if segmenter is None else _predict(config, sample, segmenter, runtime)
        rows.append(_row(config, run, sample, seeds, mask, truth))
        note = "" if mask is None else against_tags(mask, sample.tags, tagged.class_names)
        captions.append(Caption(sample.id, [tagged.class_names[t] for t in sample.tags], note))
    titles = ["image", "CAM", "slots", "slot seed", "pseudo-mask"]
    titles += ["prediction"] if segmenter else []
    titles += ["truth"] if truth else []
    sheet = contact_sheet(rows, titles, captions)
    name = split if worst is None else f"{split}_{worst}"
    path = out or run.report / f"{name}.png"
    write_atomic(path, sheet.save)
    return path


def _choose(
    config: RunConfig, run: Run, tagged: TaggedDataset, split: str, count: int, ids: Sequence[str]
) -> list[Sample]:
    """The images that were asked for; or `count` by chance, and behind them as many in reserve."""
    known = {sample.id: sample for sample in tagged.samples}
    made = names_below(run.pseudo_masks, ".png")
    for image_id in ids:
        if image_id not in known:
            raise WsssError(f"The split {split} has no image {image_id!r}: give ids of it.")
        if image_id not in made:
            raise WsssError(
                f"{image_id} has no pseudo-mask in {run.root}: run generate-pseudo-masks on a "
                "data.mask_split that holds it, or give other ids."
            )
    if ids:
        return [known[image_id] for image_id in ids]
    ready = [p for p in tagged.samples if p.id in made]
    if not ready:
        raise WsssError(
            f"{run.root} has no pseudo-masks of the split {split}: run generate-pseudo-masks first."
        )
    rng = np.random.default_rng(config.seed)
    with_tags = [p for p in ready if p.tags]
    drawn = [with_tags[i] for i in rng.permutation(len(with_tags))]
    without = [p for p in ready if not p.tags]
    negatives = [without[i] for i in rng.permutation(len(without))]
    few = negatives if not drawn else negatives[: count // 6]
    return [*few, *drawn][: 2 * count]


def _false_alarms(
    config: RunConfig,
    tagged: TaggedDataset,
    candidates: Sequence[Sample],
    count: int,
    segmenter: Gated,
    runtime: Runtime,
) -> list[Sample]:
    """`count` of the candidates, first those in which a class is found that isn't tagged."""
    found: list[Sample] = []
    for sample in candidates:
        if len(found) == count:
            break
        mask = _predict(config, sample, segmenter, runtime)
        if "false alarm" in against_tags(mask, sample.tags, tagged.class_names):
            found.append(sample)
    return [*found, *(p for p in candidates if p not in found)][:count]


def _worst(config: RunConfig, run: Run, split: str, count: int, kind: str) -> list[str]:
    """Ids of the images whose pseudo-masks fail worst in one way, the worst first."""
    if kind not in KINDS:
        raise WsssError(f"--worst is {kind!r}: expected one of {', '.join(KINDS)}.")
    scored = with_truth(config.data, open_tagged(config.data, split))
    made = tuple(s for s in scored.samples if run.pseudo_mask(s.id).is_file())
    root = true_masks(config.data, split, replace(scored, samples=made), track)
    bad: dict[str, float] = {}
    for sample in made:
        pred = read_mask(run.pseudo_mask(sample.id))
        target = read_mask(mask_path(root, sample.id))
        bad[sample.id] = failures(pred, target, sample.labels).get(kind, 0.0)
    found = [id_ for id_ in sorted(bad, key=lambda i: -bad[i]) if bad[id_] > 0][:count]
    if not found:
        raise WsssError(
            f"No pseudo-mask of the split {split} in {run.root} fails by {kind}: take another "
            f"of {', '.join(KINDS)}, or run generate-pseudo-masks first."
        )
    return found


@torch.inference_mode()
def _row(
    config: RunConfig,
    run: Run,
    sample: Sample,
    seeds: RunSeeds,
    mask: Cell | None,
    truth: Path | None,
) -> list[Cell]:
    image = load(sample, config.data.max_side).image
    row = [image, *_making(config, run, sample, image, seeds)]
    if mask is not None:
        row.append(_shown(mask, image))
    if truth is not None:
        found = find_mask(truth, sample.id)  # of one's own images some have one
        row.append(image if found is None else _shown(read_mask(found), image))
    return row


def _predict(config: RunConfig, sample: Sample, segmenter: Gated, runtime: Runtime) -> Cell:
    """The mask that `predict` makes."""
    seen = load(sample, config.evaluate.max_side)
    pixels, modes = to_device([seen.image], runtime.device), [config.evaluate.own]
    (network, gate), tile = segmenter, config.evaluate.tile
    ((made,),) = predict_images(network, pixels, modes, [seen.size], tile, gate=gate)
    return made.mask


def _shown(mask: Cell, image: Cell) -> Cell:
    """A mask of any size over an image."""
    return mask_over(resize_mask(mask, image.shape[:2]), image)


def _making(
    config: RunConfig, run: Run, sample: Sample, image: Cell, seeds: RunSeeds
) -> list[Cell]:
    """How a pseudo-mask came about: class activation, slots, slot seed, the mask."""
    soft, labels = seeds(sample), torch.tensor(sample.labels, dtype=torch.uint8)
    tensor = normalise(image)[None].to(seeds.runtime.device)
    output = seeds.classifier(resize(tensor, scaled_size(image.shape[0], image.shape[1], 1.0)))
    walks = config.pseudo_masks.walks
    names = [block for walk in walks for block in blocks_of(walk.block, output.assignments)]
    chosen = output.assignments[[*names, config.train_cls.slot_block][0]]
    levels = config.pseudo_masks.levels_by_value(seeds.class_names)
    above = soft.above(soft.seed, config.pseudo_masks.background, image.shape[:2], levels)
    return [
        heat(soft.cam.float().numpy().max(axis=0, initial=0), image),
        slots_over(chosen.logits[0].argmax(0).reshape(chosen.grid).cpu().numpy(), image),
        mask_over(seed_mask(above, labels, config.data.background).numpy(), image),
        _shown(read_mask(run.pseudo_mask(sample.id)), image),
    ]
