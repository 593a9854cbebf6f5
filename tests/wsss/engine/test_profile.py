"""Time by part and peak memory of a piece of work."""

import sys
import time

import pytest
import torch

from wsss.engine.profile import Stopwatch, peak_memory

CPU = torch.device("cpu")


def busy(seconds: float) -> None:
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass


def test_stopwatch_adds_up_parts_and_counts_no_sleep() -> None:
    watch = Stopwatch(CPU)
    for _ in range(2):
        with watch("walk"):
            busy(0.02)
    with watch("wait"):
        time.sleep(0.2)
    assert watch.seconds["walk"] >= 0.04
    assert watch.seconds["wait"] < 0.04
    assert watch.per_unit(2)["walk"] == pytest.approx(500 * watch.seconds["walk"], abs=0.01)
    assert watch.per_unit(0) == {}


def test_stopwatch_counts_a_part_that_fails() -> None:
    watch = Stopwatch(CPU)
    with pytest.raises(ValueError, match="no"), watch("walk"):
        raise ValueError("no")
    assert "walk" in watch.seconds


@pytest.mark.skipif(sys.platform != "linux", reason="Linux reports the peak memory of a process")
def test_peak_memory_is_what_the_work_held_at_once() -> None:
    mib = 100
    values = mib * 2**20 // 4

    def work() -> None:
        for _ in range(3):  # one after the other: only one at a time
            torch.ones(values).sum()

    first, second = peak_memory(CPU, work), peak_memory(CPU, work)
    assert first is not None and second is not None
    for peak in (first, second):  # the second doesn't live on what the first gave back
        assert mib * 2**20 * 0.95 <= peak <= (mib + 24) * 2**20


class Event:
    """Of a queue that takes a quarter of a second between two marks; `waits` counts who waits."""

    now, waits, passed = 0.0, 0, False

    def __init__(self, device: torch.device, enable_timing: bool) -> None:
        assert device.type == "meta" and enable_timing

    def record(self) -> None:
        Event.now += 250
        self.at = Event.now

    def query(self) -> bool:
        return Event.passed

    def synchronize(self) -> None:
        Event.waits += 1

    def elapsed_time(self, last: "Event") -> float:
        return last.at - self.at


def test_a_device_is_waited_for_only_when_the_time_is_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch, "Event", Event)
    watch = Stopwatch(torch.device("meta"))
    for _ in range(2):
        with watch("walk"):
            pass
    assert Event.waits == 0
    assert watch.per_unit(5) == {"walk": 100.0}
    assert watch.seconds == {"walk": 0.5} and Event.waits == 2
    # what has passed is counted and not kept
    monkeypatch.setattr(Event, "passed", True)
    with watch("walk"):
        pass
    assert not watch._events
    assert watch.seconds == {"walk": 0.75} and Event.waits == 2
