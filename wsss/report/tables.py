"""Figures of a run as tables on the terminal."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from wsss.report.columns import COLUMNS, FIGURES, percent


def show_classes(path: Path) -> None:
    """IoU by class of one file of scores, a column for each way of predicting."""
    scores = json.loads(path.read_text())
    columns = scores.get("columns") or {"IoU %": scores}
    table = Table(title=f"{scores['of']} on {scores['split']}, {scores['images']} images, IoU %")
    table.add_column("class")
    for name in columns:
        table.add_column(COLUMNS.get(name, name), justify="right")
    for label in scores["iou"]:
        table.add_row(escape(label), *(percent(c["iou"][label]) for c in columns.values()))
    table.add_section()
    table.add_row("mean", *(percent(c["miou"]) for c in columns.values()))
    if "boundary_miou" in scores:
        table.add_row(
            "mean at boundaries", *(percent(c["boundary_miou"]) for c in columns.values())
        )
    if "areas" in scores:
        for size in scores["areas"]:
            means = (percent(c["areas"][size]["miou"]) for c in columns.values())
            table.add_row(f"mean of {size} regions", *means)
    Console(stderr=True).print(table)


def show_ceiling(path: Path) -> None:
    """A run from tags beside its fully supervised baseline, and the ratio, column by column."""
    found = json.loads(path.read_text())
    table = Table(title=f"from tags / from true masks, on {found['split']}, %")
    table.add_column("")
    for title in ("mIoU", "full", "ratio", "boundary IoU", "full", "ratio"):
        table.add_column(title, justify="right")
    for name, column in found["columns"].items():
        rows = [percent(column[of][f]) for f in FIGURES for of in ("tags", "full", "ratio")]
        table.add_row(COLUMNS.get(name, name), *rows)
    Console(stderr=True).print(table)


def show_tuning(path: Path) -> None:
    """What `tune` compared, and every class before and after, on masks not chosen on."""
    found = json.loads(path.read_text())
    if "choices" not in found:
        walks, border = (found["settings"][key] for key in ("walks", "border"))
        chosen = "neither walks nor border evidence"
        if walks:
            chosen = f"walks {'with' if border else 'without'} border evidence"
        sure = found.get("sure_share")
        reached = "" if sure is None else f", {sure:.0%} of a walk's seed is surely of its class"
        looked = (
            f"{found['positive_share']:.0%} of an image is evidence for a tag by itself{reached}, "
            f"on the average of {found['images']} images"
        )
        if not found["images"]:
            looked = "there is no image with a tag to choose by"
        print(
            f"{looked}: {chosen} (pseudo_masks.walks and pseudo_masks.border name others)",
            file=sys.stderr,
        )
        return
    table = Table(
        title=f"{found['images']} trusted masks, each by what is chosen on the others; mIoU %"
    )
    for title in ("choice", "mIoU", "walks", "border", "threshold", "CRF", "levels"):
        table.add_column(title, justify="right" if title == "mIoU" else "left")
    for one in found["choices"]:
        own = one["settings"]
        walks = ", ".join(f"{w['block']}×{w['steps']}" for w in own["walks"]) or "none: plain CAM"
        mark = " *" if one["name"] == found["chosen"] else ""
        table.add_row(
            one["name"] + mark,
            percent(one["held_out_miou"]),
            walks,
            "yes" if own["border"] else "no",
            str(own["background"]),
            own["crf"],
            str(len(own["levels"]) or "none"),
        )
    Console(stderr=True).print(table)
    if unchanged := found.get("unchanged"):
        print(
            f"{unchanged} of the {found['images']} masks are as the present recipe makes them, and "
            "speak for it: it may be kept though another one is as good. Masks that were drawn or "
            "corrected tell more.",
            file=sys.stderr,
        )
    classes = Table(title=f"IoU % by class: as it is, and {found['chosen']} (*)")
    for title in ("class", "as it is", "*", "level"):
        classes.add_column(title, justify="left" if title == "class" else "right")
    for name, iou in found["iou"].items():
        level = "" if iou["level"] is None else f"{iou['level']:+g}"
        classes.add_row(escape(name), percent(iou["before"]), percent(iou["after"]), level)
    Console(stderr=True).print(classes)


def show_summary(paths: Sequence[Path]) -> None:
    """MIoU of several files of scores, with the oracle's threshold beside where there is one."""
    table = Table(title="mIoU, one confusion matrix over the split")
    for title in ("masks", "split", "images", "mIoU %", "oracle threshold"):
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
            percent(scores["miou"]),
            swept,
        )
    Console(stderr=True).print(table)
