"""Progress of long work: a bar on a terminal, lines elsewhere, JSON lines in a file."""

import json
import math
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from wsss.errors import WsssError

T = TypeVar("T")


class Tracker(AbstractContextManager["Tracker"]):
    """Progress of `total` units, shown on stderr and, given a path, logged as JSON lines.

    Args:
        title: what is being done.
        total: units of work.
        done: units done earlier.
        log: file to append to.
        every: seconds between lines where stderr is not a terminal.
        quiet: show nothing (processes other than the first).
    """

    def __init__(
        self,
        title: str,
        total: int,
        *,
        done: int = 0,
        log: Path | None = None,
        every: float = 15.0,
        quiet: bool = False,
        tensorboard: Path | None = None,
    ) -> None:
        self.title, self.total, self.done = title, total, done
        self._start, self._start_done = time.monotonic(), done
        self._shown = -math.inf
        self._every = 0.2 if sys.stderr.isatty() else every
        self._quiet = quiet
        self._log = log.open("a") if log is not None and not quiet else None
        self._board = _summary_writer(tensorboard) if tensorboard and not quiet else None

    def advance(self, units: int = 1, **values: float) -> None:
        """Count finished work; `values` are logged and shown beside it."""
        self.done += units
        if self._board is not None:
            for name, value in values.items():
                self._board.add_scalar(f"{self.title}/{name}", value, self.done)
        now = time.monotonic()
        if now - self._shown < self._every and self.done < self.total:
            return
        self._shown = now
        record = {"done": self.done, "of": self.total, "per_second": round(self.rate, 2), **values}
        if self._log is not None:
            self._log.write(json.dumps(record) + "\n")
            self._log.flush()
        if not self._quiet:
            self._show(values)

    @property
    def rate(self) -> float:
        """Units per second since this process began."""
        elapsed = time.monotonic() - self._start
        return (self.done - self._start_done) / max(elapsed, 1e-9)

    def _show(self, values: dict[str, float]) -> None:
        left = (self.total - self.done) / self.rate if self.rate > 0 else 0.0
        parts = [f"{self.title} {self.done}/{self.total}", f"{self.rate:.1f}/s"]
        parts += [f"{name} {value:.4g}" for name, value in values.items()]
        parts += [f"{_clock(left)} left"]
        text = "  ".join(parts)
        if sys.stderr.isatty():
            end = "\n" if self.done >= self.total else ""
            print(f"\r\x1b[K{text}", end=end, file=sys.stderr, flush=True)
        else:
            print(text, file=sys.stderr, flush=True)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._log is not None:
            self._log.close()
        if self._board is not None:
            self._board.close()


def track(items: Iterable[T], title: str, total: int) -> Iterator[T]:
    """Iterate with progress."""
    with Tracker(title, total) as tracker:
        for item in items:
            yield item
            tracker.advance()


def _clock(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def _summary_writer(folder: Path) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise WsssError(
            "tensorboard is not installed, and runtime.tensorboard asks for it: "
            "pip install 'wsss[tensorboard]', or leave the setting out."
        ) from None
    return SummaryWriter(str(folder))
