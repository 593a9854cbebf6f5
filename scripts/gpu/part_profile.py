"""Where the time of stage 2 and of a training step goes, and how often the host waits.

Stage 2 is the slowest by image. The tables of the 25 longest kernels are in the log.
"""

import warnings
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.profiler import ProfilerActivity, profile

from gpu.facts import ROOT
from gpu.measure import precision, seconds_of, synchronise
from gpu.part import Job
from gpu.part_pipeline import TINY
from wsss.config import RunConfig, load
from wsss.crf import make_crf
from wsss.data.augment import normalise_pixels
from wsss.engine.inference import to_device
from wsss.engine.profile import Stopwatch
from wsss.models.classifier import TagClassifier, new_classifier
from wsss.models.soft_seeds import seed_probs, soft_seeds
from wsss.seeding.masks import harden, refine

SHOWN = 5
CLASSES = 20
Named = tuple[str, Callable[[], object], int]
"""What is profiled, the call, and the images that it takes."""


def run(job: Job) -> None:
    """Stage 2 on a batch, and a step of the classifier."""
    where = [f"data.root={job.scratch}", "backbone.name=glnet_4g", "backbone.weights=null"]
    if job.tiny:
        config = load(None, [*where, *TINY, "backbone.name=glnet_nano"])
    else:
        config = load(ROOT / "configs" / "voc12_glnet_4g.yaml", where)
    model = new_classifier(config, CLASSES).to(job.device)
    model = model.to(memory_format=torch.channels_last)
    for name, call, images in calls(job, config, model):
        if job.left < 8:
            job.row(name, "left out: the time was up")
            return
        with job.attempt(name):
            report(job, name, call, images)


def calls(job: Job, config: RunConfig, model: TagClassifier) -> Iterator[Named]:
    """What is profiled, one after the other."""
    size, batch = ((64, 64), 2) if job.tiny else ((500, 375), 16)
    paths = sorted((job.voc() / "JPEGImages").glob("*.jpg"))[:batch]
    images = [np.array(Image.open(path).convert("RGB").resize(size)) for path in paths]
    tags = [[i % CLASSES, (7 * i + 3) % CLASSES] for i in range(len(images))]
    settings, crf = config.pseudo_masks, make_crf(config.pseudo_masks.crf)
    watch = Stopwatch(job.device)

    @torch.inference_mode()
    def stage_2() -> None:
        pixels = to_device(images, job.device)
        autocast = partial(precision, job.precision, job.device)
        softs = soft_seeds(model.eval(), pixels, tags, settings, watch, autocast)
        probs = [seed_probs(soft, images[0].shape[:2], settings) for soft in softs]
        refined = refine(list(pixels), probs, crf)
        labels = [
            harden(p, [t + 1 for t in own], 0.7) for p, own in zip(refined, tags, strict=True)
        ]
        torch.stack(labels).cpu()

    yield f"{config.backbone.name}, stage 2 without files, {batch} images", stage_2, batch

    optimizer = torch.optim.AdamW(model.parameters())
    crop = config.train_cls.crop
    pixels = torch.randint(0, 256, (config.train_cls.batch_size, 3, crop, crop), dtype=torch.uint8)
    x = normalise_pixels(pixels.to(job.device)).contiguous(memory_format=torch.channels_last)
    y = torch.zeros(len(x), CLASSES, device=job.device)

    def step() -> None:
        with precision(job.precision, job.device):
            loss = model.loss(model.train()(x), y, 0.5)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    yield f"{config.backbone.name}, step of train-cls, {len(x)} at {crop}²", step, len(x)


def report(job: Job, name: str, call: Callable[[], object], images: int) -> None:
    """Rows: time and busy share, waits, and the kernels that take the longest."""
    seconds = seconds_of(call, job.device, 0.1 if job.tiny else 1.0, most=5)
    waits = count_waits(job, call)
    activities = [ProfilerActivity.CPU]
    if job.device.type != "cpu":
        activities.append(ProfilerActivity.CUDA)
    with profile(activities=activities) as profiled:
        call()
        synchronise(job.device)
    events = profiled.key_averages()
    side = "cpu" if job.device.type == "cpu" else "device"
    print(events.table(sort_by=f"self_{side}_time_total", row_limit=25))

    def own(event: Any) -> float:
        return float(getattr(event, f"self_{side}_time_total"))

    kernels = sorted(
        (e for e in events if side == "cpu" or str(e.device_type).endswith("CUDA")),
        key=own,
        reverse=True,
    )
    busy = sum(map(own, kernels)) / 1e6
    launched = sum(e.count for e in kernels)
    job.row(
        name,
        f"{1e3 * seconds / images:.2f} ms per image",
        f"{side} busy {busy / seconds:.0%}, {launched / images:.0f} "
        f"{'operations' if side == 'cpu' else 'kernels'} per image, {waits}",
    )
    for event in kernels[:SHOWN]:
        share = own(event) / max(1e6 * busy, 1e-9)
        what = event.key[:70].replace("\n", " ")
        job.row(f"… {what}", f"{share:.0%} of busy time", f"{event.count} calls")


def count_waits(job: Job, call: Callable[[], object]) -> str:
    """How often the host waits for the device in a call."""
    if job.device.type == "cpu":
        return "no device to wait for"
    torch.cuda.set_sync_debug_mode("warn")
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            call()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    found = [w for w in caught if "synchronizing" in str(w.message)]
    places: dict[str, int] = {}
    for one in found:
        place = f"{one.filename.rpartition('/')[2]}:{one.lineno}"
        places[place] = places.get(place, 0) + 1
    for place, count in sorted(places.items(), key=lambda item: -item[1]):
        print(f"waits {count} times at {place}")
    return f"{len(found)} waits in a call"
