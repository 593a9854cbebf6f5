"""The per-image loop: everything once, in batches of one shape, errors through threads."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch
from PIL import Image

from wsss.data.augment import normalise, normalise_pixels
from wsss.data.images import Sample
from wsss.engine import inference
from wsss.engine.inference import Steps, costly_first, load, process, to_device
from wsss.engine.runtime import Runtime
from wsss.engine.team import ALONE, Team
from wsss.engine.usage import Usage

CPU = torch.device("cpu")
DEVICE = torch.device("meta")  # any device but the CPU: batches are made, nothing is computed on it


def steps(
    done: list[int], groups: list[list[int]], read: Callable[[int], int] = lambda item: item
) -> Steps[int, int, int]:
    def compute(batch: list[int]) -> list[int]:
        groups.append(batch)
        return [10 * item for item in batch]

    return Steps(read, lambda item: item % 3, compute, done.append)


@pytest.mark.parametrize("workers", [0, 3])
def test_process_on_a_cpu_takes_items_one_by_one_in_order(workers: int) -> None:
    done: list[int] = []
    groups: list[list[int]] = []
    usage, _ = process(range(20), steps(done, groups), Runtime(CPU, workers=workers), "test")
    assert groups == [[i] for i in range(20)] and sorted(done) == [10 * i for i in range(20)]
    assert usage.units == 20 and usage.busy is None
    assert "images/s (main thread: read" in str(usage)


@pytest.mark.parametrize("workers", [0, 4])
@pytest.mark.parametrize("count", [1, 7, 200])
def test_process_on_a_device_batches_items_of_one_shape(workers: int, count: int) -> None:
    done: list[int] = []
    groups: list[list[int]] = []
    process(range(count), steps(done, groups), Runtime(DEVICE, workers=workers), "test")
    assert sorted(done) == [10 * i for i in range(count)]
    assert all(len({item % 3 for item in group}) == 1 for group in groups)
    assert max(map(len, groups)) <= inference.BATCH
    assert count < 200 or len(groups) <= count / inference.BATCH + 3


class Event:
    """A mark in a fake GPU's queue, which the host is told of when it waits."""

    waits: ClassVar[list[int]] = []
    now = 0.0

    def __init__(self, device: torch.device, enable_timing: bool) -> None:
        assert device.type == "cuda" and enable_timing

    def record(self) -> None:
        self.at = Event.now

    def query(self) -> bool:
        return False

    def synchronize(self) -> None:
        Event.waits.append(len(written))

    def elapsed_time(self, last: "Event") -> float:
        return last.at - self.at


written: list[int] = []


def test_process_on_a_gpu_tells_how_long_it_was_busy_and_waits_for_it_last(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch, "Event", Event)
    Event.waits.clear(), written.clear()

    def compute(batch: list[int]) -> list[int]:
        Event.now += 1500  # ms
        return batch

    own: Steps[int, int, int] = Steps(lambda i: i, lambda i: 0, compute, written.append)
    items = range(3 * inference.BATCH)
    usage, _ = process(items, own, Runtime(torch.device("cuda", 0)), "test")
    assert usage.busy == 3 * 1.5
    # the marks are read when everything is written
    assert set(Event.waits) == {len(items)}


def test_usage_shares_are_of_all_loops_and_processes() -> None:
    usage = Usage("images", 10, {"read": 1.0, "compute": 3.0, "write": 0.0}, 2.0, processes=2)
    usage.merge(Usage("images", 30, {"read": 0.0, "compute": 3.0, "write": 1.0}, 4.0))
    assert str(usage) == (
        "10.0 images/s (GPU busy 75%; main thread: read 12%, compute 75%, write 12%)"
    )


def test_process_holds_few_inputs_of_rare_shapes() -> None:
    held = 0

    def read(item: int) -> int:
        nonlocal held
        held += 1
        assert held <= 5 * inference.BATCH
        return item

    def compute(batch: list[int]) -> list[int]:
        nonlocal held
        held -= len(batch)
        return batch

    done: list[int] = []
    every: Steps[int, int, int] = Steps(read, lambda item: item, compute, done.append)
    process(range(500), every, Runtime(DEVICE), "test")
    assert sorted(done) == list(range(500))


@pytest.mark.parametrize("workers", [0, 3])
@pytest.mark.parametrize("part", ["read", "write"])
def test_process_raises_what_a_step_raises_and_keeps_what_was_written(
    workers: int, part: str
) -> None:
    done: list[int] = []

    def fails(item: int) -> int:
        if item in (9, 90):
            raise KeyError(item)
        done.append(item)
        return item

    def passes(item: int) -> int:
        return item

    chosen = {"read": passes, "write": passes, part: fails}
    broken: Steps[int, int, int] = Steps(
        chosen["read"], lambda item: 0, lambda batch: batch, chosen["write"]
    )
    with pytest.raises(KeyError):
        process(range(50), broken, Runtime(CPU, workers=workers), "test")
    assert set(range(9)) <= set(done) and threading.active_count() < 50


def test_costly_first_where_nothing_limits_the_cost(tmp_path: Path) -> None:
    samples = [Sample(f"{n}", tmp_path / f"{n}.jpg", ()) for n in range(4)]
    for sample, size in zip(samples[:3], (5, 90, 20), strict=True):
        sample.path.write_bytes(bytes(size))  # the last is missing
    assert costly_first([3, 0, 1, 2], samples, None, Team(0, 2)) == [1, 2, 0, 3]
    assert costly_first([3, 0], samples, 1024, Team(0, 2)) == [3, 0]
    assert costly_first([3, 0], samples, None, ALONE) == [3, 0]


def test_to_device_and_normalise_pixels_equal_normalise_of_each_image() -> None:
    images = [np.random.default_rng(i).integers(0, 256, (5, 7, 3), np.uint8) for i in range(3)]
    found = normalise_pixels(to_device(images, CPU))
    assert torch.equal(found, torch.stack([normalise(image) for image in images]))


def test_load_limits_the_side_and_knows_the_whole_size(tmp_path: Path) -> None:
    Image.new("RGB", (40, 20)).save(tmp_path / "a.png")
    loaded = load(Sample("a", tmp_path / "a.png", ()), 10)
    assert loaded.image.shape == (5, 10, 3) and loaded.size == (20, 40)
