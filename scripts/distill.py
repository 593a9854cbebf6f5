"""Distil an ImageNet classifier into a GLNet from unlabelled images.

python scripts/distill.py CONFIG [key=value ...]              train, or go on where the run stopped
python scripts/distill.py CONFIG [key=value ...] --evaluate   agreement on held images, slots
python scripts/distill.py CONFIG [key=value ...] --export F   averaged weights → F, bf16 safetensors
"""

import argparse
import dataclasses
import json
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path

import torch
from distill_config import Recipe, load_recipe
from distill_images import (
    Images,
    centre_crops,
    decode_images,
    is_held,
    list_images,
    mixed,
    random_crops,
)
from distill_run import (
    Lesson,
    State,
    agreement,
    answers,
    export,
    lesson,
    resize,
    save,
    set_head,
    slot_table,
    start,
    train_step,
)
from distill_teachers import Teacher, load_teacher
from torch import Tensor

from wsss.errors import WsssError

# of whose answers the head is made
HEAD_CROPS = 1024


def train(recipe: Recipe) -> Path:
    """Run the recipe to its end, from its checkpoint if there is one; gives that path."""
    out = Path(recipe.out)
    out.mkdir(parents=True, exist_ok=True)
    paths = list_images(recipe.folders, recipe.voc_root, recipe.voc_split)
    trained, held_paths = split(recipe, paths)
    images = decode_images(trained, recipe.short_side)
    held = whole_crops(recipe, held_paths)
    teacher = load_teacher(recipe.teacher)
    held_answers = teacher_answers(teacher, held, recipe.teacher_size)
    state = start(recipe, precise(teacher, recipe))
    if state.step == 0 and not recipe.init:
        first = islice(lessons(recipe, teacher, images, 0), -(-HEAD_CROPS // recipe.batch))
        set_head(state, torch.cat([batch.logits for batch in first]))
    log(
        out,
        {"images": len(images), "held": len(held), "step": state.step} | dataclasses.asdict(recipe),
    )
    sums: dict[str, float] = defaultdict(float)
    seen, clock = 0, (time.process_time(), time.time())
    for batch in lessons(recipe, teacher, images, state.step):
        for name, value in train_step(state, batch).items():
            sums[name] += value
        seen += 1
        last = state.step == recipe.steps
        if state.step % recipe.check_every == 0 or last:
            row: dict[str, object] = {"step": state.step, "size": recipe.size_at(state.step - 1)}
            row |= {name: round(value / seen, 4) for name, value in sums.items()}
            row |= {
                "cpu_s": time.process_time() - clock[0],
                "wall_s": time.time() - clock[1],
                "steps": seen,
            }
            size = int(recipe.sizes[-1][1])
            row["held"] = agreement(answers(state.averaged, held, size), held_answers)
            row["slots"] = slot_table(state.averaged, held[:64], size)
            log(out, row)
            sums.clear()
            seen, clock = 0, (time.process_time(), time.time())
        if state.step % recipe.save_every == 0 or last:
            save(state)
    return out / "last.pt"


def evaluate(recipe: Recipe) -> dict[str, object]:
    """Agreement of the averaged weights with the teacher: held images, by source, trained ones.

    As many of the trained ones, evenly spread: what lies between the two was learnt by heart.
    """
    teacher, state = _finished(recipe)
    paths = list_images(recipe.folders, recipe.voc_root, recipe.voc_split)
    size = int(recipe.sizes[-1][1])

    def both(crops: Tensor) -> tuple[Tensor, Tensor]:
        theirs = teacher_answers(teacher, crops, recipe.teacher_size)
        return answers(state.averaged, crops, size), theirs

    trained, held_paths = split(recipe, paths)
    held = whole_crops(recipe, held_paths)
    mine, theirs = both(held)
    result: dict[str, object] = {
        "step": state.step,
        "images": len(held),
        "size": size,
        "teacher_size": recipe.teacher_size,
        "all": agreement(mine, theirs),
    }
    sources = [p.stem.split("_")[0] if not p.stem[0].isdigit() else "voc" for p in held_paths]
    for source in sorted(set(sources)):
        rows = torch.tensor([s == source for s in sources])
        result[source] = {"images": int(rows.sum())} | agreement(mine[rows], theirs[rows])
    crops = whole_crops(recipe, trained[:: max(1, len(trained) // len(held))])
    result["trained"] = {"images": len(crops)} | agreement(*both(crops))
    result["slots"] = slot_table(state.averaged, held[:64], size)
    return result


def _finished(recipe: Recipe) -> tuple[Teacher, State]:
    if not (Path(recipe.out) / "last.pt").exists() and not recipe.init:
        raise WsssError(f"There is no last.pt in {recipe.out}; train first, or give init=WEIGHTS.")
    teacher = load_teacher(recipe.teacher)
    return teacher, start(recipe, teacher)


def split(recipe: Recipe, paths: list[Path]) -> tuple[list[Path], list[Path]]:
    """The images to train on, and those held out."""
    held = [is_held(path, recipe.held_one_in) for path in paths]
    pairs = list(zip(paths, held, strict=True))
    return [p for p, out in pairs if not out], [p for p, out in pairs if out]


def whole_crops(recipe: Recipe, paths: list[Path]) -> Tensor:
    """Centre crops of images, (n, 3, short_side, short_side) in 0–1."""
    return centre_crops(decode_images(paths, recipe.short_side), recipe.short_side)


@torch.no_grad()
def teacher_answers(teacher: Teacher, crops: Tensor, size: int) -> Tensor:
    """The teacher's logits for the same crops, seen at its own size."""
    return torch.cat([teacher(resize(x, size)).logits for x in crops.split(64)])


def precise(teacher: Teacher, recipe: Recipe) -> Teacher:
    """The teacher in the recipe's precision (held answers are taken in float32 before)."""
    if recipe.bf16:
        for p in teacher.parameters():
            p.data = p.data.to(torch.bfloat16)
    return teacher


def crops_of(recipe: Recipe, images: Images, step: int) -> Tensor:
    """The crops of a step at the teacher's size, a share of them mixed: (B, 3, T, T) in 0–1."""
    crops = random_crops(
        images,
        seed=recipe.seed,
        step=step,
        batch=recipe.batch,
        size=recipe.teacher_size,
        min_area=recipe.min_area,
    )
    return mixed(crops, seed=recipe.seed, step=step, share=recipe.mix) if recipe.mix else crops


def lessons(recipe: Recipe, teacher: Teacher, images: Images, step: int) -> Iterator[Lesson]:
    """The batches from a step to the end; a thread asks the teacher one batch ahead."""

    def prepare(step: int) -> Lesson:
        crops = crops_of(recipe, images, step)
        return lesson(teacher, crops, recipe.size_at(step), locations=recipe.dense > 0)

    if step >= recipe.steps:
        return
    with ThreadPoolExecutor(1) as pool:
        ahead = pool.submit(prepare, step)
        for following in range(step + 1, recipe.steps + 1):
            batch = ahead.result()
            if following < recipe.steps:
                ahead = pool.submit(prepare, following)
            yield batch


def log(out: Path, row: dict[str, object]) -> None:
    """One JSON line to the run's log.jsonl and to the terminal."""
    line = json.dumps(row | {"time": time.strftime("%H:%M:%S")}, ensure_ascii=False)
    print(line, flush=True)
    with (out / "log.jsonl").open("a") as file:
        file.write(line + "\n")


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("config", type=Path)
    parser.add_argument("overrides", nargs="*", metavar="key=value")
    parser.add_argument("--evaluate", action="store_true")
    parser.add_argument("--export", type=Path, metavar="FILE")
    args = parser.parse_args(arguments)
    try:
        recipe = load_recipe(args.config, args.overrides)
        if args.evaluate:
            print(json.dumps(evaluate(recipe), indent=2))
        elif args.export:
            print(export(_finished(recipe)[1], args.export))
        else:
            print(train(recipe))
    except WsssError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
