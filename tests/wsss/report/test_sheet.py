"""Contact sheets, pixel by pixel."""

from pathlib import Path

import numpy as np
from PIL import Image

from wsss.report.sheet import Caption, contact_sheet, heat, mask_over, read_sheet, slots_over

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
    sheet = contact_sheet([[red, blue], [tall, tall]], ["a", "b"], width=40).image
    # two columns of 40 and gaps of 4; a title line of 18, rows of 20 and 80
    assert sheet.size == (92, 18 + 24 + 84)
    assert sheet.getpixel((24, 28)) == (255, 0, 0) and sheet.getpixel((68, 28)) == (0, 0, 255)
    assert sheet.getpixel((24, 80)) == (0, 0, 0) and sheet.getpixel((2, 80)) == (255, 255, 255)


def test_a_sheet_keeps_its_parts_in_its_file(tmp_path: Path) -> None:
    red = np.zeros((20, 40, 3), np.uint8)
    red[..., 0] = 255
    captions = [Caption("p1", ("cat", "dog"), "mIoU 50.0 %"), Caption("p2")]
    sheet = contact_sheet([[GREY, red], [red, red]], ["a", "b"], captions, width=40)
    # a title line of 18, captions of 18 above rows of 27 and 20
    assert sheet.image.size == (92, 18 + 18 + 31 + 18 + 24)
    sheet.save(tmp_path / "sheet.png")
    read = read_sheet(tmp_path / "sheet.png")
    assert read.titles == ["a", "b"] and read.captions == captions
    assert read.boxes[1] == [[4, 85, 44, 105], [48, 85, 88, 105]]
    assert (
        np.asarray(read.image.crop(read.boxes[1][0])).reshape(-1, 3).tolist() == [[255, 0, 0]] * 800
    )


def test_an_image_that_is_no_sheet_has_no_rows(tmp_path: Path) -> None:
    Image.fromarray(GREY).save(tmp_path / "grey.png")
    read = read_sheet(tmp_path / "grey.png")
    assert read.image.size == (6, 4) and (read.captions, read.boxes) == ([], ())


def test_a_caption_in_one_line() -> None:
    assert str(Caption("p1", ["cat", "dog"])) == "p1: cat, dog"
    assert str(Caption("p2", [], "false alarm: cat")) == "p2: no tags; false alarm: cat"
