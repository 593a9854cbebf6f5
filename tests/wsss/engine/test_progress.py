"""Progress: what stands in the log and on the screen."""

import json
import sys
from pathlib import Path

import pytest

from wsss.engine.progress import Tracker, track
from wsss.errors import WsssError


def read(path: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_tracker_logs_and_shows_each_unit(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = tmp_path / "log.jsonl"
    with Tracker("train", 3, log=log, every=0) as tracker:
        for loss in (0.5, 0.25, 0.125):
            tracker.advance(loss=loss)
            # at once: a killed training has logged what it did
            assert read(log)[-1]["loss"] == loss
    records = read(log)
    assert [(r["done"], r["of"], r["loss"]) for r in records] == [
        (1, 3, 0.5),
        (2, 3, 0.25),
        (3, 3, 0.125),
    ]
    assert all(r["per_second"] > 0 for r in records)
    captured = capsys.readouterr()
    assert captured.out == ""
    lines = captured.err.splitlines()
    assert lines[0].startswith("train 1/3  ") and "loss 0.25" in lines[1]
    assert lines[2].endswith("0:00 left")


def test_tracker_shows_the_first_and_the_last_between_pauses(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with Tracker("x", 5, every=3600) as tracker:
        for _ in range(5):
            tracker.advance()
    assert [line.split()[1] for line in capsys.readouterr().err.splitlines()] == ["1/5", "5/5"]


def test_tracker_continues_a_log(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    for done in (0, 2):
        with Tracker("x", 4, done=done, log=log, every=0) as tracker:
            tracker.advance(2)
    assert [record["done"] for record in read(log)] == [2, 4]


def test_tracker_of_other_processes_is_quiet(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with Tracker("x", 1, log=tmp_path / "log.jsonl", quiet=True) as tracker:
        tracker.advance()
    assert capsys.readouterr().err == "" and list(tmp_path.iterdir()) == []


def test_tracker_closes_the_log_when_work_fails(tmp_path: Path) -> None:
    with pytest.raises(KeyError), Tracker("x", 1, log=tmp_path / "log.jsonl") as tracker:
        raise KeyError
    assert tracker._log is not None and tracker._log.closed


def test_track_yields_every_item(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(track("abc", "letters", 3)) == ["a", "b", "c"]
    assert "letters 3/3" in capsys.readouterr().err
    assert list(track([], "none", 0)) == []


def test_tracker_without_tensorboard_names_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(WsssError, match=r"wsss\[tensorboard\]"):
        Tracker("x", 1, tensorboard=tmp_path)
