"""What a process opens, heard through Python's audit hook."""

import os
import sys
from collections.abc import Iterator

import pytest

# an audit hook can't be taken off again: one for the session, deaf outside its fixture
_listeners: list[list[str]] = []


def _hear(event: str, arguments: tuple[object, ...]) -> None:
    if _listeners and event in ("open", "os.listdir", "os.scandir"):
        opened = arguments[0]
        if isinstance(opened, str | bytes | os.PathLike):
            _listeners[-1].append(os.fsdecode(opened))


sys.addaudithook(_hear)


@pytest.fixture
def opened() -> Iterator[list[str]]:
    """Paths of every file and folder that Python opened since the test began."""
    paths: list[str] = []
    _listeners.append(paths)
    yield paths
    _listeners.remove(paths)
