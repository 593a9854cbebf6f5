"""Masks over images: colours, outlines, names, legend, from one class to two hundred."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from wsss.report.colours import display_colours
from wsss.report.overlay import overlay, write_overlay

GREY = np.full((100, 160, 3), 128, np.uint8)


def pixels(image: Image.Image) -> np.ndarray:  # type: ignore[type-arg]
    return np.asarray(image).astype(int)


def test_overlay_blends_a_region_and_leaves_background() -> None:
    mask = np.zeros((100, 160), np.uint8)
    mask[:, :80] = 3
    drawn = pixels(overlay(GREY, mask, ["a", "b", "c"]))
    assert drawn.shape[1] == 640 and drawn.shape[0] > 400  # the legend is below
    colour = display_colours()[2]
    assert np.abs(drawn[40, 40] - (0.55 * 128 + 0.45 * colour)).max() <= 1
    assert drawn[40, 600].tolist() == [128, 128, 128]
    # the contour lies on the region's last columns, and both images' borders
    assert np.abs(drawn[200, 317:321] - colour).sum(axis=1).min() < 40


def test_overlay_hatches_what_is_unsure() -> None:
    mask = np.full((100, 160), 255, np.uint8)
    drawn = pixels(overlay(GREY, mask, ["a"]))[:400]
    assert {tuple(colour) for colour in drawn.reshape(-1, 3).tolist()} == {
        (128, 128, 128),
        (155, 155, 155),
    }


def test_overlay_names_large_regions_alone() -> None:
    large, small = np.zeros((2, 100, 160), np.uint8)
    large[10:90, 20:140], small[50:52, 80:82] = 1, 1
    counts = []
    for mask in (large, small):
        drawn = pixels(overlay(GREY, mask, ["name"]))[40:360, 100:540]
        counts.append(int((drawn == 255).all(axis=-1).sum()))
    assert counts[0] > 20 and counts[1] == 0


@pytest.mark.parametrize("size", [(1, 1), (3, 2000), (50, 70), (1700, 900)])
def test_overlay_takes_images_of_any_size(size: tuple[int, int]) -> None:
    mask = np.zeros(size, np.uint8)
    mask[0, 0] = 1
    drawn = overlay(np.zeros((*size, 3), np.uint8), mask, ["a"])
    assert max(drawn.width, drawn.height) >= 640 and drawn.width <= 1600


def test_overlay_of_two_hundred_classes_lists_them_all() -> None:
    mask = (1 + np.arange(200, dtype=np.uint8)).reshape(10, 20).repeat(12, 0).repeat(12, 1)
    image = np.zeros((*mask.shape, 3), np.uint8)
    one = overlay(image, np.minimum(mask, 1), ["class 1"])
    many = overlay(image, mask, [f"class {i}" for i in range(1, 201)])
    assert many.height > one.height + 20 * 13


def test_overlay_of_names_that_the_font_lacks_shows_their_values() -> None:
    mask = np.ones((60, 60), np.uint8)
    image = np.zeros((60, 60, 3), np.uint8)
    assert overlay(image, mask, ["猫"]).tobytes() == overlay(image, mask, ["class 1"]).tobytes()


def test_write_overlay_is_whole_and_repeatable(tmp_path: Path) -> None:
    mask = np.zeros((100, 160), np.uint8)
    for name in ("a.jpg", "b.jpg"):
        write_overlay(tmp_path / name, GREY, mask, ["a"])
    assert (tmp_path / "a.jpg").read_bytes() == (tmp_path / "b.jpg").read_bytes()
    with Image.open(tmp_path / "a.jpg") as file:
        assert file.format == "JPEG"
