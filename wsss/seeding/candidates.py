"""Ways from class activation to masks that are tried where a recipe is chosen."""

from collections.abc import Iterable
from dataclasses import dataclass

from wsss.seeding.walks import Border, Seeding, Walk, blocks_of

STEPS = {"16": (1, 2, 4, 8, 16), "8": (1, 2, 4, 8)}
"""Stride → steps of the walks through all its blocks with slots."""

THRESHOLDS: tuple[float | str, ...] = ("otsu", "mixture", 0.1, 0.2, 0.3, 0.4, 0.5, 0.6)

CRFS = ("irn", "deeplab", "none")
"""Presets of the CRF."""

LEVELS = (-3.0, -2.0, -1.5, -1.0, -0.5, 0.0, 0.5, 1.0, 1.5, 2.0, 3.0)
"""How much more or less of a class is tried; the middle leaves it."""


@dataclass(frozen=True)
class Candidate:
    """A recipe.

    Attributes:
        seeding: walks and border evidence.
        background: threshold, a number or the name of a rule.
        crf: preset of the CRF.
    """

    seeding: Seeding
    background: float | str
    crf: str


def seedings(
    current: Seeding, blocks: Iterable[str], background: bool = True
) -> dict[str, Seeding]:
    """Walks to choose among by a name for people, the current ones first.

    Args:
        current: how seeds are made now.
        blocks: names of all blocks with slots.
        background: whether there is any to find along the border.
    """
    names = list(blocks)
    found = {"as it is": current, "plain CAM": Seeding(), "CAM, border": Seeding((), Border())}
    for stride, counts in STEPS.items():
        if not blocks_of(stride, names):
            continue
        for steps in counts:
            walks = (Walk(stride, steps),)
            name = f"stride {stride}, {steps} step{'s' if steps > 1 else ''}"
            found[name] = Seeding(walks)
            found[f"{name}, border"] = Seeding(walks, Border())
    if not background:
        found = {key: one for key, one in found.items() if one.border is None}
    same = [key for key, one in found.items() if _whole(one, names) == _whole(current, names)]
    return {key: one for key, one in found.items() if key not in same[1:]}


def _whole(seeding: Seeding, names: list[str]) -> object:
    """What a seeding comes to, however its walks are written."""
    walks = [
        (name, walk.steps, walk.kind, walk.temperature, walk.top_k, walk.weight)
        for walk in seeding.walks
        for name in blocks_of(walk.block, names)
    ]
    return sorted(walks, key=repr), seeding.border
