"""Views share what they can, tiles leave no seam, and large images are limited."""

from collections.abc import Sequence

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wsss.config import PredictionMode
from wsss.data.augment import limit_side
from wsss.models.inference import (
    UNLIKELY,
    Mask,
    View,
    label_at,
    predict_images,
    predict_views,
    refine_likely,
    starts,
    tiled,
)
from wsss.seeding.cam import resize


class Local(nn.Module):
    """Three random 3 × 3 convolutions: what it answers depends on a pixel's neighbours alone."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.randn(3, 3, 3, 3, generator=torch.Generator().manual_seed(0))
        self.sizes: list[tuple[int, ...]] = []

    def forward(self, images: Tensor) -> Tensor:
        self.sizes.append(tuple(images.shape))
        return F.conv2d(images, self.weight, padding=1)


def masks(
    model: nn.Module,
    pixels: Tensor,
    modes: Sequence[PredictionMode],
    sizes: Sequence[tuple[int, int]],
) -> list[list[Mask]]:
    return [[one.mask for one in own] for own in predict_images(model, pixels, modes, sizes)]


def random_image(*size: int) -> Tensor:
    return torch.randn(1, 3, *size, generator=torch.Generator().manual_seed(1))


def test_predict_views_together_equal_views_alone() -> None:
    views = [View(), View((1.0, 0.5), True), View((0.5,), False)]
    image = random_image(64, 96)
    model = Local()
    together = predict_views(model, image, views)
    # one pass: scale 1 with flip, half scale with flip
    assert model.sizes == [(2, 3, 64, 96), (2, 3, 32, 64)]
    for view, probs in zip(views, together, strict=True):
        torch.testing.assert_close(probs, predict_views(Local(), image, [view])[0])
        torch.testing.assert_close(probs.sum(1), torch.ones(1, 64, 96))
    assert not torch.allclose(together[0], together[1])


def test_tiled_with_one_tile_changes_nothing() -> None:
    model = Local()
    image = random_image(40, 64)
    assert torch.equal(tiled(model, image, 64), model(image))
    assert torch.equal(tiled(model, image, None), model(image))
    assert model.sizes == [(1, 3, 40, 64)] * 4


@pytest.mark.parametrize("size", [(65, 64), (200, 130), (64, 500), (300, 301)])
def test_tiled_leaves_no_seam(size: tuple[int, int]) -> None:
    constant = nn.Conv2d(3, 4, 1)
    image = random_image(*size)
    with torch.no_grad():
        torch.testing.assert_close(tiled(constant, image, 64), constant(image))


def test_tiled_agrees_with_the_whole_but_for_the_rims() -> None:
    model = Local()
    image = random_image(150, 220)
    out, whole = tiled(model, image, 96), model(image)
    # only the rims of windows, where weights are lowest, miss neighbours
    assert (out - whole).abs().mean() < 0.02 * whole.abs().mean()
    assert all(max(shape[2:]) <= 96 for shape in model.sizes[:-1])


@pytest.mark.parametrize("side", [32, 64, 96, 1024])
def test_starts_cover_everything_and_overlap(side: int) -> None:
    for extent in (*range(1, 400), 3000, 4032):
        first = starts(extent, side)
        assert first[0] == 0 and all(start % 32 == 0 for start in first)
        assert extent - side <= first[-1] < max(extent, 1)
        if len(first) > 1:
            gaps = np.diff(first)
            assert gaps.min() > 0 and gaps.max() <= max(side * 3 // 4, 32)


def test_label_at_equals_the_labels_of_enlarged_probabilities() -> None:
    probs = torch.randn(5, 13, 17, generator=torch.Generator().manual_seed(0)).softmax(0)
    for size in ((13, 17), (40, 51), (7, 9)):
        expected = resize(probs[None], size)[0].argmax(0)
        found = label_at(probs, size)
        assert found.dtype == torch.uint8 and torch.equal(found.long(), expected)


def test_limit_side_keeps_the_proportion() -> None:
    image = np.zeros((300, 400, 3), np.uint8)
    assert limit_side(image, 200).shape == (150, 200, 3)
    assert limit_side(image, 400) is image and limit_side(image, None) is image
    assert limit_side(np.zeros((1, 900, 3), np.uint8), 90).shape == (1, 90, 3)


def test_predicted_masks_have_the_images_own_size() -> None:
    pixels = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (2, 3, 48, 64), np.uint8))
    model = Local()
    modes = [PredictionMode(), PredictionMode((1.0, 0.5), True), PredictionMode(crf="deeplab")]
    first, second = masks(model, pixels, modes, [(90, 120), (48, 64)])
    assert [(mask.shape, mask.dtype) for mask in first] == [((90, 120), np.uint8)] * 3
    assert model.sizes == [(4, 3, 48, 64), (4, 3, 32, 32)]
    assert not np.array_equal(first[0], first[2])
    (alone,) = masks(Local(), pixels[1:], modes, [(48, 64)])
    for mask, own in zip(second, alone, strict=True):
        assert (mask == own).mean() >= 0.9999


class Refiner:
    """Squares the probabilities; remembers how many labels competed."""

    def __init__(self) -> None:
        self.labels: list[int] = []

    def __call__(self, images: list[Tensor], probs: list[Tensor]) -> list[Tensor]:
        self.labels += [len(prob) for prob in probs]
        for prob in probs:
            torch.testing.assert_close(prob.sum(0), torch.ones_like(prob[0]))
        return [prob**2 / (prob**2).sum(0) for prob in probs]


def test_refine_likely_leaves_out_what_is_likely_nowhere() -> None:
    rare, absent = UNLIKELY * 1.5, UNLIKELY / 2
    one = torch.tensor([[0.5, 0.9], [rare, 0.0], [absent, absent], [0.0, 0.0]])
    one[3] = 1 - one.sum(0)
    alone = torch.tensor([[0.999, 1.0], [0.001, 0.0], [0.0, 0.0], [0.0, 0.0]])
    refiner = Refiner()
    probs = [one[:, None], alone[:, None]]
    found = refine_likely([torch.zeros(3, 1, 2)] * 2, probs, refiner)
    assert refiner.labels == [3]  # of the first image; in the second nothing competes
    assert (found[0][2] == 0).all() and (found[0][[0, 1, 3]] > 0)[:, 0, 0].all()
    torch.testing.assert_close(found[0].sum(0), torch.ones(1, 2))
    torch.testing.assert_close(found[1], torch.tensor([[[1.0, 1.0]], *[[[0.0, 0.0]]] * 3]))


def test_refine_likely_equals_refining_all_where_all_are_likely() -> None:
    probs = torch.rand(5, 8, 9, generator=torch.Generator().manual_seed(0)).softmax(0)
    (found,) = refine_likely([torch.zeros(3, 8, 9)], [probs], Refiner())
    torch.testing.assert_close(found, probs**2 / (probs**2).sum(0))
    assert refine_likely([torch.zeros(3, 8, 9)], [probs], None) == [probs]


def test_refine_likely_keeps_each_pixels_class_among_many() -> None:
    probs = torch.full((201, 4, 50), 1 / 201)
    (found,) = refine_likely([torch.zeros(3, 4, 50)], [probs], Refiner())
    torch.testing.assert_close(found, probs)
