#!/usr/bin/env python
"""What a run of very many images takes: bytes, files, seconds to go on, memory.

    scripts/bench_scale.py storage RUN --images 100000   files of RUN, repeated so many times
    scripts/bench_scale.py rows --images 1000000         the tables alone, without a file

`storage` takes a run that kept its seeds, repeats its images (by links, on their disk), masks and
seeds under other names, and measures what is listed and looked at, and how long stage 2 takes to go
on when one mask is missing. Times are of one process, files in the system's cache.
"""

import argparse
import csv
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from measuring import head, peak_memory, row

from wsss.config import RunConfig, parse
from wsss.data.images import Sample, TaggedDataset
from wsss.data.open import open_stage
from wsss.files import names_below
from wsss.run.state import Run, Work, open_run

ROOT = Path(__file__).resolve().parent.parent


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("storage", "rows"))
    parser.add_argument("run", type=Path, nargs="?")
    parser.add_argument("--images", type=int, default=100_000)
    parser.add_argument("--folder", type=Path, help="where the files go, and are removed again")
    arguments = parser.parse_args()
    if arguments.what == "rows":
        return rows(arguments.images)
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        return storage(arguments.run, arguments.images, Path(folder))


def timed(what: str, call: Callable[[], object]) -> None:
    """A row of the table: wall seconds, and seconds of this process."""
    start, own = time.monotonic(), time.process_time()
    call()
    wall, own = time.monotonic() - start, time.process_time() - own
    row(what, f"{wall:.1f} s", f"{own:.1f} s", f"{peak_memory():.0f} MiB")


def storage(source: Path, images: int, folder: Path) -> int:
    old = open_run(source)
    tagged, _ = open_stage(old.data, old.seed, "pseudo_masks")
    kept = names_below(Run(source).seeds, ".npz")
    samples = [sample for sample in tagged.samples if sample.id in kept]
    config = repeat(old, samples, tagged.class_names, images, folder)
    run = Run(config.run)
    for what in (run.pseudo_masks, run.seeds):
        sizes = [entry.stat().st_size for entry in os.scandir(what) if not entry.is_dir()]
        print(f"{what.name}: {len(sizes)} files, {np.mean(sizes):.0f} bytes an image")
    ids = [f"image_{i:07d}" for i in range(images)]
    head("", "wall", "processor", "peak")
    timed("`ls` of the masks", lambda: os.system(f"ls {run.pseudo_masks} > /dev/null"))
    timed("one look at every mask", lambda: [run.pseudo_mask(i).is_file() for i in ids])
    timed("one listing", lambda: names_below(run.pseudo_masks, ".png"))
    go_on("stage 2 goes on, one image left", config, ids[-1])
    shutil.rmtree(run.seeds)
    go_on("the same without seeds", config, ids[-1])
    return 0


def repeat(
    old: RunConfig, samples: list[Sample], class_names: tuple[str, ...], images: int, folder: Path
) -> RunConfig:
    """A run of so many images, all but finished with stage 2."""
    (folder / "images").mkdir()
    chosen = [samples[i % len(samples)] for i in range(images)]
    with (folder / "tags.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("image", "tags"))
        for i, sample in enumerate(chosen):
            name = f"image_{i:07d}"
            writer.writerow((name, ";".join(class_names[tag] for tag in sample.tags)))
            os.link(sample.path, folder / "images" / f"{name}{sample.path.suffix}")
    changed = old.model_dump(mode="json") | {
        "run": str(folder / "run"),
        "data": {
            "images": str(folder / "images"),
            "tags": str(folder / "tags.csv"),
            "class_names": list(class_names),
        },
    }
    config = parse(changed, "the benchmark")
    first, run = Run(old.run), Run(config.run)
    shutil.copytree(first.root / "train_cls", run.root / "train_cls")
    run.settings("train_cls").unlink(missing_ok=True)
    _, digests = open_stage(config.data, config.seed, "pseudo_masks")
    work = Work(config, "pseudo_masks", digests)
    work.begin()
    work.release()
    run.seeds.mkdir()
    for i, sample in enumerate(chosen):
        name = f"image_{i:07d}"
        shutil.copyfile(first.pseudo_mask(sample.id), run.pseudo_mask(name))
        shutil.copyfile(first.seed(sample.id), run.seed(name))
    return config


def go_on(what: str, config: RunConfig, missing: str) -> None:
    """A start of stage 2 in a process of its own, whose first image is what it has to make."""
    run = Run(config.run)
    run.done("pseudo_masks").unlink(missing_ok=True)
    run.pseudo_mask(missing).unlink()
    keep = str(run.seeds.is_dir()).lower()
    program = (
        "import resource, sys, time\n"
        "from wsss.cli import app\n"
        "from wsss.stages import generate_pseudo_masks as stage\n"
        "start, process = (time.monotonic(), time.process_time()), stage.process\n"
        "def noted(*arguments):\n"
        "    print(time.monotonic() - start[0], time.process_time() - start[1], file=sys.stderr)\n"
        "    return process(*arguments)\n"
        "stage.process = noted\n"
        "try:\n    app(sys.argv[1:])\n"
        "except SystemExit as end:\n    assert not end.code, end.code\n"
        "print(time.monotonic() - start[0], time.process_time() - start[1],\n"
        "      resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, file=sys.stderr)\n"
    )
    words = ["generate-pseudo-masks", str(run.root), f"pseudo_masks.keep_seeds={keep}"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", program, *words, "runtime.device=cpu", "runtime.threads=1"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr)
    assert run.finished("pseudo_masks")
    lines = done.stderr.splitlines()
    first = next(line for line in lines if line.replace(".", "").replace(" ", "").isdigit())
    for part, line in (("until its first image", f"{first} 0"), ("to its end", lines[-1])):
        wall, own, memory = map(float, line.split())
        shown = f"{memory:.0f} MiB" if memory else ""
        row(f"{what}, {part}", f"{wall:.1f} s", f"{own:.1f} s", shown)


def rows(images: int) -> int:
    rng = np.random.default_rng(0)
    names = tuple(f"class {k}" for k in range(80))
    head("", "wall", "processor", "peak")
    made: list[TaggedDataset] = []

    def make() -> None:
        samples = []
        for i in range(images):
            tags = tuple(sorted(set(rng.integers(0, 80, rng.integers(1, 5)).tolist())))
            name = f"part{i // 1000:04d}/image_{i:07d}"
            samples.append(Sample(name, Path("/images", f"{name}.jpg"), tags))
        made.append(TaggedDataset(names, tuple(samples)))

    timed("samples in memory", make)
    timed("digest", made[0].digest)
    timed("holdout", lambda: made[0].split_holdout(0.05, 0))
    return 0


if __name__ == "__main__":
    sys.exit(main())
