"""Three images, their pseudo-masks, and an engine that is quick: a click fills its quadrant."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from wsss.data.images import Sample, TaggedDataset
from wsss.data.mask_io import write_mask
from wsss.review.session import Session
from wsss.run.layout import Layout
from wsss.seeding.clicks import Click

CLASSES = ("cat", "dog", "<b>sofa</b>")
SIZE = (12, 16)


class Quadrants:
    """The start; without one, with levels or other tags, a column a tag from the right; clicks."""

    calls = 0

    def __init__(self, image: NDArray[np.uint8], tags: Sequence[int]) -> None:
        self.size, self.given = image.shape[:2], tags

    def mask(
        self,
        clicks: Sequence[Click] = (),
        levels: Mapping[int, float] = {},
        tags: Sequence[int] | None = None,
        start: NDArray[np.uint8] | None = None,
    ) -> NDArray[np.uint8]:
        Quadrants.calls += 1
        height, width = self.size
        mask = np.zeros((height, width), np.uint8)
        own = self.given if tags is None else tags
        if start is not None and not levels and tuple(own) == tuple(self.given):
            mask, own = start.copy(), ()
        for i, tag in enumerate(own):
            columns = max(1, round(width / 8 * 2 ** levels.get(tag + 1, 0.0)))
            mask[:, width - columns - i * width // 8 : width - i * width // 8] = tag + 1
        for click in clicks:
            top, left = click.y * 2 // height * height // 2, click.x * 2 // width * width // 2
            mask[top : top + height // 2, left : left + width // 2] = click.label
        return mask


def make_session(
    root: Path,
    tags: Mapping[str, tuple[int, ...]],
    size: tuple[int, int] = SIZE,
    scores: Mapping[str, float] | None = None,
) -> Session:
    """A session on images of noise, made where missing, whose pseudo-masks are 1 at the top."""
    samples = []
    for n, (id_, own) in enumerate(tags.items()):
        path = root / "images" / f"{id_}.png"
        if not path.is_file():
            path.parent.mkdir(parents=True, exist_ok=True)
            pixels = np.random.default_rng(n).integers(0, 256, (*size, 3), np.uint8)
            Image.fromarray(pixels).save(path)
            mask = np.zeros(size, np.uint8)
            mask[: size[0] // 4] = 1
            write_mask(root / "run" / "pseudo_masks" / f"{id_}.png", mask)
        samples.append(Sample(id_, path, own))
    tagged = TaggedDataset(CLASSES, tuple(samples))
    return Session(Layout(root / "run"), tagged, dict(scores or {}), Quadrants, "ada")


@pytest.fixture
def session(tmp_path: Path) -> Session:
    """a (cat), sub/b (cat, dog), c (nothing); c is the most uncertain, sub/b has no score."""
    tags: dict[str, tuple[int, ...]] = {"a": (0,), "sub/b": (0, 1), "c": ()}
    return make_session(tmp_path, tags, scores={"a": 0.2, "c": 0.7})
