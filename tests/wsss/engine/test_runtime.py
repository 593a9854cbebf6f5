"""Where a run computes: devices that don't exist, seeds, precision, the other processes."""

import random

import numpy as np
import pytest
import torch

from wsss.config import RuntimeConfig
from wsss.engine import runtime as runtime_module
from wsss.engine.runtime import Runtime, start
from wsss.engine.team import ALONE, Team
from wsss.errors import WsssError


def settings(**values: object) -> RuntimeConfig:
    return RuntimeConfig.model_validate({"device": "cpu", **values})


@pytest.mark.parametrize("device", ["gpu", "cuda:99", "", "cpu:x"])
def test_start_refuses_a_device_that_does_not_exist(device: str) -> None:
    with pytest.raises(WsssError, match=rf"{device!r} .*runtime\.device=auto") as error:
        start(settings(device=device), 0)
    assert "\n" not in str(error.value)


def test_start_on_auto_takes_the_cpu_without_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    runtime = start(settings(device="auto"), 0)
    assert runtime == Runtime(
        torch.device("cpu"), ALONE, 0, runtime.precision, runtime_module.hardware(runtime.device)
    )
    assert runtime.is_main


def test_start_on_auto_takes_the_gpu_of_the_local_rank(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (8, 0))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "NVIDIA A100-SXM4-40GB")
    monkeypatch.setattr(torch.cuda, "set_device", lambda _: None)
    monkeypatch.setenv("LOCAL_RANK", "3")
    runtime = start(settings(device="auto"), 0)
    assert runtime.device == torch.device("cuda", 3) and runtime.workers > 0
    assert start(settings(device="auto", workers=0), 0).workers == 0


def draw() -> tuple[float, float, float]:
    return random.random(), float(np.random.rand()), float(torch.rand(()))


def test_start_seeds_every_generator() -> None:
    start(settings(), 5)
    first = draw()
    start(settings(), 5)
    assert draw() == first
    start(settings(), 6)
    assert all(a != b for a, b in zip(draw(), first, strict=True))


def test_start_sets_the_threads() -> None:
    before = torch.get_num_threads()
    try:
        start(settings(threads=before + 1), 0)
        assert torch.get_num_threads() == before + 1
    finally:
        torch.set_num_threads(before)


def test_autocast_follows_the_precision() -> None:
    a = torch.ones(2, 2)
    with start(settings(precision="bf16"), 0).autocast():
        assert (a @ a).dtype == torch.bfloat16
    with start(settings(precision="fp32"), 0).autocast():
        assert (a @ a).dtype == torch.float32


@pytest.mark.parametrize(("name", "index"), [("cuda", 3), ("cuda:1", 1), ("auto", 3)])
def test_start_makes_a_process_use_its_gpu(
    monkeypatch: pytest.MonkeyPatch, name: str, index: int
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch, "zeros", lambda *_, **__: None)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (8, 0))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "NVIDIA A100-SXM4-40GB")
    monkeypatch.setenv("LOCAL_RANK", "3")
    chosen: list[torch.device] = []
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    teams = iter([ALONE, Team(3, 4)])
    monkeypatch.setattr(runtime_module, "join", lambda: next(teams))
    for count in (1, 2):
        assert start(settings(device=name), 0).device == torch.device("cuda", index)
        assert chosen == [torch.device("cuda", index)] * count
