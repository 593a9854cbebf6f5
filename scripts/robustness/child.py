"""A call of the program in a process of its own that is there at once: a fork of this one.

The parent imports everything and computes nothing, so that a child starts in milliseconds.
"""

import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path


def import_everything() -> None:
    """What any command imports; nothing is computed, so that no thread is left behind by a fork."""
    import torch  # noqa: F401
    from torch.utils import data  # noqa: F401

    import wsss.ablation.run
    import wsss.cli
    import wsss.pipeline
    import wsss.stages.export
    import wsss.stages.refine
    import wsss.stages.report  # noqa: F401


@dataclass(frozen=True)
class Ended:
    """How a child ended.

    Attributes:
        code: exit code, or the negative signal.
        said: what it wrote to stdout and stderr.
        seconds: that it ran.
    """

    code: int
    said: str
    seconds: float

    @property
    def sentence(self) -> str:
        """Its error, if it gave one."""
        lines = [line for line in self.said.splitlines() if line.startswith("wsss: ")]
        return lines[-1] if lines else ""

    @property
    def fault(self) -> str:
        """What is wrong with how it ended; empty for an answer, or a sentence and code 2."""
        if "Traceback (most recent call last)" in self.said or self.code not in (0, 2):
            tail = " | ".join(line.strip() for line in self.said.strip().splitlines()[-3:])
            return f"exit code {self.code}: {tail}"[:400]
        if self.code == 2 and self.said.count("\nwsss: ") + self.said.startswith("wsss: ") != 1:
            return f"no single sentence: {self.said[-300:]}"
        return ""


def start(
    words: Sequence[str], folder: Path, log: Path, first: Callable[[], object] = lambda: None
) -> int:
    """Fork a process that calls the program; returns its id.

    Args:
        words: behind `wsss`.
        folder: working directory.
        log: file of what it says.
        first: called in the child before, to take something from it.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        with log.open("wb", 0) as file:
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
        os.chdir(folder)
        first()
        code = _call(words)
    finally:
        os._exit(code)


def _call(words: Sequence[str]) -> int:
    import traceback

    from wsss.cli import main

    sys.argv = ["wsss", *words]
    sys.stdout = os.fdopen(1, "w", buffering=1)
    sys.stderr = os.fdopen(2, "w", buffering=1)
    code = 0
    try:
        main()
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else int(error.code is not None)
    except BaseException:
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    return code


def end(pid: int, log: Path, begun: float, limit: float = 600) -> Ended:
    """Wait for a child; one that takes longer is killed and counts as hung."""
    while time.monotonic() - begun < limit:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            code = os.waitstatus_to_exitcode(status)
            return Ended(code, log.read_text(errors="replace"), time.monotonic() - begun)
        time.sleep(0.005)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return Ended(-1, f"hung for {limit} s", limit)


def run(
    words: Sequence[str], folder: Path, log: Path, first: Callable[[], object] = lambda: None
) -> Ended:
    """Call the program and wait for it."""
    begun = time.monotonic()
    return end(start(words, folder, log, first), log, begun)


def killed(words: Sequence[str], folder: Path, log: Path, after: float) -> bool:
    """Call the program and kill it after so many seconds; whether it was still at work."""
    pid = start(words, folder, log)
    begun = time.monotonic()
    while time.monotonic() - begun < after:
        done, _ = os.waitpid(pid, os.WNOHANG)
        if done:
            return False
        time.sleep(0.001)
    os.kill(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(status) == -signal.SIGKILL


def start_drawing(root: Path, log: Path) -> Ended:
    """Draw a data set in a child: the parent computes nothing."""
    begun = time.monotonic()
    pid = os.fork()
    if not pid:
        code = 1
        try:
            from wsss.data.synthetic import write_synthetic_voc

            write_synthetic_voc(root, train=12, val=4, size=64)
            code = 0
        finally:
            os._exit(code)
    log.touch()
    return end(pid, log, begun)
