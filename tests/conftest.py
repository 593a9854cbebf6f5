"""Synthetic images and a finished tiny run, made once per session for end-to-end tests."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from wsss import pipeline
from wsss.config import RunConfig, load
from wsss.data.synthetic import write_synthetic_voc

# Two steps per stage on a GLNet of one block per stage: enough to run through everything.
TINY = """
backbone:
  name: glnet_nano
  weights: null
  args: {depths: [1, 1, 1, 1], embed_dims: [32, 32, 64, 64], slot_grid: [4, 4], slot_scale: 8.0}
train_cls: {epochs: 1, batch_size: 5, crop: 64, holdout: 0.2, warmup_steps: 1}
pseudo_masks: {scales: [1.0], confidence: 0.5, walks: [{block: '8.0', steps: 2}], keep_seeds: true}
train_seg: {epochs: 1, batch_size: 5, crop: 64, warmup_steps: 1, ema: 0.5}
runtime: {device: cpu, threads: 1, workers: 0}
"""


@pytest.fixture(scope="session")
def fake_cuda() -> None:
    """For tests of fake CUDA tensors: torch 2.6 asks for a real device even then."""
    try:
        with FakeTensorMode():
            torch.empty(1, device="cuda")[0].numel()
    except RuntimeError as error:
        pytest.skip(str(error).splitlines()[0])


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The settings of a tiny run, without data."""
    path = tmp_path_factory.mktemp("config") / "tiny.yaml"
    path.write_text(TINY)
    return path


@pytest.fixture(scope="session")
def synthetic(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve synthetic images to train on and four to score on, 64 × 64, in VOC layout."""
    root = tmp_path_factory.mktemp("synthetic") / "VOC"
    write_synthetic_voc(root, train=12, val=4, size=64)
    return root


@pytest.fixture
def copied(tmp_path: Path, synthetic: Path) -> Path:
    """A copy of the synthetic images, to be damaged."""
    return Path(shutil.copytree(synthetic, tmp_path / "VOC"))


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory, tiny: Path, synthetic: Path) -> RunConfig:
    """A finished run on the synthetic images. To be read: a test that changes it takes a copy."""
    folder = tmp_path_factory.mktemp("finished") / "run"
    config = load(tiny, [f"run={folder}", f"data.root={synthetic}", "data.mask_split=train"])
    pipeline.run(config)
    return config


@pytest.fixture
def run(finished: RunConfig, tmp_path: Path) -> RunConfig:
    """A copy of the finished run, to be changed."""
    shutil.copytree(finished.run, tmp_path / "run")
    return finished.model_copy(update={"run": tmp_path / "run"})


@pytest.fixture
def gpu() -> Iterator[torch.device]:
    """A CUDA device with products of float32 as such; WSSS_TEST_DEVICE=cpu tries a test's code."""
    if os.environ.get("WSSS_TEST_DEVICE") == "cpu":
        yield torch.device("cpu")
        return
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    yield torch.device("cuda", 0)
    torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before
