"""Figures of a run as tables on the terminal."""

import json
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table


def show_classes(path: Path) -> None:
    """IoU by class of one file of scores."""
    scores = json.loads(path.read_text())
    table = Table(title=f"{scores['of']} on {scores['split']}, {scores['images']} pictures")
    table.add_column("class")
    table.add_column("IoU %", justify="right")
    for name, iou in scores["iou"].items():
        table.add_row(escape(name), "–" if iou is None else f"{100 * iou:.1f}")
    table.add_section()
    table.add_row("mean", f"{100 * scores['miou']:.1f}")
    Console(stderr=True).print(table)


def show_summary(paths: Sequence[Path]) -> None:
    """MIoU of several files of scores, with the oracle's threshold beside where there is one."""
    table = Table(title="mIoU, one confusion matrix over the split")
    for title in ("masks", "split", "pictures", "mIoU %", "oracle threshold"):
        table.add_column(title, justify="left" if title in ("masks", "split") else "right")
    for path in paths:
        scores = json.loads(path.read_text())
        oracle = scores.get("oracle")
        swept = f"{100 * oracle['miou']:.1f} at {oracle['threshold']}" if oracle else ""
        later = scores.get("protocol", {}).get("round")
        table.add_row(
            f"{scores['of']}, round {later}" if later else scores["of"],
            scores["split"],
            str(scores["images"]),
            f"{100 * scores['miou']:.1f}",
            swept,
        )
    Console(stderr=True).print(table)
