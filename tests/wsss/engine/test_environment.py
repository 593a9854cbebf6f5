"""What the command line sets before torch is imported."""

import os
import subprocess
import sys

import pytest

from wsss.engine import environment


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME"):
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


def test_prepare_lets_waiting_threads_sleep_soon(bare: pytest.MonkeyPatch) -> None:
    bare.setenv("GOMP_SPINCOUNT", "")  # so that the test's own environment is put back
    bare.delenv("GOMP_SPINCOUNT")
    environment.prepare()
    assert os.environ["GOMP_SPINCOUNT"] == "1000"


@pytest.mark.parametrize("name", ["OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME"])
def test_prepare_leaves_what_the_environment_says(bare: pytest.MonkeyPatch, name: str) -> None:
    bare.setenv(name, "7")
    before = dict(os.environ)
    environment.prepare()
    assert dict(os.environ) == before


def test_main_prepares_before_torch_is_imported() -> None:
    code = """
import sys
from wsss import cli
from wsss.engine import environment
environment.prepare = lambda: print("torch" in sys.modules)
cli.app = lambda: print("app")
cli.main()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "app"]
