"""Milliseconds per image of the dense CRF by preset, labels and batch, and its agreement."""

import numpy as np
import torch
from bench_crf import probabilities
from PIL import Image
from torch import Tensor

from gpu.measure import seconds_of
from gpu.part import Job
from wsss.crf import PRESETS, DenseCRF

GOAL = {("psa", 3): "goal ≤ 2 ms at 16", ("psa", 21): "goal ≤ 5 ms at 16"}


def run(job: Job) -> None:
    """A row per preset and number of labels."""
    batches = (1, 2) if job.tiny else (1, 8, 16)
    images = load(job, max(batches))
    presets = list(PRESETS)[:1] if job.tiny else ["psa", *(p for p in PRESETS if p != "psa")]
    for preset in presets:
        for labels in (3, 21):
            if job.left < 5:
                job.row("further presets", "left out: the time was up")
                return
            with job.attempt(f"{preset}, {labels} labels"):
                measure(job, preset, labels, images, batches)


def load(job: Job, count: int) -> list[Tensor]:
    """Images (3, 375, 500) of the sample or drawn."""
    size = (60, 45) if job.tiny else (500, 375)
    paths = sorted((job.voc() / "JPEGImages").glob("*.jpg"))[:count]
    images = [np.array(Image.open(p).convert("RGB").resize(size)) for p in paths]
    return [torch.from_numpy(image).permute(2, 0, 1).contiguous() for image in images]


def measure(
    job: Job, preset: str, labels: int, images: list[Tensor], batches: tuple[int, ...]
) -> None:
    """Times by batch, and the labels of an image on the device beside the CPU's."""
    probs = [probabilities(image, labels, i, "scene") for i, image in enumerate(images)]
    crf = DenseCRF(preset)
    there = [image.to(job.device) for image in images], [p.to(job.device) for p in probs]
    times = []
    for batch in batches:
        some = [one[:batch] for one in there]
        seconds = seconds_of(
            lambda some=some: crf(*some), job.device, 0.01 if job.tiny else 0.5, most=20
        )
        times.append(f"{1e3 * seconds / batch:.2f}")
    cold = seconds_of(
        lambda: DenseCRF(preset)(there[0][:1], there[1][:1]), job.device, 0.01, most=3
    )
    mine, theirs = crf(there[0][:1], there[1][:1])[0].cpu(), crf(images[:1], probs[:1])[0]
    equal = (mine.argmax(0) == theirs.argmax(0)).float().mean().item()
    height, width = images[0].shape[1:]
    job.row(
        f"{preset}, {labels} labels, {width}×{height}",
        f"{' / '.join(times)} ms per image at {' / '.join(map(str, batches))} images",
        f"{100 * equal:.3f} % of the CPU's labels, gap {(mine - theirs).abs().max():.0e}; a new "
        f"object {1e3 * cold:.1f} ms; {GOAL.get((preset, labels), 'no goal')}",
    )
