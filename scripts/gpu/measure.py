"""Seconds and bytes of a call on a device."""

import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch


def synchronise(device: torch.device) -> None:
    """Wait for the device; nothing to wait for on a CPU."""
    if device.type != "cpu":
        torch.cuda.synchronize(device)


def seconds_of(
    call: Callable[[], object], device: torch.device, budget: float = 0.5, most: int = 50
) -> float:
    """Median seconds of a call: of single calls on a CPU, of runs of calls on a device.

    Args:
        call: what is timed; called three times before.
        device: that it works on.
        budget: seconds to spend on the timed calls, about.
        most: calls at most.
    """
    for _ in range(3 if device.type != "cpu" else 1):
        call()
    synchronise(device)
    start = time.perf_counter()
    call()
    synchronise(device)
    once = time.perf_counter() - start
    calls = max(1, min(most, int(budget / max(once, 1e-6))))
    # runs between two waits, so that a wait doesn't count for every call
    run = max(1, calls // 5) if device.type != "cpu" else 1
    taken = []
    for _ in range(max(1, calls // run)):
        start = time.perf_counter()
        for _ in range(run):
            call()
        synchronise(device)
        taken.append((time.perf_counter() - start) / run)
    return statistics.median(taken)


def peak_of(call: Callable[[], object], device: torch.device) -> str:
    """What torch's allocator held at most during a call, in GiB; a dash on a CPU."""
    if device.type == "cpu":
        call()
        return "–"
    torch.cuda.reset_peak_memory_stats(device)
    call()
    torch.cuda.synchronize(device)
    return f"{torch.cuda.max_memory_allocated(device) / 2**30:.1f} GiB"


@contextmanager
def precision(name: str, device: torch.device) -> Iterator[None]:
    """`fp32` as such, `tf32` products of float32, `bf16` or `fp16` autocast (over TF32)."""
    kinds = {"bf16": torch.bfloat16, "fp16": torch.float16}
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    allowed = name != "fp32"
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = allowed
    try:
        with torch.autocast(device.type, kinds.get(name), enabled=name in kinds):
            yield
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before
