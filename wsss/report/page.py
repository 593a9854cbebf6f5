"""Figures and images of a run as one HTML page."""

from collections.abc import Sequence
from importlib.resources import files
from typing import Any

from jinja2 import Environment, Undefined

from wsss.report.columns import COLUMNS, FIGURES, percent

# in the order of the pipeline
ORDER = ("cam", "seeds", "pseudo-masks", "predictions")


def render(
    name: str,
    metrics: dict[str, Any],
    evaluations: Sequence[dict[str, Any]],
    sheets: Sequence[str],
    ceilings: Sequence[dict[str, Any]] = (),
) -> str:
    """The page.

    Args:
        name: of the run.
        metrics: of the classifier: `map`, `ap` by class.
        evaluations: scores as `evaluate` writes them.
        sheets: file names of images beside the page.
        ceilings: comparisons with full supervision, as `evaluate --ceiling` writes them.
    """
    environment = Environment(autoescape=True)
    environment.filters.update(percent=_percent, heading=_heading)
    template = environment.from_string(
        (files("wsss.report") / "page.html").read_text(encoding="utf-8")
    )
    ordered = sorted(evaluations, key=lambda e: ORDER.index(e["of"]))
    classes = list(ordered[0]["iou"]) if ordered else []
    return template.render(
        name=name,
        metrics=metrics,
        evaluations=ordered,
        classes=classes,
        sheets=sheets,
        ceilings=ceilings,
        titles=COLUMNS,
        figures=FIGURES,
    )


def _percent(share: float | Undefined | None) -> str:
    return percent(None if isinstance(share, Undefined) else share)


def _heading(sheet: str) -> str:
    """Of an image by its file name."""
    kind, _, split = sheet.removesuffix(".png").partition("_")
    if split and kind == "confusion":
        return f"Where the pixels of each class went ({split})"
    if split and kind == "worst":
        return f"The worst predictions ({split})"
    return f"Images ({sheet.removesuffix('.png')})"
