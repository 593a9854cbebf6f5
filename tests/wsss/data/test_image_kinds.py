"""Images as cameras, scanners and microscopes write them."""

import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import PIL
import pytest
from PIL import Image, ImageOps

from wsss.data import image_header
from wsss.data.image_header import exif_orientation, may_be_cut_off, read_header
from wsss.data.images import read_image, to_eight_bits
from wsss.errors import WsssError

RESOLUTION = 0x011A


def exif(
    orientation: int, order: str = "<", kind: int = 3, bad: bytes = b"", prefix: bool = True
) -> bytes:
    """A directory with an orientation and, before it, one more entry of 12 bytes."""
    value = struct.pack(f"{order}{'I' if kind == 4 else 'H'}", orientation).ljust(4, b"\0")
    entries = [struct.pack(f"{order}HHI", 0x0112, kind, 1) + value]
    entries = [bad, *entries] if bad else entries
    head = b"II*\0" if order == "<" else b"MM\0*"
    data = head + struct.pack(f"{order}IH", 8, len(entries)) + b"".join(entries) + bytes(4)
    return (b"Exif\0\0" if prefix else b"") + data


MALFORMED = {
    "whole": b"",
    "a tag of another type": struct.pack("<HHII", RESOLUTION, 7, 8, 0x26),
    "a rational that divides by 0": struct.pack("<HHII", RESOLUTION, 10, 1, 2),
    "an offset beyond the end": struct.pack("<HHII", RESOLUTION, 5, 1, 0xFFFFFFF0),
    "a type that doesn't exist": struct.pack("<HHII", RESOLUTION, 99, 1, 0),
    "a count of 4 billion": struct.pack("<HHII", RESOLUTION, 2, 0xFFFFFFFF, 0),
}


@pytest.mark.parametrize("bad", MALFORMED)
@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp"])
def test_read_image_turns_whatever_else_the_exif_holds(
    tmp_path: Path, suffix: str, bad: str
) -> None:
    pixels = np.zeros((16, 32, 3), np.uint8)
    pixels[:, 16:] = 255  # right half white
    path = tmp_path / f"a{suffix}"
    Image.fromarray(pixels).save(path, exif=exif(6, bad=MALFORMED[bad]))
    image = read_image(path)
    assert image.shape == (32, 16, 3) and read_header(path)[:2] == (16, 32)
    assert image[:14].max() < 40 and image[18:].min() > 215  # the bottom half is white


@pytest.mark.parametrize("orientation", range(1, 9))
def test_read_image_turns_as_pillow_does(tmp_path: Path, orientation: int) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (3, 5, 3), np.uint8)
    for suffix in (".png", ".tif"):
        path = tmp_path / f"a{suffix}"
        how = Image.Exif()
        how[0x0112] = orientation
        Image.fromarray(pixels).save(path, exif=how)
        with Image.open(path) as file:
            expected = np.array(ImageOps.exif_transpose(file))
        np.testing.assert_array_equal(read_image(path), expected)
        assert read_header(path)[:2] == expected.shape[1::-1]


def test_exif_behind_the_pixels_of_a_png(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.new("RGB", (5, 3)).save(path)
    data, chunk = path.read_bytes(), b"eXIf" + exif(6, prefix=False)
    late = struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk))
    path.write_bytes(data[:-12] + late + data[-12:])  # before IEND
    assert read_header(path)[:2] == (3, 5) and read_image(path).shape == (5, 3, 3)


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("kind", [3, 4])
@pytest.mark.parametrize("prefix", [True, False])
def test_exif_orientation_of_either_byte_order(order: str, kind: int, prefix: bool) -> None:
    assert exif_orientation(exif(8, order, kind, prefix=prefix)) == 8


@pytest.mark.parametrize("data", [b"", b"Exif\0\0", b"II*\0", exif(6)[:20], b"no exif at all"])
def test_exif_orientation_of_cut_off_data_is_none(data: bytes) -> None:
    assert exif_orientation(data) is None


@pytest.mark.parametrize("value", [0, 9, 65535])
def test_read_image_with_an_orientation_that_does_not_exist(tmp_path: Path, value: int) -> None:
    Image.new("RGB", (5, 3)).save(tmp_path / "a.jpg", exif=exif(value))
    assert read_image(tmp_path / "a.jpg").shape == (3, 5, 3)


def test_twelve_bits_in_sixteen_are_not_black(tmp_path: Path) -> None:
    twelve = np.array([[0, 2048, 4095]], np.uint16)
    for suffix in (".png", ".tif"):
        Image.fromarray(twelve).save(tmp_path / f"a{suffix}")
        assert read_image(tmp_path / f"a{suffix}")[0, :, 0].tolist() == [0, 128, 255]


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize(("top", "expected"), [(4095, [255, 127, 0]), (65535, [255, 127, 0])])
def test_deep_colour_is_scaled_as_grey_is(
    tmp_path: Path, suffix: str, top: int, expected: list[int]
) -> None:
    red = np.full((2, 3, 3), (0, top // 2, top), np.uint16)  # OpenCV writes blue first
    cv2.imwrite(str(tmp_path / f"a{suffix}"), red)
    assert read_image(tmp_path / f"a{suffix}")[1, 2].tolist() == expected


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (np.array([0, 255], np.uint16), [0, 255]),
        (np.array([0, 256, 511], np.int32), [0, 128, 255]),
        (np.array([-5, 3], np.int32), [0, 3]),
        (np.array([0.0, 0.5, 1.0], np.float32), [0, 127, 255]),
        (np.array([np.nan, -1.0, 200.0, np.inf], np.float32), [0, 0, 200, 0]),
        (np.array([0.0, 1023.0], np.float64), [0, 255]),
    ],
    ids=["8 bits", "9 bits", "negative", "shares", "not numbers", "10 bits"],
)
def test_to_eight_bits_by_hand(values: np.ndarray, expected: list[int]) -> None:
    assert to_eight_bits(values).tolist() == expected


def test_float_tiff(tmp_path: Path) -> None:
    Image.fromarray(np.array([[0.0, 0.25, 1.0]], np.float32)).save(tmp_path / "a.tiff")
    assert read_image(tmp_path / "a.tiff")[0, :, 0].tolist() == [0, 63, 255]


@pytest.mark.parametrize(
    ("mode", "colour", "suffix"),
    [
        ("CMYK", (0, 255, 255, 0), ".jpg"),
        ("RGBA", (255, 0, 0, 128), ".png"),
        ("LA", (76, 255), ".png"),
        ("1", 1, ".png"),
        ("YCbCr", (76, 85, 255), ".tif"),
        ("RGB", (255, 0, 0), ".bmp"),
        ("RGB", (255, 0, 0), ".WEBP"),
        ("P", 3, ".gif"),
    ],
)
def test_every_mode_becomes_rgb(
    tmp_path: Path, mode: str, colour: int | tuple[int, ...], suffix: str
) -> None:
    if mode == "YCbCr" and int(PIL.__version__.partition(".")[0]) < 13:
        pytest.skip("Pillow before 13 does not read the YCbCr TIFFs that it writes")
    path = tmp_path / f"a{suffix}"
    Image.new(mode, (6, 4), colour).save(path)  # type: ignore[arg-type]
    image = read_image(path)
    assert image.shape == (4, 6, 3) and image.dtype == np.uint8
    if mode in ("CMYK", "RGBA", "YCbCr", "RGB"):
        assert image[2, 3, 0] > 200 and image[2, 3, 1:].max() < 60


def test_palette_with_alpha(tmp_path: Path) -> None:
    image = Image.new("PA", (2, 2), (0, 255))
    image.putpalette([9, 8, 7])
    image.convert("RGBA").save(tmp_path / "a.png")
    assert read_image(tmp_path / "a.png")[0, 0].tolist() == [9, 8, 7]


@pytest.mark.parametrize("suffix", [".gif", ".tif", ".webp", ".png"])
def test_the_first_frame_is_taken(tmp_path: Path, suffix: str) -> None:
    first, second = Image.new("RGB", (6, 4), "white"), Image.new("RGB", (6, 4), "black")
    how = {"lossless": True} if suffix == ".webp" else {}
    first.save(tmp_path / f"a{suffix}", save_all=True, append_images=[second], **how)
    assert read_image(tmp_path / f"a{suffix}").min() > 250


def test_two_hundred_megapixels_are_no_bomb(tmp_path: Path) -> None:
    Image.new("1", (20_000, 10_000)).save(tmp_path / "a.png")
    assert read_header(tmp_path / "a.png") == (20_000, 10_000, "1", "PNG")


def test_an_image_beyond_the_limit_is_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Image.new("RGB", (20, 10)).save(tmp_path / "a.png")
    monkeypatch.setattr(image_header, "MAX_PIXELS", 199)
    with pytest.raises(WsssError, match=r"a\.png is 20×10; expected at most"):
        read_image(tmp_path / "a.png")


def test_a_renamed_postscript_file_is_not_run(tmp_path: Path) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "a.eps")
    (tmp_path / "a.eps").rename(tmp_path / "a.jpg")
    with pytest.raises(WsssError, match="does not decode"):
        read_image(tmp_path / "a.jpg")


def test_read_header_decodes_no_pixel(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (90, 70, 3), np.uint8)
    for suffix in (".jpg", ".png"):
        path = tmp_path / f"a{suffix}"
        Image.fromarray(pixels).save(path)
        assert not may_be_cut_off(path)
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        assert read_header(path)[:2] == (70, 90) and may_be_cut_off(path)
