"""Two processes that work together, as torchrun starts them: equal weights, one set of files."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import wsss
from tests.processes import free_port
from wsss.config import RunConfig

# each process keeps the weights that it ended with, beside what the stage itself writes
PROGRAM = """
import os, sys, torch
from wsss.cli import app
from wsss.engine import loop
train = loop.train
def kept(runtime, *arguments, **names):
    model = train(runtime, *arguments, **names)
    torch.save(model.state_dict(), os.path.join(sys.argv[1], f"rank{runtime.team.rank}.pt"))
    return model
loop.train = kept
app(sys.argv[2:])
"""


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
        ("train-cls", ["train_cls.backbone_lr_factor=0"]),
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
    for code, _, stderr in results:
        assert code == 0, stderr
    assert [stdout for _, stdout, _ in results] == [f"{folder / 'model.safetensors'}\n", ""]
    assert f"{stage} " in results[0][2] and results[1][2].count(f"{stage} ") == 0
    weights = [torch.load(tmp_path / "ranks" / f"rank{n}.pt", weights_only=True) for n in (0, 1)]
    assert len(weights[0]) > 50
    for name, value in weights[0].items():
        assert torch.equal(value, weights[1][name]), name
    assert (folder / "done.json").is_file() and not (folder / "checkpoint.pt").exists()


@pytest.mark.slow
def test_run_in_two_processes_makes_what_one_makes(
    tmp_path: Path, synthetic: Path, finished: RunConfig
) -> None:
    run = tmp_path / "run"
    shutil.copytree(finished.run, run)
    for made in ("pseudo_masks", "seeds"):
        shutil.rmtree(run / made)
    settings = [run, f"run={run}", f"data.root={synthetic}", "data.mask_split=train"]
    results = torchrun(tmp_path / "masks", "generate-pseudo-masks", *settings)
    assert [code for code, *_ in results] == [0, 0], results
    assert_same_files(run, finished.run, "seeds/*.npz", "pseudo_masks/*.png")
    shutil.rmtree(run)
    shutil.copytree(finished.run, run)
    for made in ("predictions", "evaluation", "report"):
        shutil.rmtree(run / made)
    results = torchrun(tmp_path / "ranks", "run", *settings)
    assert [code for code, *_ in results] == [0, 0], results
    assert [stdout for _, stdout, _ in results] == [f"{run / 'report' / 'index.html'}\n", ""]
    assert_same_files(run, finished.run, "predictions/*/*.png", "evaluation/*")


@pytest.mark.slow
def test_two_processes_choose_walks_of_own_images(
    tmp_path: Path, tiny: Path, finished: RunConfig
) -> None:
    text = tiny.read_text().replace(", walks: [{block: '8.0', steps: 2}]", "")
    config = tmp_path / "open.yaml"
    config.write_text(text.replace("depths: [1, 1, 1, 1]", "depths: [1, 1, 5, 1]"))
    data = finished.data.root
    assert data is not None
    own = [f"data.images={data / 'JPEGImages'}", f"data.tags={data / 'Annotations'}"]
    run = tmp_path / "run"
    results = torchrun(tmp_path / "ranks", "run", config, f"run={run}", *own)
    assert [code for code, *_ in results] == [0, 0], results
    assert (run / "tuning.json").is_file()
    results = torchrun(tmp_path / "tune", "tune", run)
    assert [code for code, *_ in results] == [0, 0], results


def assert_same_files(run: Path, other: Path, *patterns: str) -> None:
    for pattern in patterns:
        files = sorted(other.glob(pattern))
        assert [file.relative_to(other) for file in files] == [
            file.relative_to(run) for file in sorted(run.glob(pattern))
        ]
        assert len(files) >= 4
        for file in files:
            assert (run / file.relative_to(other)).read_bytes() == file.read_bytes(), file


@pytest.mark.slow
def test_processes_say_once_what_is_wrong(tmp_path: Path, tiny: Path, synthetic: Path) -> None:
    settings = [tiny, f"run={tmp_path / 'run'}", f"data.root={synthetic}"]
    results = torchrun(tmp_path / "ranks", "train-seg", *settings)
    assert [code for code, *_ in results] == [2, 2]
    assert [stderr.count("wsss: ") for *_, stderr in results] == [1, 0]
    assert "generate-pseudo-masks" in results[0][2]
