"""Which cores are free for this process: Linux says so in `/proc/stat` and cgroups.

Imports no torch, so that a look can be taken before it is imported.
"""

import os
import time
from collections.abc import Collection
from pathlib import Path
from typing import NamedTuple

_STAT = Path("/proc/stat")
_CGROUPS = Path("/sys/fs/cgroup")
_OWN_CGROUP = Path("/proc/self/cgroup")
_SHORTEST = 0.3
"""Seconds that two looks have to lie apart: the system counts in hundredths."""


class Look(NamedTuple):
    """What the cores had done by a moment.

    Attributes:
        at: seconds of a clock that only goes forward.
        busy: seconds of work that the cores had done, but for processes that give way (`nice`).
        own: seconds of it that were this process's.
    """

    at: float
    busy: float
    own: float


def look() -> Look | None:
    """What the cores that this process may run on have done; None where it can't be known."""
    busy = _busy(_allowed())
    own = time.process_time()
    return None if busy is None else Look(time.monotonic(), busy, own)


def free_cores(since: Look | None, now: Look | None) -> int:
    """Cores that this process may take: those it has, less what others kept busy between two looks.

    Args:
        since: an earlier look, taken before processes of our own were started.
        now: a later one.

    Returns:
        At least 1. Where the looks tell nothing, all that it has.
    """
    cores = len(_allowed())
    others = 0.0
    if since is not None and now is not None and now.at - since.at >= _SHORTEST:
        work = (now.busy - since.busy) - (now.own - since.own)
        others = max(work, 0.0) / (now.at - since.at)
    return max(1, min(cores - round(others), _granted(cores)))


def _allowed() -> Collection[int]:
    if hasattr(os, "sched_getaffinity"):
        return os.sched_getaffinity(0)
    return range(os.cpu_count() or 1)


def _busy(cores: Collection[int]) -> float | None:
    """Seconds of work of some cores since the system started."""
    try:
        lines = [line.split() for line in _STAT.read_text().splitlines()]
        times = {line[0]: [int(value) for value in line[1:8]] for line in lines if line}
        ticks = 0
        for core in cores:
            user, nice, system, _, _, irq, softirq = times[f"cpu{core}"]
            # a process that gives way to others takes nothing from us, unless we give way, too
            ticks += user + system + irq + softirq + (nice if os.nice(0) > 0 else 0)
        return ticks / float(os.sysconf("SC_CLK_TCK"))
    except (OSError, ValueError, KeyError):
        return None


def _granted(cores: int) -> int:
    """Whole cores that the control groups of this process (version 2) grant it, of those it has."""
    try:
        own = _OWN_CGROUP.read_text().split("0::", 1)[1].splitlines()[0]
    except (OSError, IndexError):
        return cores
    granted = float(cores)
    place = _CGROUPS / own.strip("/")
    for folder in (place, *place.parents):
        try:
            quota, period = (folder / "cpu.max").read_text().split()
            granted = min(granted, int(quota) / int(period))
        except (OSError, ValueError):  # no such file; or `max`, no limit
            continue
    return max(1, int(granted))
