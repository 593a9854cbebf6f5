"""A process that is killed in each stage changes nothing of what a run makes."""

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parent.parent.parent / "scripts" / "check_processes.py"


@pytest.mark.slow
def test_a_run_comes_through_kills_of_its_processes(tmp_path: Path) -> None:
    command = [sys.executable, str(SCRIPT), "kill", "--keep", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("kill -9 process") == 3 and done.stdout.endswith("the same\n")
