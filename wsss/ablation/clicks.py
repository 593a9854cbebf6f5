"""A simulated annotator: how good masks are after so many clicks, by several ways to take them.

Reads `train_cls/model.safetensors` of a run and true masks, which place the clicks and score.
Writes `ablation/clicks/*.jsonl`, an image and method a line, while it goes, so that a killed start
resumes where it stopped; then `ablation/clicks.json` and `.md`.
"""

import hashlib
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from wsss.ablation.click_methods import METHODS, SUPERPIXELS, Answer, choose_methods
from wsss.ablation.click_table import Line, figures, markdown
from wsss.ablation.images import draw, masks_of
from wsss.config import RunConfig
from wsss.data.images import Sample
from wsss.data.masks import mask_path, read_pair, void_background
from wsss.engine.progress import Tracker
from wsss.engine.runtime import Runtime, join, start
from wsss.files import write_json, write_text
from wsss.metrics.clicks import image_iou, next_click
from wsss.metrics.confusion import ConfusionMatrix
from wsss.models.classifier import TagClassifier
from wsss.models.clicks import OpenImage
from wsss.models.trained import load_classifier
from wsss.run.state import Run
from wsss.seeding.clicks import Click, ClickRules

GOAL = 0.85
"""IoU that an image's mask has to reach, over its labels."""


def run(
    config: RunConfig,
    clicks: int = 10,
    methods: str = "slots;crf",
    skip: int = 0,
    overwrite: bool = False,
) -> Path:
    """Click on every image by every method, write the table; returns its path.

    Args:
        config: of the run; `ablate.images` of `data.score_split` are drawn by `seed`.
        clicks: per image, at most; fewer where nothing is wrong any more.
        methods: names of `METHODS`, separated by `;`.
        skip: leave out so many of the images that are drawn first, such as those that settings
            were chosen on.
        overwrite: click again on what is counted.
    """
    chosen = choose_methods(methods)
    team = join()
    with team.together():
        tagged = draw(config, skip)
        runtime = start(config.runtime, config.seed)
        own = Run(config.run)
        own.require("train_cls")
        weights = own.model("train_cls")
        model = load_classifier(weights, runtime.device, tagged.class_names)
    root = masks_of(config, tagged, team)
    name = _digest(config, weights, clicks)
    folder = own.ablation / "clicks"
    known = team.once(lambda: _known(folder, name, overwrite))
    file = folder / f"{name}-{team.rank}.jsonl"
    todo = [s for s in tagged.samples if any((s.id, m) not in known for m in chosen)]
    deal = team.deal(todo)
    done = len(tagged) - len(todo)
    with Tracker("ablate-clicks", len(tagged), done=done, quiet=not team.is_main) as tracker:
        for sample in deal:
            lacking = [method for method in chosen if (sample.id, method) not in known]
            for line in _image(sample, root, lacking, clicks, config, model, runtime):
                with file.open("a", encoding="utf-8") as lines:
                    lines.write(json.dumps(line) + "\n")
            tracker.advance(deal.finish(1))

    def write() -> Path:
        counted = _known(folder, name, False)
        lines = {m: [counted[s.id, m] for s in tagged.samples] for m in chosen}
        return _write(config, lines, clicks, skip, len(tagged))

    return team.once(write)


def _digest(config: RunConfig, weights: Path, clicks: int) -> str:
    """What a line depends on, beside its image and method."""
    settings = {
        "model": hashlib.sha256(weights.read_bytes()).hexdigest(),
        "masks": config.pseudo_masks.model_dump(mode="json", exclude={"confidence", "keep_seeds"}),
        "data": [config.data.max_side, config.data.background],
        "rules": repr(ClickRules()),
        "methods": [SUPERPIXELS],
        "clicks": clicks,
    }
    return hashlib.sha256(json.dumps(settings).encode()).hexdigest()[:16]


def _known(folder: Path, name: str, overwrite: bool) -> dict[tuple[str, str], Line]:
    """The lines of all processes so far."""
    folder.mkdir(parents=True, exist_ok=True)
    known: dict[tuple[str, str], Line] = {}
    for path in sorted(folder.glob(f"{name}-*.jsonl")):
        if overwrite:
            path.unlink()
            continue
        text = path.read_text(encoding="utf-8")
        # a killed start may have left half a line
        whole = text[: text.rfind("\n") + 1]
        if len(whole) < len(text):
            write_text(path, whole)
        for line in map(json.loads, whole.splitlines()):
            known[line["image"], line["method"]] = line
    return known


def _image(
    sample: Sample,
    root: Path,
    methods: Sequence[str],
    clicks: int,
    config: RunConfig,
    model: TagClassifier,
    runtime: Runtime,
) -> list[Line]:
    image, target = read_pair(sample.path, mask_path(root, sample.id))
    background = config.data.background
    if not background:
        target = void_background(target)
    # a person sees no unsure pixels
    settings = config.pseudo_masks.model_copy(update={"confidence": 0.0})
    opened = OpenImage(
        model,
        image,
        sample.tags,
        settings,
        runtime.device,
        config.data.max_side,
        background=background,
    )
    return [
        {
            "image": sample.id,
            "method": method,
            **annotate(METHODS[method](opened, image), target, clicks, opened.classes + 1),
        }
        for method in methods
    ]


def annotate(answer: Answer, target: NDArray[np.uint8], clicks: int, labels: int) -> Line:
    """Click where the mask is wrong until nothing is, or `clicks` times.

    Args:
        answer: clicks → mask.
        target: (H, W), 255 void.
        clicks: at most.
        labels: L, mask values that there are.

    Returns:
        After 0, 1, … clicks: `iou`, the image's; `counts`, non-zero ones of the confusion matrix
        as (true label, label, pixels); `ms` of wall time that the answer took.
    """
    line: Line = {"iou": [], "counts": [], "ms": []}
    for _, mask, ms in answers(answer, target, clicks):
        line["ms"].append(round(ms, 1))
        line["iou"].append(image_iou(target, mask))
        confusion = ConfusionMatrix(labels)
        confusion.update(target, mask)
        line["counts"].append(
            [
                [int(t), int(p), int(confusion.matrix[t, p])]
                for t, p in np.argwhere(confusion.matrix)
            ]
        )
    return line


def answers(
    answer: Answer, target: NDArray[np.uint8], most: int
) -> Iterator[tuple[tuple[Click, ...], NDArray[np.uint8], float]]:
    """Clicks so far, the mask that follows from them, and how long it took.

    Args:
        answer: clicks → mask.
        target: (H, W), 255 void; places the next click.
        most: clicks; fewer where nothing is wrong any more.

    Yields:
        Of 0, 1, … clicks: the clicks, their mask (H, W), milliseconds of wall time.
    """
    made: tuple[Click, ...] = ()
    while True:
        start = time.perf_counter()
        mask = answer(made)
        yield made, mask, 1e3 * (time.perf_counter() - start)
        place = next_click(target, mask)
        if len(made) == most or place is None:
            return
        made = (*made, Click(*place))


def _write(
    config: RunConfig, lines: Mapping[str, Sequence[Line]], clicks: int, skip: int, images: int
) -> Path:
    masks = config.pseudo_masks
    drawn = f", without the first {skip} that the seed draws" if skip else ""
    protocol: dict[str, Any] = {
        "split": f"{config.data.score_split}, {images} images drawn by seed {config.seed}{drawn}, "
        "tags given",
        "classifier": str(config.run),
        "masks": f"scales {list(masks.scales)}, flip {masks.flip}, threshold {masks.background}, "
        f"{masks.crf}, {masks.crf_iterations} iterations, no unsure pixels",
        "clicks": "middle of the largest wrong region, label of the true mask there",
        f"clicks to {GOAL:.0%}": f"per image, of its mean IoU over labels; {clicks} where it isn't "
        "reached",
        "ms": "wall time of an answer to one or more clicks, median and 95th percentile",
        "threads": torch.get_num_threads(),
    }
    table = [{"method": method, **figures(own, clicks, GOAL)} for method, own in lines.items()]
    path = Run(config.run).ablation / "clicks.json"
    write_json(path, {"protocol": protocol, "rows": table})
    write_text(path.with_suffix(".md"), markdown(table, protocol, GOAL))
    return path.with_suffix(".md")
