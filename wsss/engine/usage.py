"""Where the time of a loop over images or steps went: what it prints at its end."""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import partial

from wsss.engine.profile import Stopwatch
from wsss.engine.runtime import Runtime

PARTS = ("read", "compute", "write")


@dataclass
class Usage:
    """Where the time of a loop went.

    Attributes:
        unit: what it makes.
        units: how many were made.
        waited: part → seconds of the main thread: `read` and `write` where it waited for them,
            `compute` the rest, in which a device is fed.
        busy: seconds that a GPU had work of a unit or batch, between two events around it in its
            queue; moments without a kernel in between count. None on a CPU, which computes in the
            main thread.
        processes: whose units and seconds these are.
    """

    unit: str = "images"
    units: int = 0
    waited: dict[str, float] = field(default_factory=lambda: dict.fromkeys(PARTS, 0.0))
    busy: float | None = None
    processes: int = 1

    @contextmanager
    def time(self, part: str) -> Iterator[None]:
        """Count what is done within as a part."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.waited[part] += time.perf_counter() - start

    @contextmanager
    def on_device(self, runtime: Runtime) -> Iterator[Callable[[], AbstractContextManager[None]]]:
        """What a GPU is given within is counted as its work, once all of it is done.

        Yields:
            A new context for each unit or batch of it.
        """
        if not runtime.on_gpu:
            yield nullcontext
            return
        watch = Stopwatch(runtime.device)
        yield partial(watch, "busy")
        self.busy = watch.seconds.get("busy", 0.0)

    def merge(self, other: "Usage") -> None:
        """Add the units and seconds of another loop, or of another process."""
        self.units += other.units
        if other.busy is not None:
            self.busy = (self.busy or 0.0) + other.busy
        for part, seconds in other.waited.items():
            self.waited[part] += seconds

    def __str__(self) -> str:
        total = max(sum(self.waited.values()), 1e-9)
        shares = ", ".join(f"{part} {seconds / total:.0%}" for part, seconds in self.waited.items())
        device = "" if self.busy is None else f"GPU busy {self.busy / total:.0%}; "
        rate = self.units * self.processes / total
        return f"{rate:.1f} {self.unit}/s ({device}main thread: {shares})"
