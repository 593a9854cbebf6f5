"""The table: means and deviations by hand, a cell for every column."""

import numpy as np
import pytest
import torch

from wsss.ablation.counts import RowCounts
from wsss.ablation.rows import Row
from wsss.ablation.table import figures, markdown
from wsss.seeding.walks import Seeding


def row_counts(right: int) -> RowCounts:
    """Ten pixels of class 1 at score 0.5, ten of background at 0; `right` of the ten found."""
    found = RowCounts(2, "")
    target = np.array([[1] * 10 + [0] * 10], np.uint8)
    scores = torch.tensor([[[0.505] * right + [0.0] * (20 - right)]])
    found.add_scores(target, scores, torch.tensor([1], dtype=torch.uint8))
    found.seconds, found.images = 0.004 * right, 1
    return found


def test_figures_over_classifiers() -> None:
    row = figures(Row("cam", Seeding()), [row_counts(10), row_counts(5)], 0.25, "otsu")
    assert row["fixed"]["at"] == 0.25
    # all right; class 5 of 10, background 10 of 15
    assert row["fixed"]["runs"] == pytest.approx([100, 100 * (0.5 + 2 / 3) / 2])
    assert row["fixed"]["mean"] == pytest.approx(79.1667, abs=1e-3)
    assert row["fixed"]["sd"] == pytest.approx(29.4628, abs=1e-3)
    assert row["otsu"]["runs"] == pytest.approx(row["fixed"]["runs"])
    assert row["oracle"]["at"] == [0.01, 0.01] and row["ms"] == 30
    assert row["refined_at"] is None


def test_markdown_has_a_cell_for_every_column() -> None:
    plain = figures(Row("cam", Seeding()), [row_counts(10)], 0.25, "otsu")
    refined = RowCounts(2, "")
    target = np.array([[1, 0]], np.uint8)
    refined.add_mask("0.4", target, torch.tensor([[1, 0]], dtype=torch.uint8))
    other = figures(Row("cam + crf", Seeding(), ("crf",)), [refined], 0.25, "0.4")
    table = [{**plain, "peak_mib": {"1024²": 7.04}}, {**other, "peak_mib": {"1024²": None}}]
    lines = markdown(table, ["1024²"], {"split": "train"}).splitlines()
    assert lines[0] == "- split: train"
    assert lines[2:6] == [
        "| row | fixed | Otsu | mixture | oracle * | ms | MiB 1024² |",
        "|---|---:|---:|---:|---:|---:|---:|",
        "| cam | 100.0 at 0.25 | 100.0 | 100.0 | 100.0 at 0.01 | 40.0 | 7.0 |",
        "| cam + crf | 100.0 at 0.4 | – | – | – | 0.0 | – |",
    ]
