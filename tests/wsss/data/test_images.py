"""Sets of tagged images, and reading an image upright and whole."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from wsss.data.images import Sample, TaggedDataset, read_image
from wsss.errors import WsssError


def make(tags: list[tuple[int, ...]], classes: int = 3) -> TaggedDataset:
    samples = tuple(Sample(f"p{i}", Path(f"p{i}.jpg"), t) for i, t in enumerate(tags))
    return TaggedDataset(tuple("abcdefgh"[:classes]), samples)


def test_tag_matrix_by_hand() -> None:
    matrix = make([(0, 2), (), (1,)]).tag_matrix()
    assert matrix.dtype == np.float32
    assert matrix.tolist() == [[1, 0, 1], [0, 0, 0], [0, 1, 0]]


def test_holdout_parts_make_up_the_whole() -> None:
    whole = make([(i % 3,) for i in range(40)])
    train, held = whole.split_holdout(0.25, seed=0)
    assert (len(train), len(held)) == (30, 10)
    assert sorted(train.samples + held.samples, key=whole.samples.index) == list(whole.samples)
    assert (train, held) == whole.split_holdout(0.25, seed=0)
    assert held != whole.split_holdout(0.25, seed=1)[1]
    assert whole.split_holdout(0, seed=0) == (whole, make([]))


@pytest.mark.parametrize("seed", range(10))
def test_holdout_never_takes_the_last_of_a_class(seed: int) -> None:
    rng = np.random.default_rng(seed)
    whole = make([tuple(np.flatnonzero(rng.random(8) < 0.15).tolist()) for _ in range(20)], 8)
    train, held = whole.split_holdout(0.9, seed)
    occurs = whole.tag_matrix().any(0)
    assert (train.tag_matrix().any(0) == occurs).all()
    assert 0 < len(held) <= 18


def test_holdout_refuses_all() -> None:
    with pytest.raises(ValueError, match="fraction is 1"):
        make([(0,)]).split_holdout(1, 0)


def save(path: Path, pixels: np.ndarray, **how: object) -> Path:
    Image.fromarray(pixels).save(path, **how)  # type: ignore[arg-type]
    return path


def test_colour_image_comes_back(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)
    np.testing.assert_array_equal(read_image(save(tmp_path / "a.png", pixels)), pixels)


def test_grey_becomes_three_equal_channels(tmp_path: Path) -> None:
    image = read_image(save(tmp_path / "a.png", np.array([[0, 9]], np.uint8)))
    assert image.tolist() == [[[0, 0, 0], [9, 9, 9]]]


def test_sixteen_bit_grey_keeps_its_high_byte(tmp_path: Path) -> None:
    image = read_image(save(tmp_path / "a.png", np.array([[0, 0x1234, 0xFFFF]], np.uint16)))
    assert image[0, :, 0].tolist() == [0, 0x12, 0xFF]


def test_palette_with_transparency_reads_without_a_warning(tmp_path: Path) -> None:
    image = Image.fromarray(np.array([[0, 1]], np.uint8))
    image.putpalette([10, 20, 30, 40, 50, 60])
    image.save(tmp_path / "a.png", transparency=bytes([0, 255]))
    assert read_image(tmp_path / "a.png").tolist() == [[[10, 20, 30], [40, 50, 60]]]


def test_exif_orientation_is_applied(tmp_path: Path) -> None:
    pixels = np.zeros((16, 32, 3), np.uint8)
    pixels[:, 16:] = 255  # right half white
    exif = Image.Exif()
    exif[0x0112] = 6  # shown turned by 90° clockwise
    image = read_image(save(tmp_path / "a.jpg", pixels, exif=exif))
    assert image.shape == (32, 16, 3)
    assert image[:14].max() < 30 and image[18:].min() > 225  # the bottom half is white


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_cut_off_image_is_a_sentence(tmp_path: Path, suffix: str) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    path = save(tmp_path / f"a{suffix}", pixels)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(WsssError, match=rf"a\{suffix} does not decode .*; expected a whole"):
        read_image(path)


def test_missing_and_other_files_are_sentences(tmp_path: Path) -> None:
    with pytest.raises(WsssError, match="does not exist"):
        read_image(tmp_path / "a.jpg")
    (tmp_path / "a.jpg").write_text("text")
    with pytest.raises(WsssError, match="does not decode"):
        read_image(tmp_path / "a.jpg")
    (tmp_path / "a.jpg").write_bytes(b"")
    with pytest.raises(WsssError, match="does not decode"):
        read_image(tmp_path / "a.jpg")
