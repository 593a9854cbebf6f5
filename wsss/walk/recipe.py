"""What walks and on what: the evidence of a classifier, and the settings of a score map as data."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from torch import Tensor

from glmix.clustering import SlotAssignment

Kind = Literal["symmetric", "one-way", "limit", "attention", "tokens"]
Shape = Literal["mask", "box"]
CONFINABLE: frozenset[Kind] = frozenset(("symmetric", "one-way"))
"""Kinds that a region can hold."""


class Evidence(NamedTuple):
    """What a classifier says of a picture at one scale; B is 2 with the mirror image, else 1.

    Attributes:
        cam: (B, C, h, w), non-negative class activation of the picture's own C tags.
        assignments: block name (stride.index) → assignment with logits (B, K, N).
        slot_scores: (B, K, C), logits of the slots of `slot_block`.
        slot_block: the block whose slots the auxiliary head scores.
        features: (B, D_i, h_i, w_i) of the four stages.
        attention: block name → (B, K, K) among slots or (B, N, N) among tokens; may be empty.
    """

    cam: Tensor
    assignments: Mapping[str, SlotAssignment]
    slot_scores: Tensor
    slot_block: str
    features: Sequence[Tensor]
    attention: Mapping[str, Tensor]


@dataclass(frozen=True)
class Walk:
    """One random walk.

    Attributes:
        block: stride.index of a block with slots; or a stride alone, or `all`, for many of them,
            each by itself. Of kind `tokens` the same of attention blocks at strides 16 and 32,
            many of them averaged into one transition at stride 16.
        steps: t ≥ 1.
        kind: `symmetric` P·D⁻¹·Pᵀ, `one-way` P·G, `limit` of the symmetric one, `attention`
            P·M·G with the block's attention among slots, `tokens`: attention among tokens (N×N).
        alpha: of the limit, in (0, 1).
        temperature: of the assignment; below 1 is sharper.
        top_k: slots that a token keeps; None keeps all.
        weight: in the mean over walks.
    """

    block: str
    steps: int = 1
    kind: Kind = "symmetric"
    alpha: float | None = None
    temperature: float = 1.0
    top_k: int | None = None
    weight: float = 1.0


@dataclass(frozen=True)
class Border:
    """Background evidence: what a walk from the picture's border reaches is less likely an object.

    Pictures are taken of objects, and what runs along the border belongs mostly to what is around
    them (Zhu et al., "Saliency Optimization from Robust Background Detection", CVPR 2014, measure
    it as boundary connectivity). Through slots it reaches the ground in the middle of the picture
    and stops at objects that touch the border in a small part.

    Attributes:
        walk: which carries the border's mark, 1 on it and 0 within.
        width: of the border, part of the shorter side of the grid; one token at least.
        weight: scores are multiplied by 1 − weight · evidence.
    """

    walk: Walk
    width: float
    weight: float


@dataclass(frozen=True)
class Seeding:
    """What makes a score map.

    Attributes:
        walks: their results, scaled to 0…1 a class, are averaged; none leaves the evidence.
        slot_map: share of the auxiliary head's map P·σ(score) in the evidence; the rest is CAM.
        silent_by_slots: a class without a positive place in its CAM, at any scale, is heard through
            the auxiliary head instead: its map as far as it is above its mean.
        confine: walk among tokens whose CAM is this share of its highest, or round them; None
            walks everywhere. For symmetric and one-way walks.
        confine_to: those tokens (`mask`), or the box that holds them.
        border: background evidence that lowers the scores; None leaves them.
    """

    walks: tuple[Walk, ...] = ()
    slot_map: float = 0.0
    silent_by_slots: bool = False
    confine: float | None = None
    confine_to: Shape = "box"
    border: Border | None = None

    def __post_init__(self) -> None:
        """Refuses to confine what no region can hold.

        Raises:
            ValueError: a walk is neither symmetric nor one-way.
        """
        kinds = {walk.kind for walk in self.walks} - CONFINABLE
        if self.confine is not None and kinds:
            raise ValueError(f"confined walks are symmetric or one-way, not {min(kinds)}")

    @property
    def every_walk(self) -> tuple[Walk, ...]:
        """Those of the scores and that of the border."""
        return self.walks if self.border is None else (*self.walks, self.border.walk)


def blocks_of(block: str, names: Iterable[str]) -> list[str]:
    """The blocks among `names` that a walk means by `block`: one, those of a stride, or `all`."""
    return [name for name in names if block in (name, name.partition(".")[0], "all")]
