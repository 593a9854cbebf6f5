"""The peak memory of one piece of work, beyond what was held before it."""

import ctypes
import gc
from collections.abc import Callable
from pathlib import Path

import torch

_STATUS = Path("/proc/self/status")
_RESET = Path("/proc/self/clear_refs")


def peak_memory(device: torch.device, work: Callable[[], object]) -> int | None:
    """Bytes that `work` takes at its highest, over what the process holds when it begins.

    On a CPU the resident set, so that temporaries inside libraries count; on a CUDA device what
    torch's allocator handed out.

    Returns:
        Bytes; None where the system doesn't tell (a CPU without Linux's /proc, other devices).
    """
    gc.collect()
    if device.type != "cpu":
        return _on_device(device, work) if torch.cuda.is_available() else None
    try:
        _give_back()
        _RESET.write_text("5")  # the peak starts again from here
        before = _resident("VmRSS")
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


def _give_back() -> None:
    """Freed memory goes back to the system, or the work would find it and seem to take none."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def _resident(key: str) -> int:
    for line in _STATUS.read_text().splitlines():
        if line.startswith(key):
            return 1024 * int(line.split()[1])
    raise OSError(f"{_STATUS} has no {key}")
