"""Counts of a row: every threshold from one histogram, against masks made one by one."""

from pathlib import Path

import numpy as np
import pytest
import torch

from wsss.ablation.tally import BINS, Tally
from wsss.metrics import ConfusionMatrix
from wsss.seeding.masks import margins, seed_mask
from wsss.seeding.thresholds import RULES

LABELS = torch.tensor([2, 4], dtype=torch.uint8)


def picture(seed: int) -> tuple[np.ndarray, torch.Tensor]:  # type: ignore[type-arg]
    rng = np.random.default_rng(seed)
    target = rng.choice(
        np.array([0, 2, 4, 3, 255], np.uint8), (12, 16), p=[0.4, 0.2, 0.2, 0.1, 0.1]
    )
    scores = torch.rand(2, 6, 8, generator=torch.Generator().manual_seed(seed))
    return target, scores


@pytest.fixture(scope="module")
def tally() -> Tally:
    tally = Tally(5, "these")
    for seed in range(3):
        tally.add_scores(*picture(seed), LABELS)
    return tally


def by_hand(background: float | str) -> float:
    confusion = ConfusionMatrix(5)
    for seed in range(3):
        target, scores = picture(seed)
        confusion.update(target, seed_mask(margins(scores, background, target.shape), LABELS))
    return confusion.compute().miou


@pytest.mark.parametrize("threshold", [0.01, 0.37, 0.5, 0.8, 0.99])
def test_the_histogram_holds_every_threshold(tally: Tally, threshold: float) -> None:
    assert tally.at(threshold) == pytest.approx(by_hand(threshold), abs=1e-12)


@pytest.mark.parametrize("rule", RULES)
def test_rules_beside_it(tally: Tally, rule: str) -> None:
    assert tally.by_rule(rule) == pytest.approx(by_hand(rule), abs=1e-12)


def test_the_oracle_is_the_best_of_the_sweep(tally: Tally) -> None:
    sweep = {k / BINS: by_hand(k / BINS) for k in range(1, BINS)}
    at, best = tally.oracle()
    assert best == pytest.approx(max(sweep.values())) and sweep[at] == pytest.approx(best)
    assert min(sweep.values()) < best


def test_a_picture_without_tags_is_background() -> None:
    tally = Tally(5, "")
    target = np.array([[0, 0, 3, 255]], np.uint8)
    tally.add_scores(target, torch.zeros(0, 1, 1), torch.zeros(0, dtype=torch.uint8))
    # background 2 of 3, class 3 missed
    assert tally.at(0.5) == tally.by_rule("otsu") == pytest.approx((2 / 3 + 0) / 2)


def test_masks_are_counted_by_their_rule() -> None:
    tally = Tally(5, "")
    target = np.array([[0, 2, 2, 255]], np.uint8)
    tally.add_mask("otsu", target, torch.tensor([[0, 2, 0, 2]], dtype=torch.uint8))
    assert tally.by_rule("otsu") == pytest.approx((1 / 2 + 1 / 2) / 2)
    assert tally.by_rule("mixture") is None and not tally.swept


def test_what_is_saved_goes_on(tally: Tally, tmp_path: Path) -> None:
    path = tmp_path / "rows" / "row.npz"
    tally.seconds, tally.network, tally.pictures = 1.5, 2.5, 3
    tally.save(path)
    loaded = Tally.load(path, 5, "these")
    assert (loaded.seconds, loaded.network, loaded.pictures) == (1.5, 2.5, 3)
    np.testing.assert_array_equal(loaded.joint, tally.joint)
    assert loaded.oracle() == tally.oracle()
    assert {rule: loaded.by_rule(rule) for rule in RULES} == {
        rule: tally.by_rule(rule) for rule in RULES
    }
    loaded.add_scores(*picture(7), LABELS)
    assert loaded.joint.sum() > tally.joint.sum()
    assert [file.name for file in path.parent.iterdir()] == ["row.npz"]


def test_counts_of_other_settings_are_not_taken(tally: Tally, tmp_path: Path) -> None:
    path = tmp_path / "row.npz"
    tally.save(path)
    assert Tally.load(path, 5, "others").pictures == 0
    assert not Tally.load(tmp_path / "none.npz", 5, "these").swept
