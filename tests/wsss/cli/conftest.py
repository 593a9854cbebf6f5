"""The folder of a run, as commands take it."""

from pathlib import Path

import pytest

from wsss.config import RunConfig


@pytest.fixture
def folder(run: RunConfig) -> Path:
    """The folder of a copy of the finished run, to be changed."""
    return run.run
