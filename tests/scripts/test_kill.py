"""Kills and failing disks: what is started again ends as if nothing had been."""

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "kill"


@pytest.mark.slow
def test_script_kills_the_first_stages() -> None:
    steps = ["train-cls", "generate-pseudo-masks", "train-seg"]
    command = [sys.executable, SCRIPT, "--times", "6", "--steps", *steps]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert "| all | 6 |" in done.stdout and ", 0 faults" in done.stdout
