"""What a person does to an image, as a list of actions, and what the list comes to.

The list is all that is kept: undo takes its last action away, a mask is made of it again.
"""

from collections.abc import Sequence
from typing import Annotated, Literal, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from wsss.labels import IGNORE_INDEX
from wsss.seeding.clicks import Click

Label = Annotated[int, Field(ge=0, le=IGNORE_INDEX)]
"""A mask value; 255 says that nobody knows."""
Position = Annotated[float, Field(ge=-1e5, le=1e5, allow_inf_nan=False)]
"""In pixels of the full-size image, from its upper left corner."""
Point = tuple[Position, Position]


class _Action(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ClickAction(_Action):
    """A region grows from a location."""

    kind: Literal["click"]
    x: Position
    y: Position
    label: Annotated[int, Field(ge=0, lt=IGNORE_INDEX)]


class LevelAction(_Action):
    """More of a tag, or less: steps of a quarter of a doubling of its area."""

    kind: Literal["level"]
    label: Annotated[int, Field(ge=1, lt=IGNORE_INDEX)]
    steps: Annotated[int, Field(ge=-40, le=40)]


class StrokeAction(_Action):
    """A brush of a radius in pixels of the image, drawn along points."""

    kind: Literal["stroke"]
    label: Label
    radius: Annotated[float, Field(gt=0, le=4096, allow_inf_nan=False)]
    points: Annotated[tuple[Point, ...], Field(min_length=1, max_length=20_000)]


class PolygonAction(_Action):
    """A filled outline."""

    kind: Literal["polygon"]
    label: Label
    points: Annotated[tuple[Point, ...], Field(min_length=3, max_length=20_000)]


class TagAction(_Action):
    """A tag is added to the image, or taken from it."""

    kind: Literal["tag"]
    label: Annotated[int, Field(ge=1, lt=IGNORE_INDEX)]
    on: bool


class ResetAction(_Action):
    """Whatever came before it no longer counts."""

    kind: Literal["reset"]


Action = Annotated[
    ClickAction | LevelAction | StrokeAction | PolygonAction | TagAction | ResetAction,
    Field(discriminator="kind"),
]
Actions = Annotated[tuple[Action, ...], Field(max_length=5000)]

STEP = 0.25
"""Of a level: each step is this part of a doubling of a tag's area."""
How = Literal["auto", "clicked", "painted"]


class Edits(NamedTuple):
    """What a list of actions comes to.

    Attributes:
        clicks: in their order, with labels of the tags or background.
        levels: mask value → more or less of it, in doublings.
        tags: class indices from 0, ascending.
        paint: strokes and polygons in their order.
        regrown: whether anything but paint changes the mask.
    """

    clicks: tuple[Click, ...]
    levels: dict[int, float]
    tags: tuple[int, ...]
    paint: tuple[StrokeAction | PolygonAction, ...]
    regrown: bool

    @property
    def how(self) -> How:
        """By paint, by anything else, or not at all."""
        return "painted" if self.paint else "clicked" if self.regrown else "auto"


def sum_up(actions: Sequence[Action], tags: Sequence[int]) -> Edits:
    """What actions come to; those that speak of a tag that was taken away don't count.

    Args:
        actions: in their order.
        tags: class indices from 0 that the image came with.
    """
    starts = [i for i, action in enumerate(actions) if action.kind == "reset"]
    actions = actions[starts[-1] + 1 :] if starts else actions
    own = set(tags)
    levels: dict[int, float] = {}
    for action in actions:
        if action.kind == "tag":
            (own.add if action.on else own.discard)(action.label - 1)
        elif action.kind == "level":
            levels[action.label] = levels.get(action.label, 0.0) + STEP * action.steps
    known = {0, IGNORE_INDEX, *(tag + 1 for tag in own)}
    clicks = tuple(
        Click(int(np.floor(action.x)), int(np.floor(action.y)), action.label)
        for action in actions
        if action.kind == "click" and action.label in known
    )
    levels = {label: level for label, level in levels.items() if level and label in known}
    paint = tuple(
        action
        for action in actions
        if (action.kind == "stroke" or action.kind == "polygon") and action.label in known
    )
    regrown = bool(clicks or levels or own != set(tags))
    return Edits(clicks, levels, tuple(sorted(own)), paint, regrown)


def painted(
    paint: Sequence[StrokeAction | PolygonAction], size: tuple[int, int]
) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Labels where something is painted.

    Args:
        paint: a later one covers an earlier one.
        size: rows and columns of the full-size image.

    Returns:
        (H, W) uint8 labels, 255 where none is painted; (H, W) bool, where 255 itself is.
    """
    labels = np.full(size, IGNORE_INDEX, np.uint8)
    unsure = np.zeros(size, np.uint8)
    for action in paint:
        draw(labels, action, action.label)
        draw(unsure, action, int(action.label == IGNORE_INDEX))
    return labels, unsure.astype(np.bool_)


SHIFT = 4
"""Bits of a pixel's fraction that OpenCV draws with."""


def draw(target: NDArray[np.uint8], action: StrokeAction | PolygonAction, value: int) -> None:
    """Draw a stroke or a polygon into (H, W) in place.

    Points count from the corner of the first pixel, OpenCV's from its centre.
    """
    points = np.round((np.array(action.points) - 0.5) * 2**SHIFT).astype(np.int32)
    if action.kind == "polygon":
        cv2.fillPoly(target, [points], value, cv2.LINE_8, SHIFT)
        return
    radius = max(round((action.radius - 0.5) * 2**SHIFT), 0)
    for point in points:
        cv2.circle(target, tuple(map(int, point)), radius, value, cv2.FILLED, cv2.LINE_8, SHIFT)
    width = max(round(2 * action.radius), 1)
    if len(points) > 1:
        cv2.polylines(target, [points], False, value, min(width, 32767), cv2.LINE_8, SHIFT)
