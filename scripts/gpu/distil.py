"""Distillation by the clock: `scripts/distill.py`'s losses and optimisers, on a device.

As many steps are planned as fit into the minutes at the speed of the first ones; the learning rate
falls to 0 over the last of them. Writes averaged weights (bf16, released naming) to `--out`, and
beside them the agreement with the teacher on held-out images, as JSON.
"""

import argparse
import json
import sys
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import torch
import yaml
from distill import crops_of, precise, split, teacher_answers, whole_crops
from distill_config import Recipe
from distill_images import Images, decode_images, list_images
from distill_run import (
    State,
    agreement,
    answers,
    export,
    learning_rate,
    lesson,
    set_head,
    start,
    train_step,
)
from distill_teachers import Teacher, load_teacher
from torch import Tensor

from gpu.distil_command import arguments
from wsss.errors import WsssError

WARM = 30
"""Steps after which the speed is measured."""

HELD = 1000
"""Held-out images at most."""


def recipe_of(args: argparse.Namespace) -> Recipe:
    """The recipe of `configs/distill_nano.yaml` in one short piece, on what was taken along."""
    voc = args.folder / "VOC2012"
    recipe = Recipe(
        model=args.model,
        model_args=yaml.safe_load(args.model_args),
        teacher=args.teacher,
        folders=[str(args.folder / "excerpts")],
        voc_root=str(voc) if voc.is_dir() else None,
        sizes=[[1.0, 160]],
        batch=args.batch,
        steps=10**6,
        lr=args.lr,
        warmup=100,
        cooldown=0.4,
        ema=0.998,
        mix=0.9,
        kl=0.2,
        dense=0.5,
        min_area=0.15,
        out=str(args.out.parent / "distil_run"),
    )
    if args.tiny:
        recipe.batch, recipe.teacher_size, recipe.sizes = 4, 64, [[1.0, 64]]
        recipe.model_args = {**recipe.model_args, "depths": [1, 1, 2, 1]}
        recipe.short_side = 64
    return recipe


def crops(recipe: Recipe, images: Images, threads: int) -> Iterator[Tensor]:
    """The batches of all steps; threads cut them ahead."""
    with ThreadPoolExecutor(threads) as pool:
        waiting: deque[Future[Tensor]] = deque()
        step = 0
        try:
            while True:
                while len(waiting) < 2 * threads:
                    waiting.append(pool.submit(crops_of, recipe, images, step))
                    step += 1
                yield waiting.popleft().result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def distil(args: argparse.Namespace) -> dict[str, object]:
    """Train until the time is up; returns what is written as JSON."""
    begun = time.monotonic()
    device = torch.device("cuda", 0) if torch.cuda.is_available() else torch.device("cpu")
    threads = 1 if device.type == "cpu" else 12
    recipe = recipe_of(args)
    trained, held_paths = split(
        recipe, list_images(recipe.folders, recipe.voc_root, recipe.voc_split)
    )
    if args.tiny:
        trained, held_paths = trained[:16], held_paths[:4]
    images, held = decode_images(trained, recipe.short_side), whole_crops(recipe, held_paths[:HELD])
    held = held.to(device)
    teacher = load_teacher(recipe.teacher).to(device)
    expected = teacher_answers(teacher, held, recipe.teacher_size)
    state = start(recipe, precise(teacher, recipe))
    end = begun + 60 * args.minutes - (0 if args.tiny else 15)  # to measure and to write
    told = train(state, teacher, crops(recipe, images, threads), end, 3 if args.tiny else None)
    size = int(recipe.sizes[-1][1])
    export(state, args.out)
    return {
        "model": recipe.model,
        "model_args": recipe.model_args,
        "parameters": sum(p.numel() for p in state.student.parameters()),
        "device": torch.cuda.get_device_name() if device.type == "cuda" else "cpu",
        "images": len(images),
        **told,
        "held": {"images": len(held), **agreement(answers(state.averaged, held, size), expected)},
        "minutes": round((time.monotonic() - begun) / 60, 2),
    }


def train(
    state: State, teacher: Teacher, batches: Iterator[Tensor], end: float, steps: int | None
) -> dict[str, object]:
    """Steps until `end` on the monotonic clock, or so many; the last losses and the speed."""
    recipe = state.recipe
    device = next(teacher.parameters()).device
    # the first batches are asked about twice: for the head, and as a step
    kept = [next(batches) for _ in range(max(1, min(8, 1024 // recipe.batch)))]
    with torch.no_grad():
        logits = torch.cat([teacher(x.to(device)).logits for x in kept])
    set_head(state, logits.float())
    if steps is not None:
        recipe.steps = steps
    started, measured, losses = time.monotonic(), 0.0, {}
    while state.step < recipe.steps and time.monotonic() < end:
        x = kept.pop() if kept else next(batches)
        batch = lesson(
            teacher, x.to(device, non_blocking=True), int(recipe.sizes[0][1]), recipe.dense > 0
        )
        losses = train_step(state, batch)
        if state.step == WARM:
            measured = time.monotonic()
        if steps is None and state.step == 2 * WARM:
            each = (time.monotonic() - measured) / WARM
            recipe.steps = state.step + int(0.98 * (end - time.monotonic()) / each)
            print(f"{1 / each:.1f} steps/s: {recipe.steps} steps", flush=True)
        if state.step % 100 == 0 or state.step == recipe.steps:
            words = " ".join(f"{name} {value:.3f}" for name, value in losses.items())
            rate = learning_rate(recipe, state.step)
            print(f"step {state.step} lr {rate:.5f} {words}", flush=True)
    batches.close()  # type: ignore[attr-defined]
    seconds = time.monotonic() - started
    return {
        "steps": state.step,
        "batch": recipe.batch,
        "images_per_s": round(state.step * recipe.batch / max(seconds, 1e-9), 1),
        "losses": {name: round(value, 4) for name, value in losses.items()},
    }


def main() -> int:
    """Returns 2 where something is missing."""
    args = arguments()
    args.out = args.out.resolve()
    args.out.parent.mkdir(parents=True, exist_ok=True)
    try:
        told = distil(args)
    except WsssError as error:
        print(error, file=sys.stderr)
        return 2
    Path(args.out).with_suffix(".json").write_text(json.dumps(told, indent=1))
    print(json.dumps(told, indent=1))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
