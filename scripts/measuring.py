"""What scripts that measure share: rows of Markdown, the machine, peak memory, calls in turns."""

import platform
import time
from collections.abc import Callable, Mapping
from pathlib import Path


def row(*cells: object) -> None:
    """Print a row of a Markdown table, at once."""
    print(f"| {' | '.join(map(str, cells))} |", flush=True)


def head(*cells: object) -> None:
    """Print the head of a Markdown table."""
    row(*cells)
    print("|---" * len(cells) + "|")


def cpu_name() -> str:
    """The CPU's model and family, as Linux reports them, and how many cores it has."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.machine()
    facts: dict[str, list[str]] = {}
    for line in lines:
        key, _, value = line.partition(":")
        facts.setdefault(key.strip(), []).append(value.strip())
    names = facts.get("model name", [platform.machine()])
    return f"{names[0]}, family {facts.get('cpu family', '?')[0]} ({len(names)})"


def peak_memory() -> float:
    """Peak memory of this process in MiB; getrusage would count what its parent held, too.

    Raises:
        OSError: the system doesn't say.
    """
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def in_turns(
    calls: Mapping[str, Callable[[], object]],
    repeats: int,
    clock: Callable[[], float] = time.process_time,
) -> dict[str, list[float]]:
    """Seconds of each call, one after the other `repeats` times; a first round warms up."""
    taken: dict[str, list[float]] = {name: [] for name in calls}
    for turn in range(repeats + 1):
        for name, call in calls.items():
            start = clock()
            call()
            if turn:
                taken[name].append(clock() - start)
    return taken
