"""The ablation as numbers and as a Markdown table: mean ± standard deviation over classifiers."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from wsss.ablation.counts import RowCounts
from wsss.ablation.rows import Row

Figures = dict[str, Any]


def figures(row: Row, all_counts: Sequence[RowCounts], fixed: float, rule: str) -> Figures:
    """The numbers of one row.

    Args:
        row: of the table.
        all_counts: of every classifier.
        fixed: the row's fixed threshold.
        rule: by which refined masks were made.

    Returns:
        mIoU in per cent by column, each `{"runs", "mean", "sd"}`, thresholds, ms per image.
    """
    found: Figures = {"name": row.name, "refined_at": rule if row.refine else None}
    if all(row_counts.swept for row_counts in all_counts):
        oracles = [row_counts.oracle() for row_counts in all_counts]
        found["fixed"] = {
            "at": fixed,
            **_spread([100 * row_counts.at(fixed) for row_counts in all_counts]),
        }
        found["oracle"] = {
            "at": [at for at, _ in oracles],
            **_spread([100 * m for _, m in oracles]),
        }
    for name in ("otsu", "mixture", rule):
        scores = [row_counts.by_rule(name) for row_counts in all_counts]
        known = [100 * score for score in scores if score is not None]
        if len(known) == len(all_counts):
            found[name] = _spread(known)
    ms = [1e3 * row_counts.seconds / max(row_counts.images, 1) for row_counts in all_counts]
    found["ms"] = round(float(np.mean(ms)), 2)
    return found


def _spread(values: list[float]) -> Figures:
    """Mean and sample standard deviation; no deviation of a single value."""
    sd = float(np.std(values, ddof=1)) if len(values) > 1 else None
    return {"runs": values, "mean": float(np.mean(values)), "sd": sd}


def markdown(table: Sequence[Figures], sizes: Sequence[str], protocol: Mapping[str, Any]) -> str:
    """The table, with what a reader has to know above it.

    Args:
        table: of `figures`, each with `peak_mib` by size where it was measured.
        sizes: names of the images whose memory was measured.
        protocol: name → value.
    """
    heads = ["row", "fixed", "Otsu", "mixture", "oracle *", "ms", *(f"MiB {s}" for s in sizes)]
    lines = [f"- {name}: {value}" for name, value in protocol.items()]
    lines += ["", f"| {' | '.join(heads)} |", "|---" + "|---:" * (len(heads) - 1) + "|"]
    for row in table:
        cells = [row["name"], *(_cell(row.get(c)) for c in ("fixed", "otsu", "mixture", "oracle"))]
        if row["refined_at"] not in (None, "otsu", "mixture"):
            cells[1] = _cell({**row[str(row["refined_at"])], "at": row["refined_at"]})
        peaks = [row.get("peak_mib", {}).get(size) for size in sizes]
        cells += [f"{row['ms']:.1f}", *("–" if p is None else f"{p:.1f}" for p in peaks)]
        lines.append(f"| {' | '.join(cells)} |")
    lines += ["", r"\* one threshold for all images, chosen on true masks; no rule to use."]
    return "\n".join(lines) + "\n"


def _cell(column: Figures | None) -> str:
    if column is None:
        return "–"
    text = f"{column['mean']:.1f}"
    if column["sd"] is not None:
        text += f" ± {column['sd']:.1f}"
    at = column.get("at")
    if at is None:
        return text
    ats = at if isinstance(at, list) else [at]
    return f"{text} at {', '.join(str(a) for a in dict.fromkeys(ats))}"
