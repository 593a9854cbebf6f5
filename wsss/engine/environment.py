"""What has to be set before torch is imported: how its threads wait. Imports no torch itself."""

import os

_WAITING = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")


def prepare() -> None:
    """Let threads that wait for each other sleep, unless the environment says how they wait.

    By default they spin, for milliseconds at a time. Beside one busy process that is a core's turn
    spent on waiting for a thread that isn't running: training was ten times slower and more
    (`scripts/bench_threads.py`). Read by the OpenMP runtime when it is loaded, which torch does.
    """
    if not any(name in os.environ for name in _WAITING):
        os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
