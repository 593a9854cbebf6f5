"""The confusion matrix as table and image."""

import numpy as np

from wsss.report.confusion import confusion_csv, confusion_image
from wsss.report.sheet import heat

MATRIX = np.array([[90, 10, 0], [0, 0, 0], [1, 1, 2]])
NAMES = ("background", "cat, wild", "dog")


def test_confusion_csv_names_rows_and_columns() -> None:
    lines = confusion_csv(MATRIX, NAMES).splitlines()
    assert lines[0] == 'target \\ prediction,background,"cat, wild",dog'
    assert lines[1:] == ["background,90,10,0", '"cat, wild",0,0,0', "dog,1,1,2"]


def test_confusion_image_shows_shares_of_each_row() -> None:
    image = np.array(confusion_image(MATRIX, NAMES))
    # cells of 26 pixels, flush with the lower right corner but for a margin of 6
    cells = image[-6 - 78 : -6, -6 - 78 : -6]
    corners = cells[2::26, 2::26]
    black = np.zeros((3, 3, 3), np.uint8)
    shares = np.array([[0.9, 0.1, 0], [0, 0, 0], [0.25, 0.25, 0.5]])
    assert np.array_equal(corners, heat(shares, black))
    # cells below one per cent carry no number
    assert len(np.unique(cells[26:52].reshape(-1, 3), axis=0)) == 1
    assert len(np.unique(cells[:26, :26].reshape(-1, 3), axis=0)) > 1
