"""Counts of a row: every threshold from one histogram, against masks made one by one."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from wsss.ablation.counts import BINS, RowCounts
from wsss.metrics.confusion import ConfusionMatrix
from wsss.seeding.masks import margins, seed_mask
from wsss.seeding.thresholds import RULES

LABELS = torch.tensor([2, 4], dtype=torch.uint8)


def example(seed: int) -> tuple[np.ndarray, torch.Tensor]:  # type: ignore[type-arg]
    rng = np.random.default_rng(seed)
    target = rng.choice(
        np.array([0, 2, 4, 3, 255], np.uint8), (12, 16), p=[0.4, 0.2, 0.2, 0.1, 0.1]
    )
    scores = torch.rand(2, 6, 8, generator=torch.Generator().manual_seed(seed))
    return target, scores


@pytest.fixture(scope="module")
def row_counts() -> RowCounts:
    row_counts = RowCounts(5, "these")
    for seed in range(3):
        row_counts.add_scores(*example(seed), LABELS)
    return row_counts


def by_hand(background: float | str) -> float:
    confusion = ConfusionMatrix(5)
    for seed in range(3):
        target, scores = example(seed)
        confusion.update(target, seed_mask(margins(scores, background, target.shape), LABELS))
    return confusion.compute().miou


@pytest.mark.parametrize("threshold", [0.01, 0.37, 0.5, 0.8, 0.99])
def test_row_counts_hold_every_threshold(row_counts: RowCounts, threshold: float) -> None:
    assert row_counts.at(threshold) == pytest.approx(by_hand(threshold), abs=1e-12)


@pytest.mark.parametrize("rule", RULES)
def test_row_counts_hold_every_rule(row_counts: RowCounts, rule: str) -> None:
    assert row_counts.by_rule(rule) == pytest.approx(by_hand(rule), abs=1e-12)


def test_row_counts_oracle_is_the_best_of_the_sweep(row_counts: RowCounts) -> None:
    sweep = {k / BINS: by_hand(k / BINS) for k in range(1, BINS)}
    at, best = row_counts.oracle()
    assert best == pytest.approx(max(sweep.values())) and sweep[at] == pytest.approx(best)
    assert min(sweep.values()) < best


def test_row_counts_take_an_image_without_tags_as_background() -> None:
    row_counts = RowCounts(5, "")
    target = np.array([[0, 0, 3, 255]], np.uint8)
    row_counts.add_scores(target, torch.zeros(0, 1, 1), torch.zeros(0, dtype=torch.uint8))
    # background 2 of 3, class 3 missed
    assert row_counts.at(0.5) == row_counts.by_rule("otsu") == pytest.approx((2 / 3 + 0) / 2)


def test_row_counts_of_masks_by_rule() -> None:
    row_counts = RowCounts(5, "")
    target = np.array([[0, 2, 2, 255]], np.uint8)
    row_counts.add_mask("otsu", target, torch.tensor([[0, 2, 0, 2]], dtype=torch.uint8))
    assert row_counts.by_rule("otsu") == pytest.approx((1 / 2 + 1 / 2) / 2)
    assert row_counts.by_rule("mixture") is None and not row_counts.swept


def test_row_counts_load_continues_what_was_saved(row_counts: RowCounts, tmp_path: Path) -> None:
    path = tmp_path / "rows" / "row.npz"
    row_counts.seconds, row_counts.network, row_counts.images = 1.5, 2.5, 3
    row_counts.save(path)
    loaded = RowCounts.load(path, 5, "these")
    assert (loaded.seconds, loaded.network, loaded.images) == (1.5, 2.5, 3)
    np.testing.assert_array_equal(loaded.sweep.joint, row_counts.sweep.joint)
    assert loaded.oracle() == row_counts.oracle()
    assert {rule: loaded.by_rule(rule) for rule in RULES} == {
        rule: row_counts.by_rule(rule) for rule in RULES
    }
    loaded.add_scores(*example(7), LABELS)
    assert loaded.sweep.joint.sum() > row_counts.sweep.joint.sum()
    assert [file.name for file in path.parent.iterdir()] == ["row.npz"]


def test_row_counts_load_ignores_other_settings(row_counts: RowCounts, tmp_path: Path) -> None:
    path = tmp_path / "row.npz"
    row_counts.save(path)
    assert RowCounts.load(path, 5, "others").images == 0
    assert not RowCounts.load(tmp_path / "none.npz", 5, "these").swept


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-40])


def other_shape(path: Path) -> None:
    with np.load(path) as file:
        np.savez(path, **{**file, "joint": np.zeros((2, 2, 3), np.int64)})


def not_counted(path: Path) -> None:
    with np.load(path) as file:
        np.savez(path, **{**file, "numbers": np.full(4, np.nan)})


@pytest.mark.parametrize("damage", [cut, other_shape, not_counted])
def test_row_counts_load_begins_anew_where_the_file_is_damaged(
    row_counts: RowCounts, tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    path = tmp_path / "row.npz"
    row_counts.images = 3
    row_counts.save(path)
    damage(path)
    loaded = RowCounts.load(path, 5, "these")
    assert loaded.images == 0 and not loaded.swept and not loaded.rules
