"""SIGKILL in the middle of each stage, then another start: the same bytes as an unbroken run."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import wsss
from wsss.engine.checkpoint import load_state

pytestmark = pytest.mark.slow

STAGES = ("train-cls", "generate-pseudo-masks", "train-seg")
# long enough to be hit in the middle, a checkpoint after every step
LONG = (
    "train_cls.epochs=16",
    "train_seg.epochs=12",
    "pseudo_masks.scales=[1.0, 1.5, 2.0, 2.5, 3.0]",
    "runtime.save_every=0",
)


MASKS = ("pseudo_masks/*.png", "pseudo_masks/scores.csv")


def start(stage: str, *settings: str) -> subprocess.Popen[str]:
    # the repository may be installed from elsewhere: take the package that this test sees
    environment = {**os.environ, "PYTHONPATH": str(Path(wsss.__file__).parent.parent)}
    return subprocess.Popen(
        [sys.executable, "-c", "from wsss.cli import main; main()", stage, *settings],
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    )


def finish(stage: str, *settings: str) -> None:
    process = start(stage, *settings)
    _, stderr = process.communicate(timeout=300)
    assert process.returncode == 0, stderr


def kill_when(process: subprocess.Popen[str], reached: Callable[[], bool]) -> None:
    while not reached():
        assert process.poll() is None, process.communicate()
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    process.communicate()


def contents(run: Path) -> dict[str, bytes]:
    patterns = ("train_*/model.safetensors", "seeds/*.npz", *MASKS)
    return {str(p.relative_to(run)): p.read_bytes() for g in patterns for p in run.glob(g)}


@pytest.fixture(scope="module")
def settings(tiny: Path, synthetic: Path) -> tuple[str, ...]:
    return (str(tiny), f"data.root={synthetic}", "data.mask_split=train", *LONG)


@pytest.fixture(scope="module")
def unbroken(
    tmp_path_factory: pytest.TempPathFactory, settings: tuple[str, ...]
) -> dict[str, bytes]:
    run = tmp_path_factory.mktemp("unbroken")
    for stage in STAGES:
        finish(stage, *settings, f"run={run}")
    return contents(run)


def test_stages_that_were_killed_end_with_the_bytes_of_unbroken_ones(
    tmp_path: Path, settings: tuple[str, ...], unbroken: dict[str, bytes]
) -> None:
    run = tmp_path / "run"
    arguments = (*settings, f"run={run}")

    # twice, for the second start goes on from a state that was itself resumed
    checkpoint = run / "train_cls" / "checkpoint.pt"
    for step in (4, 12):
        kill_when(start("train-cls", *arguments), lambda step=step: at_step(checkpoint) >= step)
    assert not (run / "train_cls" / "done.json").exists()
    reached = at_step(checkpoint)
    assert 12 <= reached < 32
    finish("train-cls", *arguments)
    assert not checkpoint.exists()

    kill_when(start("generate-pseudo-masks", *arguments), lambda: masks(run) >= 4)
    early = {path: path.stat().st_mtime_ns for path in run.glob("pseudo_masks/*.png")}
    assert 4 <= len(early) < 12 and not (run / "pseudo_masks" / "done.json").exists()
    finish("generate-pseudo-masks", *arguments)
    # what was finished is kept
    assert all(path.stat().st_mtime_ns == time for path, time in early.items())

    checkpoint = run / "train_seg" / "checkpoint.pt"
    kill_when(start("train-seg", *arguments), lambda: at_step(checkpoint) >= 7)
    assert 7 <= at_step(checkpoint) < 28
    finish("train-seg", *arguments)

    found = contents(run)
    assert found.keys() == unbroken.keys() and len(found) == 2 + 12 + 12 + 1
    assert [name for name in found if found[name] != unbroken[name]] == []
    # nor is anything left that a kill cut short
    assert list(run.rglob(".*.tmp*")) == []


def at_step(checkpoint: Path) -> int:
    state = load_state(checkpoint)
    return int(state["step"]) if state else 0


def masks(run: Path) -> int:
    return len(list(run.glob("pseudo_masks/[!.]*.png")))
