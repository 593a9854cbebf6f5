"""The rows of the ablation as data: a name, what makes the score maps, what refines the mask."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import Literal

import torch
from torch import Tensor

from wsss.ablation.baselines import PixelWalk, TokenWalk
from wsss.errors import WsssError
from wsss.seeding.indexing import index_tensor
from wsss.seeding.maps import Evidence, score_maps, tagged
from wsss.seeding.walks import Seeding, Walk, blocks_of

Refiner = Literal["crf", "par"]
BLOCKS = ("4.0", "8.0", "8.1", "16.0", "16.2", "16.4")
"""Blocks that are walked by themselves, where the backbone has them."""


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        name: unique.
        source: what makes the score maps.
        refine: refinements of the mask, one after the other.
    """

    name: str
    source: Seeding | TokenWalk | PixelWalk
    refine: tuple[Refiner, ...] = ()

    @property
    def walks(self) -> tuple[Walk, ...]:
        """Walks through slots."""
        return self.source.every_walk if isinstance(self.source, Seeding) else ()

    @property
    def walked(self) -> bool:
        """Whether the maps are flattened by a walk, which has a fixed threshold of its own."""
        return not isinstance(self.source, Seeding) or bool(self.source.walks)


def all_rows(recipe: Seeding, blocks: Iterable[str]) -> list[Row]:
    """Every row that a backbone can do.

    Args:
        recipe: the seeds that the config makes, called `default`.
        blocks: names of the backbone's blocks with slots.
    """
    have = list(blocks)
    rows = [*_baselines(), *_single_blocks(), *_variants(recipe), *_refined(recipe)]
    return [row for row in rows if all(blocks_of(w.block, have) for w in row.walks)]


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


def row_maps(row: Row, evidence: Sequence[Evidence], tags: Tensor, size: tuple[int, int]) -> Tensor:
    """The score maps of a row: (L, *size) in 0…1, of the L classes that an image is tagged with.

    Args:
        row: of the table.
        evidence: of one image at every scale.
        tags: (1, C) in {0, 1}.
        size: (H, W) of the maps.
    """
    own, device = tagged(tags), evidence[0].cam.device
    if not own:
        return torch.zeros(0, *size, device=device)
    if isinstance(row.source, Seeding):
        maps = score_maps(evidence, tags, row.source, size)[0]
        return maps.index_select(0, index_tensor(own, device))
    return row.source.maps(evidence, tags, size)[0]


def _symmetric(steps: int, *blocks: str) -> tuple[Walk, ...]:
    return tuple(Walk(block, steps) for block in blocks)


def _baselines() -> list[Row]:
    tokens = [
        Row(f"token attention{of}, t={t}", TokenWalk(block, t))
        for block, of in (("all", ""), ("16", " of stride 16"))
        for t in (1, 2, 3)
    ]
    return [
        Row("cam", Seeding()),
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


def _variants(recipe: Seeding) -> list[Row]:
    def each(**values: float) -> Seeding:
        walks = tuple(replace(walk, **values) for walk in recipe.walks)  # type: ignore[arg-type]
        return replace(recipe, walks=walks)

    rows = [Row("default", recipe)]
    temperatures = (0.5, 0.7, 1.5, 2.0, 3.0)
    rows += [Row(f"default, temperature {t}", each(temperature=t)) for t in temperatures]
    rows += [Row(f"default, top {k}", each(top_k=k)) for k in (4, 16)]
    rows += [
        Row("default + 4.0, t=2", replace(recipe, walks=(*recipe.walks, Walk("4.0", 2)))),
        Row("all blocks, t=1", Seeding(_symmetric(1, "all"))),
        Row("all blocks, t=2", Seeding(_symmetric(2, "all"))),
        Row("8.1 + 16.0 + 16.2, t=2", replace(recipe, walks=_symmetric(2, "8.1", "16.0", "16.2"))),
    ]
    rows += [Row(f"default, t={t}", each(steps=t)) for t in (1, 2, 3, 4, 8, 16)]
    rows += _borders(recipe)
    # what varies nothing of this recipe is not a variant
    return [row for row in rows if row.name == "default" or row.source != recipe]


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
            TokenWalk("16", 2, border),
        ),
        Row("default, border × 0.5", replace(recipe, border=replace(border, weight=0.5))),
        *(
            Row(f"default, border t={t}", replace(recipe, border=replace(border, steps=t)))
            for t in (1, 2, 8)
        ),
    ]


def _refined(recipe: Seeding) -> list[Row]:
    chains: tuple[tuple[Refiner, ...], ...] = (("crf",), ("par",), ("crf", "par"), ("par", "crf"))
    return [Row(" + ".join(("default", *chain_)), recipe, chain_) for chain_ in chains]
