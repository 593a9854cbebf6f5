"""Disks and folders that fail during a step: full, read-only, gone; and the step afterwards."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

from robustness import child
from robustness.stages import Step

if TYPE_CHECKING:
    from robustness.kill import Chain

Found = dict[str, dict[str, str]]
"""Step → trouble → how it ended."""


def try_all(chain: Chain, seed: int) -> tuple[Found, list[str]]:
    """Every trouble in every step.

    Returns:
        How each ended; and a line for every fault.
    """
    found: Found = {}
    faults: list[str] = []
    for step in chain.steps:
        found[step.name] = {}
        for name, trouble in TROUBLES.items():
            rng = Random(f"{seed}-{step.name}-{name}")
            ended, fault = _try(chain, step, trouble, rng)
            found[step.name][name] = ended
            print(f"{step.name}, {name}: {ended}", file=sys.stderr, flush=True)
            if fault:
                faults.append(f"{step.name}, {name}: {fault}")
                print(faults[-1], flush=True)
    return found, faults


Trouble = Callable[["Chain", Step, Random], child.Ended]
"""Makes trouble, does the step, and mends what it did."""


def _try(chain: Chain, step: Step, trouble: Trouble, rng: Random) -> tuple[str, str]:
    """How a step ended, and what is wrong with that or with the one after it."""
    with _own_disk(chain.folder) as mounted:
        if not mounted and trouble is _read_only:
            return "not tried", ""
        chain.restart(step)
        ended = trouble(chain, step, rng)
        if ended.fault:
            return "fault", ended.fault
        again = chain.do(step)
        if again.code != 0:
            return "fault", f"afterwards: {again.fault or again.sentence}"
        other = chain.differences(step)
        if other:
            return "fault", f"afterwards differ: {', '.join(other[:5])} (before: {ended.sentence})"
        return ("sentence" if ended.code == 2 else "finished"), ""


@contextmanager
def _own_disk(folder: Path) -> Iterator[bool]:
    """A disk in memory at a folder, where this user may mount one."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    mounted = _mount("-t", "tmpfs", "-o", "size=256m", "tmpfs", str(folder))
    try:
        yield mounted
    finally:
        if mounted:
            subprocess.run(["umount", "-l", str(folder)], check=True)


def _mount(*words: str) -> bool:
    try:
        return subprocess.run(["mount", *words], capture_output=True).returncode == 0
    except FileNotFoundError:
        return False


def _full(chain: Chain, step: Step, rng: Random) -> child.Ended:
    """The disk holds a random part of what the step writes; without a disk, a file does."""
    if not os.path.ismount(chain.folder):
        most = rng.choice((0, 100, 1000, 20_000, 200_000))
        limit = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))  # noqa: E731
        return child.run(step.words, chain.folder, chain.log, limit)
    used = sum(-(-p.stat().st_size // 4096) * 4096 for p in chain.folder.rglob("*") if p.is_file())
    room = rng.choice((0, 4096, 20_000, 100_000, 400_000))
    _mount("-o", f"remount,size={used + room}", str(chain.folder))
    try:
        return child.run(step.words, chain.folder, chain.log)
    finally:
        _mount("-o", "remount,size=256m", str(chain.folder))


def _read_only(chain: Chain, step: Step, rng: Random) -> child.Ended:
    """Nothing can be written from the start."""
    _mount("-o", "remount,ro", str(chain.folder))
    try:
        return child.run(step.words, chain.folder, chain.log)
    finally:
        _mount("-o", "remount,rw", str(chain.folder))


def _gone(name: str) -> Trouble:
    """A folder goes at a random moment, as a disk that is unplugged, and comes back."""

    def make(chain: Chain, step: Step, rng: Random) -> child.Ended:
        folder, aside = chain.folder / name, chain.folder / f"{name}_aside"
        begun = time.monotonic()
        pid = child.start(step.words, chain.folder, chain.log)
        time.sleep(rng.uniform(0, 0.9 * chain.seconds[step.name]))
        there = folder.exists()
        if there:
            folder.rename(aside)
        ended = child.end(pid, chain.log, begun)
        if there:
            shutil.rmtree(folder, ignore_errors=True)  # what was written to its place is lost
            aside.rename(folder)
        return ended

    return make


TROUBLES: dict[str, Trouble] = {
    "full": _full,
    "read-only": _read_only,
    "run folder gone": _gone("run"),
    "images gone": _gone("VOC"),
}


def table(found: Found) -> str:
    """Markdown: a row for a step, a column for a trouble."""
    names = list(TROUBLES)
    lines = ["| command | " + " | ".join(names) + " |", "|---" * (len(names) + 1) + "|"]
    lines += [f"| {s} | " + " | ".join(one[n] for n in names) + " |" for s, one in found.items()]
    return "\n".join(lines)
