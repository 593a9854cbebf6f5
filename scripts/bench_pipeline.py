#!/usr/bin/env python
"""Speed of every part of the pipeline, alone or against another checkout of this project.

    scripts/bench_pipeline.py [--voc ROOT] [--images 48] [--steps 8] [--rounds 3] [--precision fp32]
    scripts/bench_pipeline.py --against PATH        the checkout in PATH beside this one

Each checkout is a process that runs the commands of `wsss` one after the other on the same images
(of VOC 2012 in `--voc`, else synthetic ones) with the packaged backbone; the processes take turns,
part by part, so that whatever else runs on the machine meets both. Printed are units of work per
second of processor time (all threads), by the round that took least; and the peak of the process's
resident memory within the part. One thread unless OMP_NUM_THREADS says otherwise; CPU only.
"""

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from measuring import head, peak_memory, row

ROOT = Path(__file__).resolve().parent.parent
BATCH = 16
ROWS = "cam;default*;token attention, t=2;pixel affinity, β=10, t=16"


class Part(NamedTuple):
    """A part of the pipeline: its name, the unit of its work, units, and the command's words."""

    name: str
    unit: str
    units: int
    command: list[str]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--voc", type=Path, metavar="ROOT", help="VOC2012 folder")
    parser.add_argument("--images", type=int, default=48)
    parser.add_argument("--steps", type=int, default=8, help="of each training")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--precision", default="fp32", choices=("auto", "fp32", "bf16"))
    parser.add_argument("--against", type=Path, metavar="PATH")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        serve()
        return
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "data"
        write_images(data, arguments.voc, arguments.images)
        checkouts = {"here": ROOT}
        if arguments.against is not None:
            checkouts["there"] = arguments.against.resolve()
        logs = {name: Path(folder) / f"{name}.log" for name in checkouts}
        workers = {name: start(path, logs[name]) for name, path in checkouts.items()}
        listed = {
            name: parts(Path(folder) / name, data, arguments, _kept_seeds(path))
            for name, path in checkouts.items()
        }
        seconds: dict[tuple[str, str], float] = defaultdict(lambda: float("inf"))
        peaks: dict[tuple[str, str], float] = defaultdict(float)
        for _ in range(arguments.rounds):
            for position in range(len(listed["here"])):
                for name, worker in workers.items():
                    part = listed[name][position]
                    taken, peak = ask(worker, part.command, logs[name])
                    key = name, part.name
                    seconds[key] = min(seconds[key], taken)
                    peaks[key] = max(peaks[key], peak)
        for worker in workers.values():
            worker.communicate()
    show([part for part in listed["here"] if part.unit], seconds, peaks, list(checkouts))


def _kept_seeds(checkout: Path) -> list[str]:
    """The setting by which a checkout keeps seeds; earlier ones always did."""
    schema = checkout / "wsss" / "config" / "schema.py"
    asks = schema.is_file() and "keep_seeds" in schema.read_text()
    return ["pseudo_masks.keep_seeds=true"] if asks else []


def parts(
    run: Path, data: Path, arguments: argparse.Namespace, more: Sequence[str] = ()
) -> list[Part]:
    """The commands in their order, with more settings; those without a unit aren't timed."""
    images, steps = arguments.images, arguments.steps
    training = f"epochs: {steps * BATCH / images}, batch_size: {BATCH}, crop: 192"
    settings = [
        f"run={run}",
        f"data.root={data}",
        "data.mask_split=train",
        "data.train_split=train",
        f"train_cls={{{training}, holdout: 0}}",
        f"train_seg={{{training}}}",
        "evaluate.fast=true",
        f"runtime={{device: cpu, precision: {arguments.precision}}}",
        *more,
    ]
    rows = ["ablate.memory=false", "--rows", ROWS]
    folder = str(data / "JPEGImages")
    masks = ["--images", folder, "--out", f"{run}_masks", "--overwrite"]
    return [
        Part("train-cls", "steps/s", steps, ["train-cls", *settings, "--overwrite"]),
        Part(
            "generate-pseudo-masks",
            "images/s",
            images,
            ["generate-pseudo-masks", *settings, "--overwrite"],
        ),
        Part("train-seg", "steps/s", steps, ["train-seg", *settings, "--overwrite"]),
        Part("predict", "images/s", images, ["predict", *settings, *masks]),
        Part("masks to score", "", 0, ["evaluate", *settings]),
        Part("evaluate predictions", "images/s", images, ["evaluate", *settings]),
        Part("evaluate seeds", "images/s", images, ["evaluate", *settings, "--of", "seeds"]),
        Part("ablate", "images/s", images, ["ablate", *settings, *rows, "--overwrite"]),
    ]


def write_images(root: Path, voc: Path | None, count: int) -> None:
    """As many images as every split, of VOC's `train` where it is at hand."""
    if voc is None:
        sys.path.insert(0, str(ROOT))
        from wsss.data.synthetic import write_synthetic_voc

        write_synthetic_voc(root, train=count, val=count, size=256)
        return
    lists = root / "ImageSets" / "Segmentation"
    lists.mkdir(parents=True)
    (root / "JPEGImages").mkdir()
    for name in ("Annotations", "SegmentationClassAug", "SegmentationClass"):
        if (voc / name).is_dir():
            (root / name).symlink_to(voc.resolve() / name)
    ids = (voc / "ImageSets" / "Segmentation" / "train.txt").read_text().split()[:count]
    for id_ in ids:
        (root / "JPEGImages" / f"{id_}.jpg").symlink_to(voc.resolve() / f"JPEGImages/{id_}.jpg")
    for split in ("train", "train_aug", "val"):
        (lists / f"{split}.txt").write_text("".join(f"{id_}\n" for id_ in ids))


def start(checkout: Path, log: Path) -> "subprocess.Popen[str]":
    environment = {"OMP_NUM_THREADS": "1", **os.environ, "PYTHONPATH": str(checkout)}
    with log.open("w") as errors:
        return subprocess.Popen(
            [sys.executable, __file__, "--worker"],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )


def ask(worker: "subprocess.Popen[str]", command: list[str], log: Path) -> tuple[float, float]:
    assert worker.stdin is not None and worker.stdout is not None
    worker.stdin.write(json.dumps(command) + "\n")
    worker.stdin.flush()
    line = worker.stdout.readline()
    answer = json.loads(line or '{"error": "ended"}')
    if "error" in answer:
        last = "\n".join(log.read_text().splitlines()[-5:])
        sys.exit(f"wsss {' '.join(command)}: {answer['error']}\n{last}")
    return answer["seconds"], answer["peak"]


def serve() -> None:
    """Run the commands that come in, a JSON list a line; answer with seconds and peak memory."""
    sys.path.remove(str(Path(__file__).parent))
    import torch  # noqa: F401  so that no part pays for it

    from wsss import pipeline  # noqa: F401
    from wsss.cli import app

    for line in sys.stdin:
        with contextlib.suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")  # the peak starts again
        begun = time.process_time()
        try:
            with contextlib.redirect_stdout(sys.stderr):
                code = app(json.loads(line), standalone_mode=False)
            answer: dict[str, object] = {"error": f"exit code {code}"} if code else {}
        except Exception as error:
            answer = {"error": str(error)}
        answer |= {"seconds": time.process_time() - begun, "peak": 0.0}
        with contextlib.suppress(OSError):
            answer["peak"] = peak_memory()
        print(json.dumps(answer), flush=True)


def show(
    listed: list[Part],
    seconds: dict[tuple[str, str], float],
    peaks: dict[tuple[str, str], float],
    names: list[str],
) -> None:
    other = names[1] if len(names) > 1 else None
    if other is None:
        head("part", "speed", "peak MiB")
    else:
        head("part", "there", "here", "×", "peak MiB there", "here")
    for part in listed:
        here = seconds["here", part.name]
        speed = f"{part.units / here:.2f} {part.unit}"
        if other is None:
            row(part.name, speed, f"{peaks['here', part.name]:.0f}")
        else:
            there = seconds[other, part.name]
            memory = (f"{peaks[name, part.name]:.0f}" for name in (other, "here"))
            row(part.name, f"{part.units / there:.2f}", speed, f"{there / here:.2f}", *memory)


if __name__ == "__main__":
    main()
