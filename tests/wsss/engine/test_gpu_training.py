"""Trainings on a GPU beside the CPU's: loss curves, resuming, averages, processes, precision.

`WSSS_TEST_DEVICE=cpu` runs the same code without a GPU, to see that it runs.
"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.amp import GradScaler
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import Dataset

from wsss.engine.loop import _apart, _gradients, train
from wsss.engine.precision import Precision
from wsss.engine.runtime import Runtime
from wsss.engine.schedule import Schedule
from wsss.models.backbone import create_backbone
from wsss.models.classifier import TagClassifier

pytestmark = pytest.mark.gpu

CPU = torch.device("cpu")
SMALL = {"depths": [1, 1, 2, 1], "embed_dims": [32, 32, 64, 64], "slot_grid": [4, 4]}
CLASSES = 3


class Coloured(Dataset[tuple[Tensor, Tensor]]):
    """Noise whose three channels are brighter for the tags; `stop_after` images it is cut off."""

    def __init__(self, stop_after: int | None = None) -> None:
        self.left = stop_after

    def __len__(self) -> int:
        return 12

    def __getitem__(self, key: tuple[int, int]) -> tuple[Tensor, Tensor]:
        if self.left is not None:
            self.left -= 1
            if self.left < 0:
                raise KeyboardInterrupt
        generator = torch.Generator().manual_seed(100 * key[0] + key[1])
        tags = torch.tensor([float(key[1] >> c & 1) for c in range(CLASSES)])
        return torch.randn(3, 64, 64, generator=generator) + tags[:, None, None], tags


def classifier() -> TagClassifier:
    torch.manual_seed(0)
    return TagClassifier(create_backbone("glnet_nano", None, SMALL), CLASSES, "16.0", 3, "lse")


def fit(
    folder: Path,
    device: torch.device,
    dataset: Dataset[Any] | None = None,
    precision: Precision = "fp32",
    **changes: Any,
) -> tuple[list[float], TagClassifier]:
    """The losses of 21 steps, seven epochs, and the model."""
    folder.mkdir(exist_ok=True)
    values: dict[str, Any] = {"steps": 21, "batch_size": 4, "warmup_steps": 2, "poly_power": 0.9}
    model, losses = classifier().to(device), []

    def loss(trained: nn.Module, batch: Sequence[Tensor]) -> Tensor:
        value = model.loss(trained(batch[0]), batch[1], 0.5)
        losses.append(value.detach())
        return value

    trained = train(
        Runtime(device, precision=precision),
        model,
        [{"params": list(model.parameters()), "lr": 1e-3}],
        dataset or Coloured(),
        loss,
        Schedule(**{**values, "clip_grad": 5.0, **changes}),
        title="test",
        seed=4,
        checkpoint=folder / "checkpoint.pt",
        log=folder / "log.jsonl",
        save_every=0,
    )
    assert trained is model
    return torch.stack(losses).float().cpu().tolist(), model


@pytest.mark.parametrize("changes", [{}, {"ema": 0.9}, {"accumulate": 2}], ids=str)
def test_gpu_loss_curve_and_weights_follow_the_cpus(
    gpu: torch.device, tmp_path: Path, changes: dict[str, Any]
) -> None:
    expected, theirs = fit(tmp_path / "cpu", CPU, **changes)
    found, mine = fit(tmp_path / "gpu", gpu, **changes)
    assert found == pytest.approx(expected, rel=0.02)
    epoch = len(found) // 7
    assert sum(found[-epoch:]) < 0.9 * sum(found[:epoch])
    with torch.no_grad():
        x = torch.stack([Coloured()[0, i][0] for i in range(4)])
        torch.testing.assert_close(
            mine(x.to(gpu)).logits.cpu(), theirs(x).logits, rtol=0.05, atol=0.05
        )


def test_gpu_training_cut_short_ends_as_an_unbroken_one(gpu: torch.device, tmp_path: Path) -> None:
    expected, whole = fit(tmp_path / "whole", gpu, ema=0.9)
    with pytest.raises(KeyboardInterrupt):
        fit(tmp_path / "cut", gpu, Coloured(stop_after=30), ema=0.9)
    found, resumed = fit(tmp_path / "cut", gpu, ema=0.9)
    assert 0 < len(found) < 21
    # gradients of enlarged maps are summed up in any order on a GPU
    assert found == pytest.approx(expected[-len(found) :], rel=1e-2)
    for (name, one), other in zip(
        whole.state_dict().items(), resumed.state_dict().values(), strict=True
    ):
        torch.testing.assert_close(one, other, rtol=1e-2, atol=1e-3, msg=name)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_gpu_training_in_half_the_bits_learns_as_in_float32(
    gpu: torch.device, tmp_path: Path, precision: Precision
) -> None:
    exact, _ = fit(tmp_path / "fp32", gpu)
    found, _ = fit(tmp_path / precision, gpu, precision=precision)
    assert found == pytest.approx(exact, rel=0.1)


def test_gpu_gradients_of_one_distributed_process_equal_those_without(
    gpu: torch.device, tmp_path: Path
) -> None:
    schedule = Schedule(2, 4, 0, 0.9, 1.0, accumulate=2)
    parts = [[torch.stack(x) for x in zip(*(Coloured()[0, i] for i in chosen), strict=True)]
             for chosen in ((0, 1), (2, 3))]  # fmt: skip

    def gradients(model: TagClassifier, trained: nn.Module) -> list[Tensor]:
        def loss(net: nn.Module, batch: Sequence[Tensor]) -> Tensor:
            return model.loss(net(batch[0]), batch[1], 0.5)

        scaler, apart = GradScaler(gpu.type, enabled=False), partial(_apart, trained)
        _gradients(Runtime(gpu), trained, parts, loss, schedule, scaler, apart)
        return [p.grad for p in model.parameters() if p.grad is not None]

    plain = classifier().to(gpu)
    expected = gradients(plain, plain)
    backend = "gloo" if gpu.type == "cpu" else "nccl"
    dist.init_process_group(
        backend, init_method=f"file://{tmp_path / 'meet'}", rank=0, world_size=1
    )
    try:
        model = classifier().to(gpu)
        ids = None if gpu.type == "cpu" else [0]
        found = gradients(model, DistributedDataParallel(model, device_ids=ids))
    finally:
        dist.destroy_process_group()
    for one, other in zip(expected, found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-5)


@pytest.mark.slow
def test_gpu_compiled_network_gives_the_same_loss_and_gradients(gpu: torch.device) -> None:
    x, tags = (
        torch.stack(x).to(gpu) for x in zip(*(Coloured()[0, i] for i in range(4)), strict=True)
    )
    results = []
    for compiled in (False, True):
        model = classifier().to(gpu)
        forward = torch.compile(model) if compiled else model
        loss = model.loss(forward(x), tags, 0.5)
        loss.backward()
        norm = torch.stack([p.grad.norm() for p in model.parameters() if p.grad is not None])
        results.append((loss.detach(), norm))
    torch.testing.assert_close(results[1][0], results[0][0], rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(results[1][1], results[0][1], rtol=2e-2, atol=1e-4)
