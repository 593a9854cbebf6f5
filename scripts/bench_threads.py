#!/usr/bin/env python
"""What waiting threads cost: steps/s of the quickstart's classifier, alone and beside others.

    scripts/bench_threads.py [--rounds 5] [--steps 4] [--busy 0 1] [--precision fp32]

PyTorch's threads wait for each other many times a step. By default they spin, which is quick while
every thread has a core of its own; where another process has taken one, threads spin through their
turns and wait for one that isn't running. With OMP_WAIT_POLICY=PASSIVE they sleep at once, with
GOMP_SPINCOUNT=N after N spins; `wsss` takes 1,000. Each row is a process with other settings,
started once; rows take turns, a few steps at a time, so that whatever else runs on the machine
meets all of them. Steps per second of wall time: the best round, and the median. `--busy N` runs N
processes beside it that do nothing but count.
"""

import argparse
import json
import multiprocessing
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

from measuring import head, row

ROOT = Path(__file__).resolve().parent.parent
WAITS: dict[str, dict[str, str]] = {
    "default": {},
    "OMP_WAIT_POLICY=PASSIVE": {"OMP_WAIT_POLICY": "PASSIVE"},
    **{f"GOMP_SPINCOUNT={n}": {"GOMP_SPINCOUNT": str(n)} for n in (1000, 3000, 10000, 30000)},
}
ONE_THREAD = "default"  # a single thread waits for nobody


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=4, help="a round")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--busy", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--precision", default="fp32", choices=("fp32", "bf16"))
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        work(arguments.steps, arguments.precision)
        return
    rows = [(t, wait) for t in arguments.threads for wait in WAITS if t > 1 or wait == ONE_THREAD]
    workers = {one: start(*one, arguments) for one in rows}
    head("threads", "waiting", "other busy processes", "steps/s, best", "median")
    for count in arguments.busy:
        others = [multiprocessing.Process(target=spin, daemon=True) for _ in range(count)]
        for other in others:
            other.start()
        found: dict[tuple[int, str], list[float]] = {one: [] for one in rows}
        for _ in range(arguments.rounds):
            for one in rows:
                found[one].append(arguments.steps / ask(workers[one]))
        for other in others:
            other.terminate()
        for (threads, wait), rates in found.items():
            row(threads, wait, count, f"{max(rates):.1f}", f"{statistics.median(rates):.1f}")
    for worker in workers.values():
        worker.communicate()


def start(threads: int, wait: str, arguments: argparse.Namespace) -> "subprocess.Popen[str]":
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("OMP_", "GOMP_"))}
    environment = {**clean, **WAITS[wait], "OMP_NUM_THREADS": str(threads)}
    options = ["--worker", f"--steps={arguments.steps}", f"--precision={arguments.precision}"]
    worker = subprocess.Popen(
        [sys.executable, __file__, *options],
        env={**environment, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    ask(worker)  # warm
    return worker


def ask(worker: "subprocess.Popen[str]") -> float:
    assert worker.stdin is not None and worker.stdout is not None
    worker.stdin.write("go\n")
    worker.stdin.flush()
    return float(json.loads(worker.stdout.readline()))


def spin() -> None:
    while True:
        pass


def work(steps: int, precision: str) -> None:
    """Seconds of wall time for `steps` steps, at every line of stdin."""
    import torch

    from wsss import quickstart
    from wsss.config import RuntimeConfig
    from wsss.data.synthetic import CLASS_NAMES
    from wsss.engine.runtime import start as start_runtime
    from wsss.models.classifier import new_classifier

    settings = RuntimeConfig.model_validate({"device": "cpu", "precision": precision})
    runtime = start_runtime(settings, 0)
    config = quickstart.config(Path("unused"))
    stage = config.train_cls
    model = new_classifier(config, len(CLASS_NAMES)).to(memory_format=torch.channels_last).train()
    optimizer = torch.optim.AdamW(model.parameters())
    images = torch.randn(stage.batch_size, 3, stage.crop, stage.crop)
    images = images.to(memory_format=torch.channels_last)
    tags = (torch.rand(stage.batch_size, len(CLASS_NAMES)) < 0.3).float()
    for _ in sys.stdin:
        begun = time.perf_counter()
        for _ in range(steps):
            optimizer.zero_grad(set_to_none=True)
            with runtime.autocast():
                loss = model.loss(model(images), tags, stage.slot_loss)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), stage.clip_grad)
            optimizer.step()
        print(json.dumps(time.perf_counter() - begun), flush=True)


if __name__ == "__main__":
    main()
