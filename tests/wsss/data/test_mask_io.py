"""Masks on disk: palette, whole or not at all, what is refused, their origin."""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.wsss.shared_files import shared
from wsss.data import mask_io
from wsss.errors import WsssError
from wsss.formats import voc

SHARED_VOC = shared("voc") / "VOCdevkit" / "VOC2012"


@pytest.mark.parametrize(
    ("index", "colour"),
    [
        (0, (0, 0, 0)),
        (1, (128, 0, 0)),
        (2, (0, 128, 0)),
        (15, (192, 128, 128)),
        (20, (0, 64, 128)),
        (255, (224, 224, 192)),
    ],
)
def test_palette_interleaves_bits(index: int, colour: tuple[int, int, int]) -> None:
    assert tuple(mask_io.palette()[index].tolist()) == colour


def test_palette_has_no_colour_twice() -> None:
    assert mask_io.palette().shape == (256, 3)
    assert len(np.unique(mask_io.palette(), axis=0)) == 256


def test_mask_comes_back_with_vocs_palette(tmp_path: Path) -> None:
    mask = np.array([[0, 1, 2], [20, 255, 15]], np.uint8)
    path = tmp_path / "made" / "on the way" / "a.png"
    mask_io.write_mask(path, mask)
    np.testing.assert_array_equal(mask_io.read_mask(path), mask)
    with Image.open(path) as file:
        assert (file.mode, file.size) == ("P", (3, 2))
        np.testing.assert_array_equal(
            np.array(file.convert("RGB")), mask_io.palette()[mask], err_msg="shown colours"
        )
    assert [p.name for p in path.parent.iterdir()] == ["a.png"]


def test_mask_takes_other_integers_and_another_palette(tmp_path: Path) -> None:
    grey = np.repeat(np.arange(256, dtype=np.uint8)[:, None], 3, axis=1)
    mask_io.write_mask(tmp_path / "a.png", np.array([[3, 255]], np.int64), palette=grey)
    with Image.open(tmp_path / "a.png") as file:
        assert np.array(file.convert("RGB")).tolist() == [[[3, 3, 3], [255, 255, 255]]]


def test_same_mask_same_bytes(tmp_path: Path) -> None:
    mask = np.random.default_rng(0).integers(0, 21, (40, 30), np.uint8)
    for name in ("a.png", "b.png"):
        mask_io.write_mask(tmp_path / name, mask)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


@pytest.mark.parametrize(
    "mask",
    [
        np.zeros((2, 2)),
        np.zeros((2, 2, 3), int),
        np.array([[256]]),
        np.array([[-1]]),
        np.zeros((0, 3), int),
    ],
    ids=["float", "3-d", "256", "-1", "empty"],
)
def test_what_is_no_mask_is_not_written(tmp_path: Path, mask: np.ndarray) -> None:
    with pytest.raises(ValueError, match="a mask"):
        mask_io.write_mask(tmp_path / "a.png", mask)
    assert not list(tmp_path.iterdir())


def test_failed_write_keeps_the_former_mask(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.png"
    mask_io.write_mask(path, np.array([[1]], np.uint8))

    def full_disk(self: Image.Image, where: Path, **_: object) -> None:
        Path(where).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", full_disk)
    with pytest.raises(WsssError, match=r"a\.png can.t be written .*No space left on device"):
        mask_io.write_mask(path, np.array([[2]], np.uint8))
    assert mask_io.read_mask(path).tolist() == [[1]]
    assert [p.name for p in tmp_path.iterdir()] == ["a.png"]


def test_write_below_a_file_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(WsssError, match="file can't be made"):
        mask_io.write_mask(tmp_path / "file" / "a.png", np.array([[2]], np.uint8))


def test_reading_tells_what_is_wrong(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    with pytest.raises(WsssError, match=r"a\.png does not exist"):
        mask_io.read_mask(path)
    path.write_bytes(b"no image")
    with pytest.raises(WsssError, match="does not decode"):
        mask_io.read_mask(path)
    Image.new("RGB", (2, 2)).save(path)
    with pytest.raises(WsssError, match="has mode RGB; expected class indices"):
        mask_io.read_mask(path)


def test_cut_off_mask_is_a_sentence(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    mask_io.write_mask(path, np.random.default_rng(0).integers(0, 21, (60, 60), np.uint8))
    path.write_bytes(path.read_bytes()[:1500])
    with pytest.raises(WsssError, match="does not decode"):
        mask_io.read_mask(path)


def test_four_bit_palette_masks_read_as_indices(tmp_path: Path) -> None:
    image = Image.fromarray(np.array([[0, 3], [5, 15]], np.uint8))
    image.putpalette(mask_io.palette()[:16].tobytes())
    image.save(tmp_path / "a.png", bits=4)
    assert mask_io.read_mask(tmp_path / "a.png").tolist() == [[0, 3], [5, 15]]


@pytest.mark.skipif(not SHARED_VOC.is_dir(), reason="no ../shared/voc beside the checkout")
def test_a_real_mask_comes_back_as_it_was(tmp_path: Path) -> None:
    for id_ in voc.split_ids(SHARED_VOC, "train")[:5]:
        real = SHARED_VOC / "SegmentationClassAug" / f"{id_}.png"
        with Image.open(real) as file:
            truth = np.array(file)
        mask = mask_io.read_mask(real)
        np.testing.assert_array_equal(mask, truth)
        assert set(np.unique(mask)) <= {*range(21), 255}
        mask_io.write_mask(tmp_path / "again.png", mask)
        np.testing.assert_array_equal(mask_io.read_mask(tmp_path / "again.png"), truth)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_read_only_folder_is_a_sentence(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(WsssError, match="can't be written"):
        mask_io.write_mask(tmp_path / "a.png", np.array([[2]], np.uint8))


def test_a_mask_carries_its_origin(tmp_path: Path) -> None:
    path, mask = tmp_path / "a.png", np.arange(6, dtype=np.uint8).reshape(2, 3)
    assert mask_io.read_origin(path) is None
    mask_io.write_mask(path, mask)
    plain = path.read_bytes()
    assert mask_io.read_origin(path) is None
    mask_io.write_mask(path, mask, origin="0f1e")
    assert mask_io.read_origin(path) == "0f1e" and np.array_equal(mask_io.read_mask(path), mask)
    mask_io.write_mask(path, mask, origin=None)
    assert path.read_bytes() == plain
    path.write_bytes(plain[:20])
    assert mask_io.read_origin(path) is None


@pytest.mark.parametrize("damage", ["note", "cut", "signature"])
def test_note_of_a_damaged_head_is_none(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "a.png"
    mask_io.write_mask(path, np.zeros((2, 3), np.uint8), note="what is said")
    assert mask_io.read_note(path) == "what is said"
    whole = path.read_bytes()
    damaged = {
        "note": whole.replace(b"is said", b"was not"),
        "cut": whole[:30],
        "signature": b"?" + whole[1:],
    }
    path.write_bytes(damaged[damage])
    assert mask_io.read_note(path) is None
