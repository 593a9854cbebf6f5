"""From marginals to a mask, and the file of how sure it is."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from wsss.data.confidence import harden, read_confidence, write_confidence
from wsss.errors import WsssError

MARGINALS = torch.tensor([[[0.8, 0.5, 0.1]], [[0.2, 0.3, 0.05]], [[0.0, 0.2, 0.85]]])


@pytest.mark.parametrize(
    ("confidence", "expected"),
    [(0.0, [0, 0, 9]), (0.5, [0, 0, 9]), (0.6, [0, 255, 9]), (0.82, [255, 255, 9])],
)
def test_the_likeliest_label_where_it_is_likely_enough(
    confidence: float, expected: list[int]
) -> None:
    mask = harden(MARGINALS, [4, 9], confidence)
    assert mask.dtype == np.uint8 and mask.tolist() == [expected]


def test_the_best_marginal_is_kept_to_a_byte(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.png"
    write_confidence(path, MARGINALS)
    with Image.open(path) as file:
        assert (file.mode, file.size) == ("L", (3, 1))
    assert read_confidence(path).tolist() == [[204, 128, 217]]
    write_confidence(path, MARGINALS, (2, 6))
    assert read_confidence(path).tolist() == [[204, 204, 128, 128, 217, 217]] * 2
    with pytest.raises(WsssError, match=r"b\.png does not exist"):
        read_confidence(tmp_path / "b.png")
