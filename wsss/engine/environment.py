"""What has to be set before torch is imported: how its threads wait. Imports no torch itself."""

import os
from functools import cache

from wsss.engine.cores import Look, look

_WAITING = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")


def prepare() -> None:
    """Let threads that wait for each other soon sleep, unless the environment says how they wait.

    Takes the `first_look` at the cores, too.

    By default they spin for milliseconds. Beside busy processes that is a core's turn spent on
    waiting for a thread that isn't running, and training is several times slower. Threads that
    sleep at once (OMP_WAIT_POLICY=PASSIVE) lose more on free cores than a second thread brings; a
    thousand spins, some ten microseconds, lose little in either case (`scripts/bench_threads.py`).
    Read by GNU's OpenMP when it is loaded, which torch does.
    """
    if not any(name in os.environ for name in _WAITING):
        os.environ["GOMP_SPINCOUNT"] = "1000"
    first_look()


@cache
def first_look() -> Look | None:
    """What the cores had done when this was first called: how busy others keep them."""
    return look()
