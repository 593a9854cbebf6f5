"""Contact sheets, pixel by pixel."""

import numpy as np
from PIL import Image

from wsss.report.sheet import contact_sheet, heat, mask_over, slots_over

GREY = np.full((4, 6, 3), 100, np.uint8)


def test_heat_grows_with_the_score() -> None:
    hot = heat(np.array([[0.0, 1.0]]), GREY)
    assert hot.shape == GREY.shape and hot.dtype == np.uint8
    sums = hot.astype(int).sum(2)
    assert (np.diff(sums, axis=1) >= 0).all() and sums[0, -1] > sums[0, 0] + 100
    # scores beyond 0…1 are shown as its ends
    assert np.array_equal(heat(np.array([[-3.0, 9.0]]), GREY)[:, [0, -1]], hot[:, [0, -1]])


def test_mask_over_blends_colours_and_image() -> None:
    mask = np.zeros((4, 6), np.uint8)
    mask[0, 0], mask[0, 1] = 15, 255
    over = mask_over(mask, GREY)
    assert over[3, 5].tolist() == [60, 60, 60]
    assert over[0, 0].tolist() == [int(35 + 0.65 * c) for c in (192, 128, 128)]
    assert over[0, 1].tolist() == [int(35 + 0.65 * c) for c in (224, 224, 192)]


def test_slots_over_has_the_mean_colour_of_each_slot() -> None:
    image = np.zeros((4, 8, 3), np.uint8)
    image[:, :2], image[:, 2:4], image[:, 4:] = 10, 30, 200
    painted = slots_over(np.array([[0, 63]]), image)
    assert painted[2, 2].tolist() == [20, 20, 20] and painted[2, 6].tolist() == [200, 200, 200]
    # the edge between them is darker
    assert painted[2, 4].tolist() == [110, 110, 110]


def test_contact_sheet_has_a_cell_per_image() -> None:
    red, blue = np.zeros((2, 20, 40, 3), np.uint8)
    red[..., 0], blue[..., 2] = 255, 255
    tall = np.zeros((40, 20, 3), np.uint8)
    sheet = contact_sheet([[red, blue], [tall, tall]], ["a", "b"], width=40)
    # two columns of 40 and gaps of 4; a title line of 18, rows of 20 and 80
    assert isinstance(sheet, Image.Image) and sheet.size == (92, 18 + 24 + 84)
    assert sheet.getpixel((24, 28)) == (255, 0, 0) and sheet.getpixel((68, 28)) == (0, 0, 255)
    assert sheet.getpixel((24, 80)) == (0, 0, 0) and sheet.getpixel((2, 80)) == (255, 255, 255)
