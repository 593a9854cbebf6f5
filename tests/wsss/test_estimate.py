"""What a run will take is said before it trains: of what is missing, in two digits."""

import re
import shutil

import pytest

from wsss import estimate, preflight
from wsss.config import RunConfig, SelfTrainingConfig


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.2, "1 s"), (89, "89 s"), (90, "1.5 min"), (754, "13 min"), (5400, "1.5 h"), (1e6, "278 h")],
)
def test_spoken(seconds: float, words: str) -> None:
    assert estimate.spoken(seconds) == words


def test_describe_adds_up() -> None:
    assert estimate.describe({"a": 60.0, "b": 90.0}) == "a 60 s, b 1.5 min: about 2.5 min in all"


def said(run: RunConfig, capsys: pytest.CaptureFixture[str]) -> list[str]:
    preflight.check(run)
    found = re.findall("^estimate, by a few images here: (.*)", capsys.readouterr().err, re.M)
    return [re.sub(r" [\d.]+ (?:s|min|h)", "", line) for line in found]


def test_check_says_how_long_what_is_missing_will_take(
    run: RunConfig, capsys: pytest.CaptureFixture[str]
) -> None:
    assert said(run, capsys) == []
    (run.run / "train_seg" / "done.json").unlink()
    assert said(run, capsys) == ["train-seg, predict: about in all"]
    shutil.rmtree(run.run)
    both = run.model_copy(update={"self_training": SelfTrainingConfig(rounds=2)})
    stages = "train-cls, generate-pseudo-masks, masks of later rounds, train-seg, predict"
    assert said(both, capsys) == [f"{stages}: about in all"]
