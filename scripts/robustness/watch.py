"""What a call of the program did: how it ended, what it said, which files it touched."""

import fnmatch
import io
import os
import re
import stat
import sys
import traceback
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from wsss.errors import LONGEST

_WRITING = os.O_WRONLY | os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_TRUNC
_EVENTS = {
    "os.mkdir": 1,
    "os.rename": 2,
    "os.remove": 1,
    "os.rmdir": 1,
    "os.link": 2,
    "os.symlink": 2,
    "os.truncate": 1,
    "shutil.rmtree": 1,
}
"""Audit events that change files, with how many of their first arguments are paths."""
_heard: list[set[str]] = []


def _hear(event: str, arguments: tuple[object, ...]) -> None:
    if not _heard:
        return
    paths: Sequence[object] = ()
    if event == "open":
        path, mode, flags = arguments
        writes = any(c in mode for c in "wax+") if isinstance(mode, str) else False
        if writes or (isinstance(flags, int) and flags & _WRITING and not isinstance(mode, str)):
            paths = (path,)
    elif event in _EVENTS:
        paths = arguments[: _EVENTS[event]]
    for path in paths:
        if isinstance(path, str | bytes | os.PathLike):
            _heard[-1].add(os.path.abspath(os.fsdecode(path)))  # noqa: PTH100


_added: list[bool] = []


@contextmanager
def hearing() -> Iterator[set[str]]:
    """Paths that Python writes, makes, renames or removes within the block."""
    if not _added:  # an audit hook can't be taken off again
        sys.addaudithook(_hear)
        _added.append(True)
    written: set[str] = set()
    _heard.append(written)
    try:
        yield written
    finally:
        _heard.remove(written)


@dataclass
class Outcome:
    """How a call ended.

    Attributes:
        code: its exit code; 1 with a traceback in `stderr` where it raised.
        stdout: what it printed.
        stderr: and what else it said.
        written: paths that it wrote, made or removed.
    """

    code: int
    stdout: str
    stderr: str
    written: set[str] = field(default_factory=set)

    @property
    def sentence(self) -> str:
        """What it said before it ended with code 2."""
        lines = [line for line in self.stderr.splitlines() if line.startswith("wsss: ")]
        return lines[-1] if lines else ""


def call(arguments: Sequence[str], encoding: str = "utf-8") -> Outcome:
    """Call the program's entry point in this process.

    Args:
        arguments: behind `wsss`.
        encoding: of its console.
    """
    from wsss.cli import main

    streams = [io.TextIOWrapper(io.BytesIO(), encoding, write_through=True) for _ in range(2)]
    before = sys.argv, sys.stdout, sys.stderr
    sys.argv, sys.stdout, sys.stderr = ["wsss", *arguments], streams[0], streams[1]
    code = 0
    try:
        with hearing() as written:
            try:
                main()
            except SystemExit as error:
                code = error.code if isinstance(error.code, int) else int(error.code is not None)
            except BaseException:
                code = 1
                sys.stderr.write(traceback.format_exc())
    finally:
        sys.argv, sys.stdout, sys.stderr = before
    texts = [stream.buffer.getvalue().decode(encoding, "replace") for stream in streams]
    return Outcome(code, texts[0], texts[1], written)


def fault_of(outcome: Outcome) -> str | None:
    """What is wrong with how a call ended, whatever it was given."""
    if outcome.code not in (0, 2) or "Traceback (most recent call last)" in outcome.stderr:
        return "traceback"
    if outcome.code == 2:
        lines = outcome.stderr.rstrip().splitlines()
        usage = any(line.lstrip().startswith(("Usage:", "Error")) for line in lines)
        said = [line for line in lines if line.startswith("wsss: ")]
        if not usage and (len(said) != 1 or lines[-1] != said[0]):
            return f"{len(said)} sentences"
        if said and len(said[0]) > LONGEST + len("wsss: "):
            return f"a sentence of {len(said[0])} characters"
        if said and re.search(r"[\x00-\x08\x0b-\x1f\x7f]", said[0]):
            return "control characters in the sentence"
    return None


State = dict[str, tuple[int, int]]
"""Path → kind and sum of its content."""


def state_of(root: Path) -> State:
    """Every file and link below a folder."""
    found: State = {}
    for parent, folders, files in os.walk(root):
        for name in (*files, *(f for f in folders if Path(parent, f).is_symlink())):
            path = Path(parent, name)
            mode = path.lstat().st_mode
            content = path.read_bytes() if stat.S_ISREG(mode) else b""
            found[path.relative_to(root).as_posix()] = (mode, zlib.crc32(content))
    return found


def files_faults(
    before: State, after: State, allowed: Sequence[str], failed: bool
) -> Iterator[str]:
    """What a call did to files that it shouldn't have.

    Args:
        before: state of the folder before the call.
        after: and after it.
        allowed: patterns of what the call may write.
        failed: whether it gave no answer, and wasn't asked to replace anything: then nothing that
            was there may be changed or gone.
    """
    for name in sorted(before.keys() - after.keys()):
        if failed or not _named(name, allowed):
            yield f"{name} is gone"
    for name in sorted(before.keys() & after.keys()):
        noted = _named(name, ("*.jsonl", "*/.lock*", "*/config.yaml"))
        if before[name] != after[name] and not (noted or (not failed and _named(name, allowed))):
            yield f"{name} was changed"
    for name in sorted(after.keys() - before.keys()):
        if not _named(name, allowed) and not _named(name, ("*/.lock*",)):
            yield f"{name} was written"


def _named(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatch.fnmatch(name, pattern) for pattern in patterns)
