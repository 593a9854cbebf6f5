#!/usr/bin/env python
"""Classes that masks hold and their truth doesn't, and the other way round; and the mean IoU.

    scripts/count_false_alarms.py RUN/predictions/val --truth TRUTH --list val.txt

A class counts as found from 0.1 % of the image on, as there from the first pixel of its truth on.
Predict with `evaluate.gate=false` and without it to see what the gate does.
"""

import argparse
from pathlib import Path

import numpy as np

from wsss.data.mask_io import read_mask
from wsss.labels import IGNORE_INDEX
from wsss.metrics.confusion import ConfusionMatrix
from wsss.metrics.uncertainty import LEAST_AREA


def main() -> None:
    """Print the counts."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("masks", type=Path, help="folder of masks")
    parser.add_argument("--truth", type=Path, required=True, help="folder of true masks")
    parser.add_argument("--list", type=Path, required=True, help="image ids, one a line")
    given = parser.parse_args()
    ids = given.list.read_text().split()
    matrix = ConfusionMatrix(IGNORE_INDEX, unsure="background")
    false = missed = wrong = empty = 0
    for id_ in ids:
        truth, mask = (read_mask(folder / f"{id_}.png") for folder in (given.truth, given.masks))
        matrix.update(truth, mask)
        there = {int(v) for v in np.unique(truth)} - {0, IGNORE_INDEX}
        values, counts = np.unique(mask, return_counts=True)
        large = counts >= LEAST_AREA * mask.size
        found = {int(v) for v in values[large]} - {0, IGNORE_INDEX}
        false, missed = false + len(found - there), missed + len(there - found)
        empty, wrong = empty + (not there), wrong + (not there and bool(found))
    print(f"{len(ids)} images, mIoU {100 * matrix.compute().miou:.2f}")
    print(f"false alarms {false}, classes missed {missed}")
    print(f"images without a class {empty}, with a false alarm {wrong}")


if __name__ == "__main__":
    main()
