"""Ways from class activation to masks that are tried where a recipe is chosen."""

from collections.abc import Iterable
from dataclasses import dataclass

from wsss.seeding.walks import Border, Seeding, Walk, blocks_of

STEPS = {"16": (1, 2, 4, 8, 16), "8": (1, 2, 4, 8)}
"""Stride → steps of the walks through all its blocks with slots."""

THRESHOLDS: tuple[float | str, ...] = ("otsu", "mixture", *(k / 10 for k in range(1, 10)))

CRFS = ("irn", "deeplab", "none")
"""Presets of the CRF."""

LEVELS = (-6.0, -4.0, -3.0, -2.0, -1.0, -0.5, 0.0, 0.5, 1.0, 2.0, 3.0, 4.0, 6.0)
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


SPREAD, WIDE = 0.8, 0.5
"""Share of an image that is evidence for a tag, from which no walk, and no border, helps."""

SURE = 0.8
"""Share of a walk's seed where the class is surely there, below which the walk doesn't help."""


@dataclass(frozen=True)
class Compactness:
    """How compact class activation is; means over images' tags.

    Attributes:
        positive: share of locations that are evidence for a tag by themselves.
        sure: share of a walk's seed in which activation is higher than at 99 of 100 locations of
            images without the tag; None where no image is without it.
        images: with tags, that were looked at; of none of them nothing speaks against a walk.
    """

    positive: float
    sure: float | None
    images: int = 0


def by_compactness(found: Compactness, walks: tuple[Walk, ...], border: Border) -> Seeding:
    """Walks and border evidence by how compact class activation is.

    A walk spreads evidence from an object's telling part. Where most of the image is evidence
    already it can only blur; where it leads to what images without the tag hold as well, it leaves
    the object. Where about half of an image is evidence, objects reach the border, which is then
    no background. The bounds were chosen on true masks of VOC, MSRC and magnetic tiles.

    Args:
        found: of the images' tags.
        walks: that spread it.
        border: that finds background.
    """
    if found.positive >= SPREAD or (found.sure is not None and found.sure < SURE):
        return Seeding()
    return Seeding(walks, None if found.positive >= WIDE else border)


def _whole(seeding: Seeding, names: list[str]) -> object:
    """What a seeding comes to, however its walks are written."""
    walks = [
        (name, walk.steps, walk.kind, walk.temperature, walk.top_k, walk.weight)
        for walk in seeding.walks
        for name in blocks_of(walk.block, names)
    ]
    return sorted(walks, key=repr), seeding.border
