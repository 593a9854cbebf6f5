"""Two processes that train together, as torchrun starts them: equal weights, one set of files."""

import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import wsss
from wsss.config import RunConfig

# each process keeps the weights that it ended with, beside what the stage itself writes
PROGRAM = """
import os, sys, torch
from wsss.cli import app
from wsss.engine import loop
train = loop.train
def kept(runtime, *arguments, **names):
    model = train(runtime, *arguments, **names)
    torch.save(model.state_dict(), os.path.join(sys.argv[1], f"rank{runtime.rank}.pt"))
    return model
loop.train = kept
app(sys.argv[2:])
"""


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def torchrun(folder: Path, *arguments: object) -> list[tuple[int, str, str]]:
    """Exit code, stdout and stderr of both processes."""
    folder.mkdir()
    shared = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    path = str(Path(wsss.__file__).parent.parent)
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(folder), *map(str, arguments)],
            env={**os.environ, **shared, "RANK": str(n), "LOCAL_RANK": str(n), "PYTHONPATH": path},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for n in (0, 1)
    ]
    outputs = [process.communicate(timeout=240) for process in processes]
    return [(p.returncode, *output) for p, output in zip(processes, outputs, strict=True)]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("stage", "more"),
    [
        ("train-cls", []),
        ("train-seg", []),
        ("train-seg", ["train_seg.accumulate=2"]),
    ],
)
def test_train_in_two_processes_ends_with_equal_weights(
    tmp_path: Path, tiny: Path, synthetic: Path, finished: RunConfig, stage: str, more: list[str]
) -> None:
    run = tmp_path / "run"
    settings = [tiny, f"run={run}", f"data.root={synthetic}", "data.mask_split=train"]
    settings += ["train_cls.batch_size=4", "train_seg.batch_size=4", "runtime.save_every=0"]
    settings += more
    if stage == "train-seg":
        # the encoder starts from the classifier of a single process
        for earlier in ("train_cls", "pseudo_masks"):
            shutil.copytree(finished.run / earlier, run / earlier)
            (run / earlier / "settings.json").unlink()
    results = torchrun(tmp_path / "ranks", stage, *settings)
    folder = run / stage.replace("-", "_")
    for code, stdout, stderr in results:
        assert code == 0, stderr
        assert stdout == f"{folder / 'model.safetensors'}\n"
    assert f"{stage} " in results[0][2] and results[1][2].count(f"{stage} ") == 0
    weights = [torch.load(tmp_path / "ranks" / f"rank{n}.pt", weights_only=True) for n in (0, 1)]
    # running means are each process's own until the next step; what is learnt is shared
    learnt = [name for name in weights[0] if "running_" not in name]
    assert len(learnt) > 50
    for name in learnt:
        assert torch.equal(weights[0][name], weights[1][name]), name
    assert (folder / "done.json").is_file() and not (folder / "checkpoint.pt").exists()


@pytest.mark.slow
def test_run_in_two_processes_is_refused(tmp_path: Path, tiny: Path, synthetic: Path) -> None:
    results = torchrun(
        tmp_path / "ranks", "run", tiny, f"run={tmp_path / 'run'}", f"data.root={synthetic}"
    )
    for code, _, stderr in results:
        assert code == 2
        assert stderr.count("wsss: ") == 1 and "torchrun" in stderr.splitlines()[-1]
