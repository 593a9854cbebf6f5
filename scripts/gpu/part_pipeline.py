"""Every stage on the sample: steps and images per second, scaled to the whole of VOC 2012.

Two recipes: the released network with the full recipe of `configs/voc12_glnet_4g.yaml` and random
weights, which take as long as trained ones; and `configs/voc61_nano_cpu.yaml` with the packaged
weights. Both trainings are cut to a few steps. The sample is enlarged to VOC's long side of 500
pixels before. An estimate: larger sets are read from slower disks, and the mAP of the held-out
images, the scores and what is read at the start are not in it.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from gpu.facts import ROOT
from gpu.part import Job
from wsss.config import RunConfig, load
from wsss.engine import inference, loop
from wsss.engine.progress import Tracker
from wsss.engine.usage import Usage
from wsss.stages import evaluate, generate_pseudo_masks, predict, train_cls, train_seg

TRAIN_AUG, VAL = 10_582, 1_449
"""Images of VOC 2012 with SBD's masks."""

LONG_SIDE = 500
TINY = [
    "backbone.weights=null",
    "backbone.args={depths: [1, 1, 1, 1], embed_dims: [32, 32, 64, 64], slot_grid: [4, 4]}",
    "train_cls={epochs: 1, batch_size: 4, crop: 64, warmup_steps: 1}",
    "pseudo_masks={scales: [1.0], walks: [{block: '8.0', steps: 2}]}",
    "train_seg={epochs: 1, batch_size: 4, crop: 64, warmup_steps: 1}",
    "evaluate={scales: [1.0], flip: false}",
]


@dataclass(frozen=True)
class Recipe:
    """A recipe by its file: overrides for the sample, steps of the two trainings to time."""

    name: str
    config: str
    overrides: tuple[str, ...]
    steps: tuple[int, int]


RECIPES = (
    Recipe("glnet_4g", "voc12_glnet_4g", ("backbone.weights=null",), (40, 40)),
    Recipe("glnet_nano", "voc61_nano_cpu", ("data.mask_images=null",), (60, 60)),
)


def run(job: Job) -> None:
    """Both recipes as far as the time goes; in small one, made tiny."""
    voc = enlarged(job)
    for recipe in RECIPES[1:] if job.tiny else RECIPES:
        if job.left < 25:
            job.row(recipe.name, "left out: the time was up")
            continue
        with job.attempt(recipe.name):
            one(job, recipe, voc)


def enlarged(job: Job) -> Path:
    """The sample with images of VOC's size."""
    voc = job.voc()
    if job.tiny:
        return voc
    to = job.scratch / "VOC2012"
    for name in ("Annotations", "ImageSets"):
        (to / name).parent.mkdir(parents=True, exist_ok=True)
        (to / name).symlink_to((voc / name).resolve())
    for name, how in (
        ("JPEGImages", Image.Resampling.BICUBIC), ("SegmentationClassAug", Image.Resampling.NEAREST)
    ):  # fmt: skip
        (to / name).mkdir()
        for path in (voc / name).iterdir():
            with Image.open(path) as image:
                scale = LONG_SIDE / max(image.size)
                size = (round(image.width * scale), round(image.height * scale))
                image.resize(size, how).save(to / name / path.name)
    return to


def settings(job: Job, recipe: Recipe, voc: Path) -> RunConfig:
    """The recipe's config on the sample, its trainings cut to a few steps."""
    where = [f"run={job.scratch / recipe.name}", f"data.root={voc}"]
    where += [f"runtime.precision={job.precision}", f"runtime.device={job.device.type}"]
    if job.tiny:
        config = load(None, ["backbone.name=glnet_nano", *TINY, *where])
    else:
        path = ROOT / "configs" / f"{recipe.config}.yaml"
        config = load(path, [*recipe.overrides, *where])
        images = len((voc / "ImageSets/Segmentation/train_aug.txt").read_text().split())
        for section, steps in zip((config.train_cls, config.train_seg), recipe.steps, strict=True):
            section.epochs = steps * section.batch_size / images
            section.warmup_steps = 5
    return config


def one(job: Job, recipe: Recipe, voc: Path) -> None:
    """Rows of a recipe's stages, and their sum for the whole set; one that fails ends none."""
    full = load(ROOT / "configs" / f"{recipe.config}.yaml")
    config = settings(job, recipe, voc)
    minutes: dict[str, float] = {}
    for title, stage, section in (
        ("train-cls", train_cls.run, full.train_cls),
        ("generate-pseudo-masks", generate_pseudo_masks.run, None),
        ("train-seg", train_seg.run, full.train_seg),
    ):
        with job.attempt(f"{recipe.name}, {title}"):
            rate, told = timed(title, lambda stage=stage: stage(config))
            if section is None:
                units, unit = TRAIN_AUG, "images/s"
            else:
                units = int(section.epochs * TRAIN_AUG / section.batch_size)
                unit = "steps/s"
                trained = getattr(config, title.replace("-", "_"))
                told = f"batches of {trained.batch_size} at {trained.crop}²; {told}"
            minutes[title] = units / rate / 60
            job.row(
                f"{recipe.name}, {title}",
                f"{rate:.1f} {unit}",
                f"{told}; {units} of them {minutes[title]:.1f} min",
            )
    for title, changes in (
        ("predict", {"scales": (1.0,), "flip": False, "crf": "none"}),
        ("predict, scales, flip and CRF",
         {"scales": config.evaluate.test_scales, "flip": True, "crf": config.evaluate.test_crf}),
    ):  # fmt: skip
        with job.attempt(f"{recipe.name}, {title}"):
            config.evaluate = config.evaluate.model_copy(update={**changes, "fast": True})
            rate, told = timed("predict", lambda: predict.run_split(config))
            minutes[title] = VAL / rate / 60
            job.row(
                f"{recipe.name}, {title}",
                f"{rate:.1f} images/s",
                f"{told}; {VAL} of them {minutes[title]:.1f} min",
            )
    with job.attempt(f"{recipe.name}, evaluate"):
        start = time.perf_counter()
        evaluate.run(config, "predictions")
        count = len((voc / "ImageSets/Segmentation/val.txt").read_text().split())
        job.row(f"{recipe.name}, evaluate", f"{count / (time.perf_counter() - start):.1f} images/s")
    if len(minutes) == 5:
        job.row(
            f"{recipe.name}, VOC 2012 (an estimate)",
            f"{sum(minutes.values()):.0f} min",
            "best published 124 min on one RTX 3090 (ExCEL); aim under 60 for glnet_4g",
        )


def timed(title: str, work: Callable[[], object]) -> tuple[float, str]:
    """Units per second after the first third, and where the time of the loop went."""
    marks: list[tuple[float, int]] = []
    usages: list[Usage] = []
    with listening(title, marks, usages):
        work()
    if not marks:
        raise RuntimeError(f"{title} found nothing to do")
    total = sum(units for _, units in marks)
    shares = str(usages[0]).partition("(")[2].rstrip(")")
    if len(marks) < 12:
        return total / sum(usages[0].waited.values()), shares
    first = marks[len(marks) // 3 - 1]
    after = sum(units for at, units in marks if at > first[0])
    return after / max(marks[-1][0] - first[0], 1e-9), shares


@contextmanager
def listening(title: str, marks: list[tuple[float, int]], usages: list[Usage]) -> Iterator[None]:
    """Note when units of the title's progress are done, and what loops tell, in their order."""
    advance = Tracker.advance
    modules = (inference, loop)

    def noted(self: Tracker, units: int = 1, **values: float) -> None:
        if self.title == title:
            marks.append((time.perf_counter(), units))
        advance(self, units, **values)

    def begun(*arguments: Any, **options: Any) -> Usage:
        usages.append(Usage(*arguments, **options))
        return usages[-1]

    Tracker.advance = noted  # type: ignore[method-assign]
    for module in modules:
        module.Usage = begun  # type: ignore[attr-defined]
    try:
        yield
    finally:
        Tracker.advance = advance  # type: ignore[method-assign]
        for module in modules:
            module.Usage = Usage  # type: ignore[attr-defined]
