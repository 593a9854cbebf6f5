#!/usr/bin/env python
"""What several processes make, how they share work, and how they come through a kill.

    scripts/check_processes.py digests   2 and 4 processes make the files of one
    scripts/check_processes.py slow      4 processes: one slow, one stopped, one with a panorama
    scripts/check_processes.py kill      kill -9 one in each stage, under torchrun --max-restarts

On synthetic images and CPUs (gloo), without a network, with one thread a process. `--world` gives
other numbers of processes, `--keep FOLDER` keeps what was made.
"""

import argparse
import contextlib
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from measuring import head, row

ROOT = Path(__file__).resolve().parent.parent
TORCHRUN = [sys.executable, "-m", "torch.distributed.run"]
PROGRAM = "from wsss.cli import main\nmain()\n"
TINY = [
    "backbone.name=glnet_nano",
    "backbone.weights=null",
    "backbone.args={depths: [1, 1, 1, 1], embed_dims: [32, 32, 64, 64], slot_grid: [4, 4]}",
    "train_cls={epochs: 4, batch_size: 8, crop: 64, holdout: 0.2, warmup_steps: 1}",
    "train_seg={epochs: 4, batch_size: 8, crop: 64, warmup_steps: 1, ema: 0.5}",
    "pseudo_masks={scales: [1.0], walks: [{block: '8.0', steps: 2}], keep_seeds: true}",
    "runtime={device: cpu, threads: 1, workers: 0, precision: fp32, save_every: 0}",
    "data.mask_split=train",
]
SHARING = '''
"""A loop over images that cost so much, as `process` shares it; prints the seconds it took."""
import json, os, sys, time
from pathlib import Path
import torch
from wsss.engine import team as team_module
from wsss.engine.inference import Steps, process
from wsss.engine.runtime import Runtime, join

folder, dealt, slow, costs = json.loads(sys.argv[1])
team = join()
Path(folder, f"pid{team.rank}").write_text(str(os.getpid()))
if not dealt:  # every n-th image, as --shard i/n shares them
    team_module.Deal.__iter__ = lambda self: iter(self._items[team.rank :: team.world])
factor = 2.0 if team.rank == slow else 1.0

def compute(batch):
    time.sleep(factor * costs[batch[0]])
    return batch

steps = Steps(lambda item: item, lambda item: 0, compute, lambda item: None)
team.once(lambda: None)
start = time.monotonic()
process(range(len(costs)), steps, Runtime(torch.device("cpu"), team), "images")
if team.is_main:
    Path(folder, "seconds").write_text(str(time.monotonic() - start))
'''


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("digests", "slow", "kill"))
    parser.add_argument("--world", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--keep", type=Path, metavar="FOLDER")
    arguments = parser.parse_args()
    with contextlib.ExitStack() as stack:
        made = arguments.keep or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        made.mkdir(parents=True, exist_ok=True)
        (made / "wsss_main.py").write_text(PROGRAM)
        (made / "sharing.py").write_text(SHARING)
        if arguments.what == "digests":
            return digests(made, arguments.world)
        return slow(made) if arguments.what == "slow" else kill(made)


def start(
    folder: Path, program: str, words: Sequence[object], world: int, *options: str
) -> subprocess.Popen[str]:
    """A program in `world` processes under torchrun; what it prints goes to its log."""
    command = [*TORCHRUN, "--standalone", "--nproc-per-node", str(world), *options]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    with (folder / "log").open("w") as log:
        return subprocess.Popen(
            [*command, str(folder / program), *map(str, words)],
            env=environment,
            stdout=log,
            stderr=subprocess.STDOUT,
            text=True,
        )


def finish(folder: Path, process: subprocess.Popen[str]) -> None:
    if process.wait() != 0:
        sys.exit((folder / "log").read_text())


def settings(folder: Path, run: Path) -> list[str]:
    """Of a run on synthetic images, drawn where missing."""
    sys.path.insert(0, str(ROOT))
    from wsss.data.synthetic import write_synthetic_voc

    write_synthetic_voc(folder / "VOC", train=48, val=12, size=96)
    return [*TINY, f"run={run}", f"data.root={folder / 'VOC'}"]


def digest(run: Path, pattern: str) -> str:
    """Of the names and bytes of files, in their order."""
    whole = hashlib.sha256()
    files = sorted(run.glob(pattern))
    for file in files:
        whole.update(str(file.relative_to(run)).encode() + file.read_bytes())
    return f"{len(files)} files, {whole.hexdigest()[:12]}" if files else "nothing"


MADE = {
    "seeds": "seeds/*.npz",
    "pseudo-masks": "pseudo_masks/*.png",
    "their scores": "pseudo_masks/scores.csv",
    "predictions": "predictions/**/*.png",
    "evaluations": "evaluation/*_*.json",
    "confusion": "evaluation/*.csv",
}


def digests(folder: Path, worlds: Sequence[int]) -> int:
    """Stage 2, predictions and scores of the same two networks by several numbers of processes."""
    first = folder / "first"
    finish(folder, start(folder, "wsss_main.py", ["run", *settings(folder, first)], 1))
    found: dict[int, dict[str, str]] = {}
    for world in worlds:
        run = folder / f"by_{world}"
        shutil.rmtree(run, ignore_errors=True)
        shutil.copytree(first / "train_cls", run / "train_cls")
        words = settings(folder, run)
        finish(folder, start(folder, "wsss_main.py", ["generate-pseudo-masks", *words], world))
        shutil.copytree(first / "train_seg", run / "train_seg")
        os.utime(run / "train_seg" / "done.json")
        finish(folder, start(folder, "wsss_main.py", ["run", *words], world))
        found[world] = {what: digest(run, pattern) for what, pattern in MADE.items()}
    head("made", *(f"{world} processes" for world in worlds))
    for what in MADE:
        row(what, *(found[world][what] for world in worlds))
    same = all(made == found[worlds[0]] for made in found.values())
    print("the same" if same else "DIFFERENT")
    return 0 if same else 1


IMAGES, COST, WORLD = 120, 0.1, 4


def slow(folder: Path) -> int:
    """The seconds of a loop by 4 processes, dealt and in fixed shares, and the least possible."""
    equal = [COST] * IMAGES
    panorama = [*equal[:-1], 20 * COST]
    cases = {
        "all alike": (equal, -1, 0.0, IMAGES * COST / WORLD),
        "one at half speed": (equal, 1, 0.0, IMAGES * COST / (WORLD - 0.5)),
        "one stopped for 3 s": (equal, -1, 3.0, (IMAGES * COST + 3) / WORLD),
        "a panorama, 20 images' cost, in the middle": (
            [*equal[:60], 20 * COST, *equal[61:]],
            -1,
            0.0,
            (IMAGES + 19) * COST / WORLD,
        ),
        "the panorama last": (panorama, -1, 0.0, (IMAGES + 19) * COST / WORLD),
    }
    head("120 images of 0.1 s, 4 processes", "dealt, s", "every 4th, s", "least possible, s")
    for case, (costs, slow_rank, pause, least) in cases.items():
        seconds = [share(folder, dealt, slow_rank, costs, pause) for dealt in (True, False)]
        row(case, *(f"{value:.1f}" for value in (*seconds, least)))
    return 0


def share(folder: Path, dealt: bool, slow_rank: int, costs: list[float], pause: float) -> float:
    """Seconds of one loop."""
    for old in folder.glob("pid*"):
        old.unlink()
    words = [json.dumps([str(folder), dealt, slow_rank, costs])]
    process = start(folder, "sharing.py", words, WORLD)
    if pause:
        wait_for(folder / "pid1", process)
        while not any((folder / "log").read_text().count(f" {n}/") for n in range(1, 121)):
            time.sleep(0.05)
        pid = int((folder / "pid1").read_text())
        os.kill(pid, signal.SIGSTOP)
        time.sleep(pause)
        os.kill(pid, signal.SIGCONT)
    finish(folder, process)
    return float((folder / "seconds").read_text())


def wait_for(path: Path, process: subprocess.Popen[str]) -> None:
    while not path.exists() and process.poll() is None:
        time.sleep(0.05)


def kill(folder: Path) -> int:
    """`wsss run` by two processes, one of which is killed in each stage; and one left in peace."""
    whole, killed = folder / "whole", folder / "killed"
    finish(folder, start(folder, "wsss_main.py", ["run", *settings(folder, whole)], 2))
    process = start(
        folder, "wsss_main.py", ["run", *settings(folder, killed)], 2, "--max-restarts", "3"
    )
    signs = {
        "train_cls": "train_cls/checkpoint.pt",
        "pseudo_masks": "pseudo_masks/*.png",
        "train_seg": "train_seg/checkpoint.pt",
    }
    for number, (stage, sign) in enumerate(signs.items()):
        while len(list(killed.glob(sign))) < (8 if "*" in sign else 1):
            if process.poll() is not None:
                sys.exit((folder / "log").read_text())
            time.sleep(0.02)
        victim = children(process.pid)[number % 2]
        os.kill(victim, signal.SIGKILL)
        at = len(list((killed / "pseudo_masks").glob("*.png")))
        print(f"kill -9 process {number % 2} ({victim}) in {stage}, {at} masks there", flush=True)
        while victim in children(process.pid):
            time.sleep(0.02)
    finish(folder, process)
    for line in (folder / "log").read_text().splitlines():
        if "(exitcode" in line:
            print(line.partition("] ")[2])
    same = True
    for what, pattern in {"weights": "train_*/model.safetensors", **MADE}.items():
        pair = digest(whole, pattern), digest(killed, pattern)
        same &= pair[0] == pair[1]
        print(f"{what}: {pair[0]} / {pair[1]}")
    print("the same" if same else "DIFFERENT")
    return 0 if same else 1


def children(pid: int) -> list[int]:
    """Processes that a process has started, in the order of their start."""
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


if __name__ == "__main__":
    sys.exit(main())
