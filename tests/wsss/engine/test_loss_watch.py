"""A loss that is not finite is found before anything is kept, without a look at every step."""

import math

import pytest
import torch
from torch.amp import GradScaler

from wsss.engine import loss_watch
from wsss.engine.loss_watch import LossWatch
from wsss.errors import WsssError

CPU = torch.device("cpu")
UNSCALED = GradScaler("cpu", enabled=False)


@pytest.fixture
def on_a_device(monkeypatch: pytest.MonkeyPatch) -> LossWatch:
    """A watch that looks at every fifth step, as if it were costly."""
    monkeypatch.setattr(loss_watch, "EVERY", 5)
    watch = LossWatch("test", torch.device("meta"), UNSCALED)
    watch._finite, watch._loss = torch.ones((), dtype=torch.bool), torch.zeros(())
    return watch


def test_update_on_a_cpu_names_the_step() -> None:
    watch = LossWatch("train-cls", CPU, UNSCALED)
    watch.update(torch.tensor(0.5), 0)
    assert watch.value == 0.5
    with pytest.raises(WsssError, match="train-cls: the loss is nan at step 1: lower"):
        watch.update(torch.tensor(math.nan), 1)


def test_update_on_a_device_looks_once_in_a_while(on_a_device: LossWatch) -> None:
    seen = []
    for step in range(12):
        on_a_device.update(torch.tensor(float(step)), step)
        seen.append(on_a_device.value)
    assert seen == [0] * 5 + [5] * 5 + [10] * 2


def test_update_on_a_device_finds_what_came_between_two_looks(on_a_device: LossWatch) -> None:
    on_a_device.update(torch.tensor(1.0), 0)
    on_a_device.update(torch.tensor(math.inf), 1)
    for step in (2, 3, 4):
        on_a_device.update(torch.tensor(1.0), step)
    with pytest.raises(WsssError, match="not finite within the steps up to 5"):
        on_a_device.update(torch.tensor(1.0), 5)


def test_look_finds_it_before_the_interval_is_over(on_a_device: LossWatch) -> None:
    on_a_device.update(torch.tensor(1.0), 0)
    on_a_device.update(torch.tensor(math.nan), 1)
    with pytest.raises(WsssError, match="nan at step 1"):
        on_a_device.look(1)


def test_update_in_fp16_names_the_wider_precision() -> None:
    watch = LossWatch("train-cls", CPU, GradScaler("cpu"))
    with pytest.raises(WsssError, match=r"nan at step 0.* or take runtime\.precision=fp32"):
        watch.update(torch.tensor(math.nan), 0)


def test_update_finds_that_the_scale_has_come_to_nothing() -> None:
    watch, loss = LossWatch("train-seg", CPU, GradScaler("cpu", init_scale=0.5)), torch.tensor(1.0)
    watch._scaler.scale(loss)  # begins
    with pytest.raises(WsssError, match=r"overflow float16 at step 3.*runtime\.precision=fp32"):
        watch.update(loss, 3)
