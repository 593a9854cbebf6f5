"""Figures and pictures of a run as one HTML page."""

from collections.abc import Sequence
from importlib.resources import files
from typing import Any

from jinja2 import Environment

# in the order of the line
ORDER = ("cam", "seeds", "pseudo-masks", "predictions")


def render(
    name: str,
    metrics: dict[str, Any],
    evaluations: Sequence[dict[str, Any]],
    sheets: Sequence[str],
) -> str:
    """The page.

    Args:
        name: of the run.
        metrics: of the classifier: `map`, `ap` by class.
        evaluations: scores as `evaluate` writes them.
        sheets: file names of contact sheets beside the page.
    """
    template = Environment(autoescape=True).from_string(
        (files("wsss.report") / "page.html").read_text(encoding="utf-8")
    )
    ordered = sorted(evaluations, key=lambda e: ORDER.index(e["of"]))
    classes = list(ordered[0]["iou"]) if ordered else []
    return template.render(
        name=name, metrics=metrics, evaluations=ordered, classes=classes, sheets=sheets
    )
