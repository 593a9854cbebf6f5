"""How long the parts of a stage take: processor time on a CPU, synchronised time elsewhere."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch


class Stopwatch:
    """Adds up the time of named parts.

    Processor time of all threads on a CPU, so that other work on the machine doesn't count; on a
    device wall time, with the device waited for at both ends.

    Args:
        device: where the parts compute.

    Attributes:
        seconds: part → seconds so far.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, part: str) -> Iterator[None]:
        """Count what is done within as a part."""
        start = self._now()
        try:
            yield
        finally:
            self.seconds[part] = self.seconds.get(part, 0.0) + self._now() - start

    def per_unit(self, units: int) -> dict[str, float]:
        """Part → milliseconds a unit of work, rounded to 0.01; empty without units."""
        return {part: round(1e3 * s / units, 2) for part, s in self.seconds.items() if units}

    def _now(self) -> float:
        if self.device.type == "cpu":
            return time.process_time()
        torch.accelerator.synchronize(self.device)
        return time.perf_counter()
