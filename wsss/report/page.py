"""Figures and images of a run as one HTML page that needs no other file."""

from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Any, NamedTuple

from jinja2 import Environment, Undefined

from wsss.data.mask_io import palette
from wsss.labels import IGNORE_INDEX
from wsss.report.columns import COLUMNS, FIGURES, percent
from wsss.report.figures import Figure

# in the order of the pipeline
ORDER = ("cam", "seeds", "pseudo-masks", "predictions")
FULL = "full supervision"
Scores = Mapping[str, Any]


class ClassRow(NamedTuple):
    """A class in the table of classes.

    Attributes:
        name: of the class.
        colour: of the class in masks, as CSS has it.
        shares: IoU by column.
        gap: what predictions lack to the best column, or to full supervision; None if unknown.
    """

    name: str
    colour: str
    shares: Sequence[float | None]
    gap: float | None


def render(
    name: str,
    metrics: Scores,
    evaluations: Sequence[Scores],
    figures: Sequence[Figure],
    ceilings: Sequence[Scores] = (),
    classes: Sequence[str] = (),
    versions: Mapping[str, str] = {},
    settings: str = "",
) -> str:
    """The page.

    Args:
        name: of the run.
        metrics: of the classifier: `map`, `ap` by class.
        evaluations: scores as `evaluate` writes them.
        figures: images.
        ceilings: comparisons with full supervision, as `evaluate --ceiling` writes them; `iou` by
            class, where it is there, is that of full supervision.
        classes: names in the order of mask values, background first.
        versions: what the run was made with → which.
        settings: the config, as YAML.
    """
    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters.update(percent=_percent, plain=plain)
    template = environment.from_string(
        (files("wsss.report") / "page.html").read_text(encoding="utf-8")
    )
    ordered = sorted(evaluations, key=lambda e: ORDER.index(e["of"]))
    titles, rows = class_table(ordered, ceilings)
    return template.render(
        name=name,
        metrics=metrics,
        evaluations=ordered,
        class_titles=titles,
        class_rows=rows,
        compared="full supervision" if FULL in titles else "the best column",
        legend=legend(classes or (list(ordered[0]["iou"]) if ordered else [])),
        figures=figures,
        ceilings=ceilings,
        titles=COLUMNS,
        compared_by=FIGURES,
        protocol=list(dict.fromkeys(key for e in ordered for key in e["protocol"])),
        versions=versions,
        settings=settings,
    )


def class_table(
    evaluations: Sequence[Scores], ceilings: Sequence[Scores] = ()
) -> tuple[list[str], list[ClassRow]]:
    """IoU by class, the class with the largest gap first.

    Returns:
        The titles of the columns, and the rows. The gap is what predictions (without any, the
        last column) lack to full supervision, or, where there is none, to the best column.
    """
    columns: dict[str, Mapping[str, float | None]] = {}
    for scores in evaluations:
        columns[_title(scores, evaluations)] = scores["iou"]
    if not columns:
        return [], []
    own = list(columns.values())[-1]
    full = next((c["iou"] for c in ceilings if "iou" in c), None)
    if full is not None:
        columns[FULL] = full
    rows = []
    for value, label in enumerate(evaluations[0]["iou"]):
        shares = [column.get(label) for column in columns.values()]
        best = max((s for s in shares if s is not None), default=None)
        goal, mine = best if full is None else full.get(label), own.get(label)
        gap = None if goal is None or mine is None else goal - mine
        rows.append(ClassRow(label, colour(value), shares, gap))
    rows.sort(key=lambda row: float("inf") if row.gap is None else -row.gap)
    return list(columns), rows


def legend(classes: Sequence[str]) -> list[tuple[int, str, str]]:
    """Mask value, name and colour of every class, and of what is not confident."""
    rows = [(value, label, colour(value)) for value, label in enumerate(classes)]
    return [*rows, (IGNORE_INDEX, "not confident, or void", colour(IGNORE_INDEX))] if rows else []


def colour(value: int) -> str:
    """Of a mask value, as CSS has it."""
    return "#{:02x}{:02x}{:02x}".format(*palette()[value].tolist())


def plain(value: Any) -> str:
    """A setting in words: lists with commas, on and off, a dash for nothing."""
    if isinstance(value, Undefined):
        return ""
    if value is None or value == []:
        return "–"
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, Mapping):
        return " ".join(f"{key} {plain(item)}" for key, item in value.items())
    if isinstance(value, list | tuple):
        mark = "; " if isinstance(value[0], Mapping) else ", "
        return mark.join(plain(item) for item in value)
    return str(value)


def _title(scores: Scores, evaluations: Sequence[Scores]) -> str:
    """Of a column; with the split where two columns are of one kind."""
    twice = sum(other["of"] == scores["of"] for other in evaluations) > 1
    return f"{scores['of']}, {scores['split']}" if twice else str(scores["of"])


def _percent(share: float | Undefined | None) -> str:
    return percent(None if isinstance(share, Undefined) else share)
