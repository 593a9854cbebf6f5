"""Time and peak memory of the parts of a stage."""

import gc
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch

from wsss.engine.allocator import give_back, given_back


class Stopwatch:
    """Adds up the time of named parts.

    Processor time of all threads on a CPU, so that other work on the machine doesn't count; on a
    device the time between two events of its queue, which is waited for only when it is read.

    Args:
        device: where the parts compute.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._seconds: dict[str, float] = {}
        self._events: deque[tuple[str, torch.Event, torch.Event]] = deque()

    @contextmanager
    def __call__(self, part: str) -> Iterator[None]:
        """Count what is done within as a part."""
        if self.device.type != "cpu":
            first, last = (torch.Event(self.device, enable_timing=True) for _ in range(2))
            self._events.append((part, first, last))
            first.record()
            try:
                yield
            finally:
                last.record()
                while self._events and self._events[0][2].query():  # passed: none pile up
                    self._take()
            return
        start = time.process_time()
        try:
            yield
        finally:
            self._add(part, time.process_time() - start)

    @property
    def seconds(self) -> dict[str, float]:
        """Part → seconds so far; waits for the device."""
        while self._events:
            self._events[0][2].synchronize()
            self._take()
        return self._seconds

    def _take(self) -> None:
        """Count the oldest part, whose events have passed."""
        part, first, last = self._events.popleft()
        self._add(part, first.elapsed_time(last) / 1e3)

    def add(self, seconds: Mapping[str, float]) -> None:
        """Add what another process's watch counted."""
        for part, more in seconds.items():
            self._add(part, more)

    def _add(self, part: str, seconds: float) -> None:
        self._seconds[part] = self._seconds.get(part, 0.0) + seconds

    def per_unit(self, units: int) -> dict[str, float]:
        """Part → milliseconds per unit of work, rounded to 0.01; empty without units."""
        return {part: round(1e3 * s / units, 2) for part, s in self.seconds.items() if units}


_STATUS = Path("/proc/self/status")

_RESET = Path("/proc/self/clear_refs")


def peak_memory(device: torch.device, work: Callable[[], object]) -> int | None:
    """Bytes that `work` takes at its highest, over what the process holds when it begins.

    On a CPU the resident set, so that temporaries inside libraries count; on a CUDA device what
    torch's allocator handed out.

    Returns:
        Bytes; None where the system doesn't report it (a CPU without Linux's /proc, other devices).
    """
    gc.collect()
    if device.type != "cpu":
        return _on_device(device, work) if torch.cuda.is_available() else None
    try:
        give_back()  # or the work would find it and seem to take none
        _RESET.write_text("5")  # the peak starts again from here
        before = _resident("VmRSS")
        with given_back():
            work()
        return max(0, _resident("VmHWM") - before)
    except OSError:
        return None


def _on_device(device: torch.device, work: Callable[[], object]) -> int:
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    work()
    torch.cuda.synchronize(device)
    return int(torch.cuda.max_memory_allocated(device) - before)


def _resident(key: str) -> int:
    for line in _STATUS.read_text().splitlines():
        if line.startswith(key):
            return 1024 * int(line.split()[1])
    raise OSError(f"{_STATUS} has no {key}")
