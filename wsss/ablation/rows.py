"""The rows of the ablation as data: a name, what makes the score maps, what refines the mask."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from itertools import chain
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from wsss.cam import fold_flip, merge_scales, resize
from wsss.errors import WsssError
from wsss.walk import Evidence, Seeding, Walk, blocks_of, min_max, score_maps
from wsss.walk.dense import pixel_transition, squared_walk
from wsss.walk.recipe import CONFINABLE, Kind, Shape

Refiner = Literal["crf", "par"]
# Blocks that are walked by themselves, where the backbone has them.
BLOCKS = ("4.0", "8.0", "8.1", "16.0", "16.2", "16.4")

STEPPING: frozenset[Kind] = frozenset(("symmetric", "one-way", "attention", "tokens"))
"""Kinds that take any number of steps."""
BOX: Shape = "box"
MASK: Shape = "mask"


@dataclass(frozen=True)
class PixelWalk:
    """Class activation after a dense walk on the likeness of features, training-free IRN.

    Features of strides 8 and 16 side by side, on the grid of stride 8, of the picture at the scale
    nearest to 1; class activation over all scales.

    Attributes:
        radius: neighbours in grid steps.
        power: β of the affinity.
        doublings: the walk takes 2^doublings steps.
    """

    radius: float = 5.0
    power: float = 10.0
    doublings: int = 4


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        name: unique.
        source: what makes the score maps.
        refine: refinements of the mask, one after the other.
    """

    name: str
    source: Seeding | PixelWalk
    refine: tuple[Refiner, ...] = ()

    @property
    def walks(self) -> tuple[Walk, ...]:
        """Walks through blocks."""
        return self.source.every_walk if isinstance(self.source, Seeding) else ()

    @property
    def walked(self) -> bool:
        """Whether the maps are flattened by a walk, which has a fixed threshold of its own."""
        return isinstance(self.source, PixelWalk) or bool(self.source.walks)


def all_rows(recipe: Seeding, blocks: Iterable[str]) -> list[Row]:
    """Every row that a backbone can do.

    Args:
        recipe: the seeds that the config makes, called `default`.
        blocks: names of the backbone's blocks with slots.
    """
    have = list(blocks)
    groups = (_evidence(), _baselines(), _single_blocks(), _kinds(), _variants(recipe))
    rows = [*chain(*groups), *_refined(recipe)]
    # walks through tokens take whatever attention there is
    return [
        row
        for row in rows
        if all(w.kind == "tokens" or blocks_of(w.block, have) for w in row.walks)
    ]


def choose(rows: Sequence[Row], pattern: str) -> list[Row]:
    """The rows whose names match one of the patterns, `*` for anything, separated by `;`.

    Raises:
        WsssError: a pattern matches none.
    """
    patterns = [p.strip() for p in pattern.split(";") if p.strip()]
    for one in patterns or [pattern]:
        if not any(fnmatchcase(row.name, one) for row in rows):
            raise WsssError(
                f"--rows {one!r} matches no row: take names or patterns of "
                f"{', '.join(row.name for row in rows)}."
            )
    return [row for row in rows if any(fnmatchcase(row.name, p) for p in patterns)]


def row_maps(row: Row, evidence: Sequence[Evidence], size: tuple[int, int]) -> Tensor:
    """The score maps of a row: (C, *size) in 0…1."""
    if isinstance(row.source, Seeding):
        return score_maps(evidence, row.source, size)
    return _pixel_maps(row.source, evidence, size)


def _pixel_maps(walk: PixelWalk, evidence: Sequence[Evidence], size: tuple[int, int]) -> Tensor:
    # the stages' grids grow with the scale; which scale is nearest to 1 the maps' size tells
    one = min(evidence, key=lambda e: abs(e.features[0].shape[-1] - size[1]))
    h, w = one.features[1].shape[-2:]
    parts = [F.normalize(resize(f[:1].float(), (h, w)), dim=1) for f in one.features[1:3]]
    transition = pixel_transition(torch.cat(parts, dim=1), walk.radius, walk.power)
    cam = merge_scales([fold_flip(e.cam) for e in evidence], (h, w))
    moved = squared_walk(cam.flatten(1)[None], transition, walk.doublings)
    return min_max(resize(moved.unflatten(2, (h, w)), size))[0]


def _symmetric(steps: int, *blocks: str) -> tuple[Walk, ...]:
    return tuple(Walk(block, steps) for block in blocks)


def _evidence() -> list[Row]:
    return [
        Row("cam", Seeding()),
        Row("slot head", Seeding(slot_map=1.0)),
        Row("cam + slot head", Seeding(slot_map=0.5)),
        Row("cam, silent classes by slots", Seeding(silent_by_slots=True)),
    ]


def _baselines() -> list[Row]:
    tokens = [
        Row(f"token attention{of}, t={t}", Seeding((Walk(block, t, "tokens"),)))
        for block, of in (("all", ""), ("16", " of stride 16"))
        for t in (1, 2, 3)
    ]
    return [
        Row("cam + crf", Seeding(), ("crf",)),
        Row("cam + par", Seeding(), ("par",)),
        *tokens,
        *(
            Row(f"pixel affinity, β={power}, t={2**t}", PixelWalk(power=power, doublings=t))
            for power, t in ((10, 4), (10, 6), (20, 4))
        ),
    ]


def _single_blocks() -> list[Row]:
    rows = []
    for block in BLOCKS:
        rows.append(Row(f"one-way {block}", Seeding((Walk(block, 1, "one-way"),))))
        rows += [
            Row(f"symmetric {block}, t={t}", Seeding(_symmetric(t, block))) for t in (1, 2, 4, 8)
        ]
    return rows


def _kinds() -> list[Row]:
    rows = []
    for block in ("8.1", "16.0"):
        for alpha in (0.5, 0.8):
            walk = Walk(block, kind="limit", alpha=alpha)
            rows.append(Row(f"limit {block}, α={alpha}", Seeding((walk,))))
        for t in (1, 2):
            rows.append(Row(f"P·M·G {block}, t={t}", Seeding((Walk(block, t, "attention"),))))
    return rows


def _variants(recipe: Seeding) -> list[Row]:
    def each(**values: float) -> Seeding:
        walks = tuple(replace(walk, **values) for walk in recipe.walks)  # type: ignore[arg-type]
        return replace(recipe, walks=walks)

    def beside(walk: Walk) -> Seeding:
        return replace(recipe, walks=(*recipe.walks, walk), confine=None)

    rows = [Row("default", recipe)]
    temperatures = (0.5, 0.7, 1.5, 2.0, 3.0)
    rows += [Row(f"default, temperature {t}", each(temperature=t)) for t in temperatures]
    rows += [Row(f"default, top {k}", each(top_k=k)) for k in (4, 16)]
    rows += [
        Row("default + token attention, t=2", beside(Walk("all", 2, "tokens"))),
        Row("default + 4.0, t=2", beside(Walk("4.0", 2))),
        Row("default + slot head", replace(recipe, slot_map=0.5)),
        Row(
            f"default, silent classes {'left' if recipe.silent_by_slots else 'by slots'}",
            replace(recipe, silent_by_slots=not recipe.silent_by_slots),
        ),
        Row("all blocks, t=1", Seeding(_symmetric(1, "all"))),
        Row("all blocks, t=2", Seeding(_symmetric(2, "all"))),
        Row("8.1 + 16.0 + 16.2, t=2", replace(recipe, walks=_symmetric(2, "8.1", "16.0", "16.2"))),
    ]
    kinds = {walk.kind for walk in recipe.walks}
    if kinds <= STEPPING:
        steps = [Row(f"default, t={t}", each(steps=t)) for t in (1, 2, 3, 4, 8, 16)]
        rows += [row for row in steps if row.source != recipe]
    if kinds <= CONFINABLE:
        for share, shape in ((0.1, BOX), (0.3, BOX), (0.1, MASK)):
            confined = replace(recipe, confine=share, confine_to=shape)
            rows.append(Row(f"default, {shape} {share}", confined))
    return [*rows, *_borders(recipe)]


def _borders(recipe: Seeding) -> list[Row]:
    """Background evidence taken away, from plain class activation, weaker, of other steps."""
    if recipe.border is None:
        return []
    border = recipe.border
    return [
        Row("default, no border", replace(recipe, border=None)),
        Row("cam, border", Seeding(border=border)),
        Row(
            "token attention of stride 16, t=2, border",
            Seeding((Walk("16", 2, "tokens"),), border=border),
        ),
        Row("default, border × 0.5", replace(recipe, border=replace(border, weight=0.5))),
        *(
            Row(
                f"default, border t={t}",
                replace(recipe, border=replace(border, walk=replace(border.walk, steps=t))),
            )
            for t in (1, 2, 8)
        ),
    ]


def _refined(recipe: Seeding) -> list[Row]:
    chains: tuple[tuple[Refiner, ...], ...] = (("crf",), ("par",), ("crf", "par"), ("par", "crf"))
    return [Row(" + ".join(("default", *chain_)), recipe, chain_) for chain_ in chains]
