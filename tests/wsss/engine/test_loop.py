"""The training loop: a training that was cut short ends with the weights of an unbroken one."""

import copy
import json
import re
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from wsss.engine import usage
from wsss.engine.checkpoint import load_state, save_state
from wsss.engine.loop import train
from wsss.engine.runtime import Runtime
from wsss.engine.schedule import Schedule
from wsss.engine.team import Team
from wsss.errors import WsssError


class Noise(Dataset[tuple[Tensor, Tensor]]):
    """Images that follow from (epoch, index), as the real sets' do."""

    def __init__(self, stop_after: int | None = None) -> None:
        self.left = stop_after

    def __len__(self) -> int:
        return 5

    def __getitem__(self, key: tuple[int, int]) -> tuple[Tensor, Tensor]:
        if self.left is not None:
            self.left -= 1
            if self.left < 0:
                raise KeyboardInterrupt
        generator = torch.Generator().manual_seed(100 * key[0] + key[1])
        return torch.randn(3, 8, 8, generator=generator), torch.tensor([float(key[1] % 2)])


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3),
        nn.BatchNorm2d(4),
        nn.Dropout(0.5),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(4, 1),
    )


def loss(model: nn.Module, batch: Sequence[Tensor]) -> Tensor:
    images, targets = batch
    value = nn.functional.binary_cross_entropy_with_logits(model(images).float(), targets)
    return value


SCHEDULE = Schedule(steps=9, batch_size=2, warmup_steps=2, poly_power=0.9, clip_grad=1.0, ema=0.9)


def fit(
    folder: Path, dataset: Noise, *, workers: int = 0, save_every: float = 0, **changes: Any
) -> tuple[nn.Module, nn.Module]:
    folder.mkdir(exist_ok=True)
    model = changes.pop("model", None) or network()
    trained = train(
        Runtime(torch.device("cpu"), workers=workers, precision=changes.pop("precision", "fp32")),
        model,
        [{"params": list(model.parameters()), "lr": 0.1}],
        dataset,
        changes.pop("loss", loss),
        changes.pop("schedule", SCHEDULE),
        title="test",
        seed=4,
        checkpoint=folder / "checkpoint.pt",
        log=folder / "log.jsonl",
        save_every=save_every,
    )
    return model, trained


def assert_same(one: nn.Module, other: nn.Module) -> None:
    for name, value in one.state_dict().items():
        assert torch.equal(value, other.state_dict()[name]), name


@pytest.mark.parametrize("stop_after", [1, 7, 16])
def test_train_cut_short_ends_as_an_unbroken_one(tmp_path: Path, stop_after: int) -> None:
    _, whole = fit(tmp_path / "whole", Noise())
    with pytest.raises(KeyboardInterrupt):
        fit(tmp_path / "cut", Noise(stop_after))
    state = load_state(tmp_path / "cut" / "checkpoint.pt")
    assert (state["step"] if state else 0) == stop_after // 2
    # what torch's generator has been through since must not matter
    torch.manual_seed(999)
    _, resumed = fit(tmp_path / "cut", Noise())
    assert_same(whole, resumed)
    assert not whole.training


def overflowing(model: nn.Module, batch: Sequence[Tensor]) -> Tensor:
    """A loss whose gradients float16 holds at a small scale alone."""
    return 100 * loss(model, batch)


def test_train_in_fp16_leaves_out_steps_that_overflow_until_the_scale_fits(tmp_path: Path) -> None:
    short = replace(SCHEDULE, steps=1)
    one, _ = fit(tmp_path / "one", Noise(), loss=overflowing, schedule=short, precision="fp16")
    for mine, start in zip(one.parameters(), network().parameters(), strict=True):
        assert torch.equal(mine, start)
    model, _ = fit(tmp_path / "all", Noise(), loss=overflowing, precision="fp16")
    state = load_state(tmp_path / "all" / "checkpoint.pt")
    assert state is not None and 1 <= state["scaler"]["scale"] < 2**16
    for mine, start in zip(model.parameters(), network().parameters(), strict=True):
        assert mine.isfinite().all() and not torch.equal(mine, start)


@pytest.mark.parametrize("changes", [{}, {"accumulate": 2, "batch_size": 4}], ids=str)
def test_train_in_fp16_cut_short_ends_as_an_unbroken_one(
    tmp_path: Path, changes: dict[str, int]
) -> None:
    options = {"loss": overflowing, "precision": "fp16"}
    schedule = replace(SCHEDULE, **changes)  # type: ignore[arg-type]
    _, whole = fit(tmp_path / "whole", Noise(), schedule=schedule, **options)
    cut = Noise(stop_after=7 * schedule.batch_size)
    with pytest.raises(KeyboardInterrupt):
        fit(tmp_path / "cut", cut, schedule=schedule, **options)
    state = load_state(tmp_path / "cut" / "checkpoint.pt")
    # it has been lowered, and would have to be again
    assert state is not None and state["step"] == 7 and state["scaler"]["scale"] < 2**16
    _, resumed = fit(tmp_path / "cut", Noise(), schedule=schedule, **options)
    assert_same(whole, resumed)


def test_train_in_fp16_ends_where_no_scale_fits(tmp_path: Path) -> None:
    def steep(model: nn.Module, batch: Sequence[Tensor]) -> Tensor:
        return 1e9 * overflowing(model, batch)

    schedule = replace(SCHEDULE, steps=40)
    with pytest.raises(WsssError, match=r"overflow float16 at step 1\d.*runtime\.precision=fp32"):
        fit(tmp_path, Noise(), loss=steep, schedule=schedule, precision="fp16")


def test_train_begun_in_fp16_goes_on_in_fp32(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        fit(tmp_path, Noise(stop_after=8), precision="fp16")
    model, _ = fit(tmp_path, Noise())
    state = load_state(tmp_path / "checkpoint.pt")
    assert state is not None and state["step"] == 9 and state["scaler"] == {}
    assert not torch.equal(model[0].weight, network()[0].weight)  # type: ignore[index]


def test_train_changes_the_weights_and_follows_the_seed(tmp_path: Path) -> None:
    _, once = fit(tmp_path / "a", Noise())
    _, twice = fit(tmp_path / "b", Noise())
    assert_same(once, twice)
    assert not torch.equal(once[0].weight, network()[0].weight)  # type: ignore[index]


def test_train_keeps_a_finished_checkpoint(tmp_path: Path) -> None:
    _, whole = fit(tmp_path, Noise())
    _, again = fit(tmp_path, Noise(stop_after=0))
    assert_same(whole, again)


def test_train_saves_no_checkpoint_before_its_time(tmp_path: Path) -> None:
    fit(tmp_path, Noise(), save_every=60)
    assert not (tmp_path / "checkpoint.pt").exists()


def test_train_tells_where_its_time_went(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Watch:
        """Of a GPU that has a thousandth of a second's work a step."""

        def __init__(self, _: torch.device) -> None:
            self.seconds = {"busy": 0.0}

        def __call__(self, part: str) -> AbstractContextManager[None]:
            self.seconds[part] += 1e-3
            return nullcontext()

    fit(tmp_path / "cpu", Noise())
    told = capsys.readouterr().err.splitlines()[-1]
    assert re.fullmatch(r"test  [\d.]+ steps/s \(main thread: read .*, write \d+%\)", told)
    monkeypatch.setattr(usage, "Stopwatch", Watch)
    monkeypatch.setattr(Runtime, "on_gpu", True)
    fit(tmp_path / "gpu", Noise())
    assert "steps/s (GPU busy" in capsys.readouterr().err


def test_train_logs_the_loss(tmp_path: Path) -> None:
    fit(tmp_path, Noise())
    records = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert records[-1]["done"] == records[-1]["of"] == 9
    assert records[-1]["loss"] > 0


def plain() -> nn.Module:
    """Without dropout and batch statistics, so that a batch is the sum of its parts."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.GELU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 1)
    )


def test_train_with_accumulated_batches_equals_whole_ones(tmp_path: Path) -> None:
    whole, parts = (replace(SCHEDULE, batch_size=4, accumulate=n) for n in (1, 4))
    start = plain()
    one, _ = fit(tmp_path / "a", Noise(), model=copy.deepcopy(start), schedule=whole)
    four, _ = fit(tmp_path / "b", Noise(), model=copy.deepcopy(start), schedule=parts)
    for name, value in one.state_dict().items():
        torch.testing.assert_close(value, four.state_dict()[name], rtol=1e-4, atol=1e-5)
        assert not torch.allclose(value, start.state_dict()[name], rtol=1e-2), name
    logs = [(tmp_path / run / "log.jsonl").read_text().splitlines() for run in ("a", "b")]
    losses = [[json.loads(line)["loss"] for line in log] for log in logs]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


def test_train_with_accumulated_batches_cut_short_ends_as_an_unbroken_one(tmp_path: Path) -> None:
    parts = replace(SCHEDULE, batch_size=4, accumulate=2)
    _, whole = fit(tmp_path / "whole", Noise(), schedule=parts)
    with pytest.raises(KeyboardInterrupt):
        fit(tmp_path / "cut", Noise(stop_after=4 * 3 + 2), schedule=parts)
    state = load_state(tmp_path / "cut" / "checkpoint.pt")
    assert state is not None and state["step"] == 3
    _, resumed = fit(tmp_path / "cut", Noise(), schedule=parts)
    assert_same(whole, resumed)


def test_train_refuses_a_checkpoint_of_another_network(tmp_path: Path) -> None:
    fit(tmp_path, Noise())
    other = nn.Sequential(nn.Conv2d(3, 5, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    with pytest.raises(WsssError, match=r"checkpoint\.pt belongs to another network"):
        fit(tmp_path, Noise(), model=other)


def test_train_refuses_a_checkpoint_that_lacks_a_part(tmp_path: Path) -> None:
    save_state(tmp_path / "checkpoint.pt", {"step": 3})
    with pytest.raises(WsssError, match=r"checkpoint\.pt belongs to another network"):
        fit(tmp_path, Noise())


class Faulty(Noise):
    def __getitem__(self, key: tuple[int, int]) -> tuple[Tensor, Tensor]:
        raise WsssError("The image x.jpg does not decode (cut off): copy it again.")


@pytest.mark.parametrize("workers", [0, 1])
def test_train_reports_a_bad_image_from_a_worker_unchanged(tmp_path: Path, workers: int) -> None:
    with pytest.raises(WsssError) as error:
        fit(tmp_path, Faulty(), workers=workers)
    assert str(error.value) == "The image x.jpg does not decode (cut off): copy it again."


def test_train_with_workers_equals_without(tmp_path: Path) -> None:
    _, alone = fit(tmp_path / "a", Noise())
    _, with_worker = fit(tmp_path / "b", Noise(), workers=1)
    assert_same(alone, with_worker)


def test_train_stops_where_the_loss_is_not_finite(tmp_path: Path) -> None:
    def broken(model: nn.Module, batch: Sequence[Tensor]) -> Tensor:
        return loss(model, batch) * float("nan")

    with pytest.raises(WsssError, match="loss is nan at step 0"):
        fit(tmp_path, Noise(), loss=broken)
    assert not (tmp_path / "checkpoint.pt").exists()


@pytest.mark.parametrize(
    ("world", "least", "fault"),
    [(3, 1, "2 for 3 processes"), (2, 2, "2 images")],
)
def test_train_refuses_a_batch_smaller_than_its_processes(
    tmp_path: Path, world: int, least: int, fault: str
) -> None:
    model = network()
    with pytest.raises(WsssError, match=fault):
        train(
            Runtime(torch.device("cpu"), Team(0, world)),
            model,
            [{"params": list(model.parameters()), "lr": 0.1}],
            Noise(),
            loss,
            replace(SCHEDULE, least=least),
            title="test",
            seed=4,
            checkpoint=tmp_path / "checkpoint.pt",
            log=tmp_path / "log.jsonl",
        )


@pytest.mark.parametrize("step", [-1, 10**6])
def test_train_refuses_a_checkpoint_of_another_length(tmp_path: Path, step: int) -> None:
    fit(tmp_path, Noise())
    state = load_state(tmp_path / "checkpoint.pt")
    assert state is not None
    save_state(tmp_path / "checkpoint.pt", {**state, "step": step})
    with pytest.raises(WsssError, match=f"checkpoint.pt is of step {step}"):
        fit(tmp_path, Noise())
