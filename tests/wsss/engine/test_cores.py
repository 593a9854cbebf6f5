"""How many cores a process may take, by what Linux says of them."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from wsss.engine import cores, runtime
from wsss.engine.cores import Look, free_cores

STAT = """cpu  100 50 100 1000 0 0 0 0 0 0
cpu0 {0} 50 100 500 9 1 2 77 0 0
cpu1 {1} {2} 100 500 9 1 2 77 0 0
cpu2 9999 0 0 0 0 0 0 0 0 0
intr 123456 7 8
ctxt 9
"""


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., None]:
    """Sets the ticks of two allowed cores of three, and a limit of the control group."""
    monkeypatch.setattr(cores, "_STAT", tmp_path / "stat")
    monkeypatch.setattr(cores, "_OWN_CGROUP", tmp_path / "cgroup")
    monkeypatch.setattr(cores, "_CGROUPS", tmp_path / "groups")
    monkeypatch.setattr(cores, "_allowed", lambda: {0, 1})
    monkeypatch.setattr(cores.os, "sysconf", lambda _: 100)
    monkeypatch.setattr(cores.os, "nice", lambda _: 0)

    def say(*ticks: int, limit: str | None = None) -> None:
        (tmp_path / "stat").write_text(STAT.format(*ticks))
        if limit is not None:
            (tmp_path / "cgroup").write_text("0::/pod/one\n")
            (tmp_path / "groups" / "pod" / "one").mkdir(parents=True, exist_ok=True)
            (tmp_path / "groups" / "pod" / "cpu.max").write_text(limit)
            (tmp_path / "groups" / "pod" / "one" / "cpu.max").write_text("max 100000\n")

    return say


def test_a_look_counts_the_own_cores_and_no_work_that_gives_way(
    machine: Callable[..., None],
) -> None:
    machine(300, 400, 5000)
    found = cores.look()
    assert found is not None and found.busy == pytest.approx((403 + 503) / 100)


@pytest.mark.parametrize(
    ("busy", "own", "free"),
    [
        (0.0, 0.0, 2),
        (1.0, 1.0, 2),  # all of it is this process's
        (1.4, 1.0, 2),  # 0.4 of a core for a second
        (2.0, 1.0, 1),
        (2.9, 0.0, 1),  # at least one
        (0.0, 0.5, 2),  # clocks that differ
    ],
)
def test_free_cores_are_those_that_others_leave(
    machine: Callable[..., None], busy: float, own: float, free: int
) -> None:
    machine(0, 0, 0)
    assert free_cores(Look(5.0, 7.0, 1.0), Look(6.0, 7.0 + busy, 1.0 + own)) == free


def test_looks_that_tell_nothing_leave_all_cores(machine: Callable[..., None]) -> None:
    machine(0, 0, 0)
    assert free_cores(None, Look(6.0, 9.0, 0.0)) == free_cores(Look(5.0, 0.0, 0.0), None) == 2
    assert free_cores(Look(5.9, 0.0, 0.0), Look(6.0, 9.0, 0.0)) == 2  # too short a while


@pytest.mark.parametrize(
    ("limit", "free"), [("max 100000\n", 2), ("150000 100000\n", 1), ("50000 100000\n", 1)]
)
def test_a_control_group_grants_no_more_than_its_limit(
    machine: Callable[..., None], limit: str, free: int
) -> None:
    machine(0, 0, 0, limit=limit)
    assert free_cores(None, None) == free


@pytest.mark.parametrize("text", ["", "cpu0 1 2\ncpu1 1 2\n", "cpu0 a b c d e f g\n"])
def test_a_system_that_does_not_say_is_no_error(
    machine: Callable[..., None], tmp_path: Path, text: str
) -> None:
    (tmp_path / "stat").write_text(text)
    assert cores.look() is None


def test_start_leaves_busy_cores_and_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(runtime, "free_cores", lambda *_: 2)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        runtime._leave_busy_cores.cache_clear()
        runtime.start(runtime.RuntimeConfig(device="cpu"), 0)
        assert torch.get_num_threads() == 2
        assert "2 of 3 threads" in capsys.readouterr().err
        runtime.start(runtime.RuntimeConfig(device="cpu"), 0)
        assert capsys.readouterr().err == ""  # decided once
    finally:
        torch.set_num_threads(before)
        runtime._leave_busy_cores.cache_clear()


@pytest.mark.parametrize("given", ["environment", "setting"])
def test_start_takes_the_threads_that_are_asked_for(
    monkeypatch: pytest.MonkeyPatch, given: str
) -> None:
    monkeypatch.setattr(runtime, "free_cores", lambda *_: pytest.fail("not asked"))
    before = torch.get_num_threads()
    if given == "environment":
        monkeypatch.setenv("OMP_NUM_THREADS", str(before))
    runtime._leave_busy_cores.cache_clear()
    config = runtime.RuntimeConfig(device="cpu", threads=before if given == "setting" else None)
    runtime.start(config, 0)
    assert torch.get_num_threads() == before
