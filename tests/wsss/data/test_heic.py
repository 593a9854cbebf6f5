"""HEIC as telephones write it, read with the extra `heic`: upright, in colour, by its header."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from wsss.data.check_images import check_image
from wsss.data.find_images import find_images
from wsss.data.image_header import read_header
from wsss.data.images import read_image
from wsss.errors import WsssError
from wsss.stages import predict

pillow_heif = pytest.importorskip("pillow_heif", reason="needs the extra: pip install 'wsss[heic]'")

TURNED = 6  # EXIF: on its right side, as a telephone held upright stores it


def picture() -> Image.Image:
    """Four colours, 48 wide and 32 high."""
    pixels = np.zeros((32, 48, 3), np.uint8)
    pixels[:16, :24], pixels[:16, 24:], pixels[16:, :24] = (250, 20, 20), (20, 250, 20), 20
    pixels[16:, 24:] = (20, 20, 250)
    return Image.fromarray(pixels)


def write(path: Path, orientation: int | None = None) -> Path:
    pillow_heif.register_heif_opener()
    exif = Image.Exif()
    if orientation is not None:
        exif[0x0112] = orientation
    picture().save(path, "HEIF", quality=95, exif=exif.tobytes())
    return path


def test_read_image_of_heic(tmp_path: Path) -> None:
    path = write(tmp_path / "IMG_0001.HEIC")
    assert read_header(path)[:2] == (48, 32) and check_image(path, verify=True).format == "HEIF"
    np.testing.assert_allclose(read_image(path), np.asarray(picture()), atol=40)
    assert find_images(tmp_path).paths == ("IMG_0001.HEIC",)


def test_read_image_of_heic_is_upright(tmp_path: Path) -> None:
    path = write(tmp_path / "a.heic", TURNED)
    right = np.asarray(picture().transpose(Image.Transpose.ROTATE_270))
    assert read_header(path)[:2] == (32, 48)
    np.testing.assert_allclose(read_image(path), right, atol=40)


def test_heic_that_is_cut_off_is_named(tmp_path: Path) -> None:
    path = write(tmp_path / "a.heic")
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(WsssError, match=r"a\.heic does not decode"):
        check_image(path)


def test_predict_finds_heic_among_others(tmp_path: Path) -> None:
    write(tmp_path / "a.heic")
    picture().save(tmp_path / "b.jpg")
    assert [s.id for s in predict.find(tmp_path, tmp_path / "masks")[0]] == ["a", "b"]
