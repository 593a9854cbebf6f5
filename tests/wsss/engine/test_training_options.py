"""Settings of training that change its speed and memory, not its meaning."""

from pathlib import Path

import pytest
import timm
import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from glmix.glnet import Stage
from wsss.config import RunConfig, RuntimeConfig, load
from wsss.data import augment
from wsss.engine import loop
from wsss.engine.runtime import Runtime, start
from wsss.engine.schedule import Average
from wsss.engine.synced_norm import SyncedBatchNorm2d
from wsss.engine.team import Team
from wsss.engine.train_stage import compute_again, train_stage
from wsss.models.backbone import create_backbone
from wsss.run.state import Work

SMALL = {"depths": [1, 1, 1, 1], "embed_dims": [32, 32, 64, 64], "slot_grid": [4, 4]}


class Keyed(TensorDataset):
    def __getitem__(self, index: tuple[int, int]) -> tuple[Tensor, ...]:
        return super().__getitem__(index[1])


def trained(folder: Path, *settings: str) -> nn.Module:
    config: RunConfig = load(
        None,
        [
            f"run={folder}",
            "data.root=nowhere",
            "train_cls={epochs: 1, batch_size: 2, crop: 64}",
            "runtime={device: cpu, workers: 0, precision: fp32}",
            *settings,
        ],
    )
    torch.manual_seed(0)
    model = create_backbone("glnet_nano", None, SMALL)
    images = torch.randint(0, 256, (4, 3, 64, 64), dtype=torch.uint8)

    def loss_function(network: nn.Module, batch: object) -> Tensor:
        (pixels,) = batch  # type: ignore[misc]
        return network(augment.normalise_pixels(pixels)).square().mean()

    runtime = start(config.runtime, 0)
    work = Work(config, "train_cls", {})
    try:
        return train_stage(work, runtime, model, model, 1.0, Keyed(images), loss_function)
    finally:
        work.release()


def test_grad_checkpointing_computes_the_same(tmp_path: Path) -> None:
    plain = trained(tmp_path / "plain")
    again = trained(tmp_path / "again", "backbone.grad_checkpointing=true")
    assert not any(s.grad_checkpointing for s in plain.stages if isinstance(s, Stage))  # type: ignore[union-attr]
    assert all(s.grad_checkpointing for s in again.stages if isinstance(s, Stage))  # type: ignore[union-attr]
    for name, value in plain.state_dict().items():
        torch.testing.assert_close(again.state_dict()[name], value, msg=name)


def test_grad_checkpointing_is_no_reason_to_train_again(tmp_path: Path) -> None:
    trained(tmp_path / "run")
    settings = [f"run={tmp_path / 'run'}", "data.root=nowhere", "backbone.grad_checkpointing=true"]
    changed = load(None, [*settings, "train_cls={epochs: 1, batch_size: 2, crop: 64}"])
    assert not Work(changed, "train_cls", {}).run.changes("train_cls", changed)


def test_grad_checkpointing_is_passed_over_by_backbones_without_it() -> None:
    with torch.device("meta"):
        without, with_it = (
            timm.create_model(name, features_only=True) for name in ("hrnet_w18_small", "resnet18")
        )
    assert not compute_again(without) and compute_again(with_it)


def test_deterministic_is_asked_of_torch() -> None:
    assert not torch.are_deterministic_algorithms_enabled()
    try:
        start(RuntimeConfig(device="cpu", deterministic=True), 0)
        assert torch.are_deterministic_algorithms_enabled()
        assert torch.is_deterministic_algorithms_warn_only_enabled()
    finally:
        torch.use_deterministic_algorithms(False)


def test_one_process_keeps_its_batch_norms() -> None:
    model = nn.Sequential(nn.BatchNorm2d(3))
    found = loop._distributed(model, Runtime(torch.device("cpu")))
    assert type(found[0]) is nn.BatchNorm2d  # type: ignore[index]


@pytest.mark.parametrize(
    ("device", "kind"), [("cpu", SyncedBatchNorm2d), ("cuda:0", nn.SyncBatchNorm)]
)
def test_processes_share_their_batch_norms(
    monkeypatch: pytest.MonkeyPatch, device: str, kind: type[nn.Module]
) -> None:
    monkeypatch.setattr(loop, "DistributedDataParallel", lambda model, device_ids: model)
    model = nn.Sequential(nn.BatchNorm2d(3))
    found = loop._distributed(model, Runtime(torch.device(device), Team(0, 4)))
    assert type(found[0]) is kind  # type: ignore[index]


def test_average_is_the_lerp_of_every_weight() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    average = Average(model, 0.9)
    expected = {k: v.clone() for k, v in average.values.items()}
    for step in range(3):
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(torch.randn_like(parameter))
        average.update(model, step)
        decay = min(0.9, (1 + step) / (10 + step))
        for name, value in model.state_dict().items():
            if value.is_floating_point():
                expected[name] = expected[name].lerp(value, 1 - decay)
            else:
                expected[name] = value.clone()
    for name, value in average.values.items():
        assert torch.equal(value, expected[name]), name
