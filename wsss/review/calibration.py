"""`wsss tune` beside the page: a recipe chosen on accepted masks, the other masks made again."""

import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from threading import Lock, Thread
from typing import Literal

from wsss.errors import WsssError, first_line
from wsss.files import make_folder

ENOUGH = 20
"""Accepted masks from which on the page offers it."""
State = Literal["none", "running", "done", "failed"]


class Calibration:
    """A process of its own, which the page goes on beside.

    Attributes:
        state: of the last start.
    """

    def __init__(self, command: Sequence[str], log: Path, finished: Callable[[], str]) -> None:
        """Starts nothing.

        Args:
            command: what to run.
            log: file for what it says.
            finished: called after it has succeeded; returns what to say of it.
        """
        self.command, self.log, self.finished = tuple(command), log, finished
        self.state: State = "none"
        self._result = ""
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = Lock()

    def start(self) -> None:
        """Start it, unless it runs."""
        with self._lock:
            if self.state == "running":
                return
            make_folder(self.log.parent)
            with self.log.open("wb") as log:
                # a person works meanwhile
                polite = ["nice", "-n", "10"] if shutil.which("nice") else []
                self._process = subprocess.Popen(
                    [*polite, *self.command], stdout=log, stderr=log, stdin=subprocess.DEVNULL
                )
            self.state, self._result = "running", ""
            Thread(target=self._wait, args=(self._process,), daemon=True).start()

    def said(self) -> str:
        """What to show of it: what came of it, or else its last line."""
        if self._result or not self.log.is_file():
            return self._result
        lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()
        # neither paths nor lines of tables
        return next((line.strip() for line in reversed(lines) if line[:1].isalpha()), "")

    def stop(self) -> None:
        """End it; masks that it made are kept, and its next start goes on."""
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()

    def _wait(self, process: "subprocess.Popen[bytes]") -> None:
        done = process.wait() == 0
        if done:
            try:
                self._result = self.finished()
            except (WsssError, OSError) as error:
                done, self._result = False, f"{first_line(error)}."
        self.state = "done" if done else "failed"


def tune_command(run: Path) -> tuple[str, ...]:
    """The command line that calibrates a run."""
    return sys.executable, "-c", "from wsss.cli import main; main()", "tune", str(run)
