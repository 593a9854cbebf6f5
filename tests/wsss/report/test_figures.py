"""Images of a report as data URIs: whole, or a sheet's cells one by one."""

import base64
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from wsss.report.figures import heading, read_figure
from wsss.report.sheet import Caption, contact_sheet


def decoded(uri: str, format: str) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    start = f"data:image/{format};base64,"
    assert uri.startswith(start)
    return np.array(Image.open(io.BytesIO(base64.b64decode(uri[len(start) :]))))


def test_an_image_as_a_whole_keeps_its_pixels(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "confusion_val.png")
    figure = read_figure(tmp_path / "confusion_val.png")
    assert figure.heading == "Where the pixels of each class went (val)" and not figure.examples
    assert np.array_equal(decoded(figure.uri, "png"), pixels)


def test_a_sheet_is_cut_into_its_cells(tmp_path: Path) -> None:
    red, blue = np.zeros((2, 16, 32, 3), np.uint8)
    red[..., 0], blue[..., 2] = 255, 255
    sheet = contact_sheet([[red, blue]], ["image", "truth"], [Caption("p1", ("cat",))], width=32)
    sheet.save(tmp_path / "train.png")
    figure = read_figure(tmp_path / "train.png")
    assert figure.uri == "" and figure.heading == "Examples (train)"
    (example,) = figure.examples
    assert example.caption == Caption("p1", ("cat",))
    assert [cell.title for cell in example.cells] == ["image", "truth"]
    for cell, pixels in zip(example.cells, (red, blue), strict=True):
        # JPEG is off by a few steps
        assert np.abs(decoded(cell.uri, "jpeg").astype(int) - pixels).max() < 8


@pytest.mark.parametrize(
    ("stem", "words"),
    [
        ("worst_val", "The worst predictions (val)"),
        ("train_leak", "Examples (train_leak)"),
        ("train", "Examples (train)"),
    ],
)
def test_a_heading_by_the_name_of_the_file(stem: str, words: str) -> None:
    assert heading(stem) == words
