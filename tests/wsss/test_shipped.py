"""`wsss predict photo.jpg` with what the package carries."""

from importlib.resources import files
from pathlib import Path

import numpy as np
from command_line import wsss
from PIL import Image

from wsss.voc import read_mask


def test_a_photograph_is_segmented_right_after_installation(tmp_path: Path) -> None:
    model = Path(str(files("wsss") / "weights" / "voc61_nano.safetensors"))
    assert model.stat().st_size < 8e6
    rng = np.random.default_rng(0)
    photo = tmp_path / "photo.jpg"
    Image.fromarray(rng.integers(0, 256, (90, 120, 3), np.uint8)).save(photo)
    result = wsss("predict", photo, "--out", tmp_path / "masks")
    assert result.exit_code == 0, result.output
    mask = read_mask(tmp_path / "masks" / "photo.png")
    assert mask.shape == (90, 120)
    assert mask.max() <= 20
