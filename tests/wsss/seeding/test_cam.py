"""Sizes, scales and flips of class activation maps, by hand."""

import pytest
import torch

from wsss.seeding.cam import fold_flip, merge_scales, resize, scaled_size, with_flip


def test_flip_and_fold_undo_each_other() -> None:
    image = torch.arange(12.0).reshape(1, 3, 2, 2)
    both = with_flip(image)
    assert both.shape == (2, 3, 2, 2)
    assert torch.equal(both[0], image[0])
    assert torch.equal(both[1, 0], torch.tensor([[1.0, 0.0], [3.0, 2.0]]))
    assert torch.equal(fold_flip(both), image)
    batch = torch.rand(3, 2, 4, 5)
    torch.testing.assert_close(fold_flip(with_flip(batch)), batch)


def test_fold_is_the_mean_of_the_map_and_the_mirrored_map() -> None:
    maps = torch.tensor([[[[0.0, 1.0]]], [[[4.0, 2.0]]]])
    assert torch.equal(fold_flip(maps), torch.tensor([[[[1.0, 2.5]]]]))


def test_resize_is_bilinear_without_aligned_corners() -> None:
    maps = torch.tensor([[[[0.0, 4.0]]]])
    assert torch.equal(resize(maps, (1, 4)), torch.tensor([[[[0.0, 1.0, 3.0, 4.0]]]]))
    assert resize(maps, (1, 2)) is maps


def test_merge_scales_is_the_mean_at_one_size() -> None:
    maps = [torch.full((1, 2, 2, 3), 1.0), torch.full((1, 2, 5, 4), 4.0), torch.zeros(1, 2, 1, 1)]
    merged = merge_scales(maps, (7, 6))
    torch.testing.assert_close(merged, torch.full((1, 2, 7, 6), 5 / 3))


@pytest.mark.parametrize(
    ("height", "width", "scale", "expected"),
    [
        (64, 96, 1.0, (64, 96)),
        (375, 500, 1.0, (384, 512)),
        (375, 500, 0.5, (192, 256)),
        (375, 500, 1.5, (576, 736)),
        (1, 1, 1.0, (32, 32)),
        (40, 300, 0.1, (32, 32)),
    ],
)
def test_scaled_size_is_whole_grid_steps(
    height: int, width: int, scale: float, expected: tuple[int, int]
) -> None:
    assert scaled_size(height, width, scale) == expected


def test_resize_of_no_class() -> None:
    assert resize(torch.zeros(1, 0, 2, 3), (5, 4)).shape == (1, 0, 5, 4)
