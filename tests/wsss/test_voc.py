"""VOC's conventions, by hand and against the real data set."""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from wsss import voc
from wsss.data.class_names import write_class_names
from wsss.errors import WsssError

SHARED_VOC = Path(__file__).parents[3] / "shared" / "voc" / "VOCdevkit" / "VOC2012"


def lists(root: Path, **splits: str) -> Path:
    folder = root / "ImageSets" / "Segmentation"
    folder.mkdir(parents=True)
    for name, text in splits.items():
        (folder / f"{name}.txt").write_text(text)
    return root


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
    assert tuple(voc.palette()[index].tolist()) == colour


def test_palette_has_no_colour_twice() -> None:
    assert voc.palette().shape == (256, 3)
    assert len(np.unique(voc.palette(), axis=0)) == 256


def test_class_names_are_vocs_in_their_order() -> None:
    assert voc.NUM_CLASSES == 21 == len(set(voc.CLASS_NAMES))
    assert [voc.CLASS_NAMES[i] for i in (0, 1, 8, 15, 20)] == [
        "background",
        "aeroplane",
        "cat",
        "person",
        "tvmonitor",
    ]


def test_mask_comes_back_with_vocs_palette(tmp_path: Path) -> None:
    mask = np.array([[0, 1, 2], [20, 255, 15]], np.uint8)
    path = tmp_path / "made" / "on the way" / "a.png"
    voc.write_mask(path, mask)
    np.testing.assert_array_equal(voc.read_mask(path), mask)
    with Image.open(path) as file:
        assert (file.mode, file.size) == ("P", (3, 2))
        np.testing.assert_array_equal(
            np.array(file.convert("RGB")), voc.palette()[mask], err_msg="shown colours"
        )
    assert [p.name for p in path.parent.iterdir()] == ["a.png"]


def test_mask_takes_other_integers_and_another_palette(tmp_path: Path) -> None:
    grey = np.repeat(np.arange(256, dtype=np.uint8)[:, None], 3, axis=1)
    voc.write_mask(tmp_path / "a.png", np.array([[3, 255]], np.int64), palette=grey)
    with Image.open(tmp_path / "a.png") as file:
        assert np.array(file.convert("RGB")).tolist() == [[[3, 3, 3], [255, 255, 255]]]


def test_same_mask_same_bytes(tmp_path: Path) -> None:
    mask = np.random.default_rng(0).integers(0, 21, (40, 30), np.uint8)
    for name in ("a.png", "b.png"):
        voc.write_mask(tmp_path / name, mask)
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
        voc.write_mask(tmp_path / "a.png", mask)
    assert not list(tmp_path.iterdir())


def test_failed_write_keeps_the_former_mask(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.png"
    voc.write_mask(path, np.array([[1]], np.uint8))

    def full_disk(self: Image.Image, where: Path, **_: object) -> None:
        Path(where).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", full_disk)
    with pytest.raises(WsssError, match=r"a\.png could not be written \(No space left on device\)"):
        voc.write_mask(path, np.array([[2]], np.uint8))
    assert voc.read_mask(path).tolist() == [[1]]
    assert [p.name for p in tmp_path.iterdir()] == ["a.png"]


def test_write_below_a_file_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(WsssError, match="could not be written"):
        voc.write_mask(tmp_path / "file" / "a.png", np.array([[2]], np.uint8))


def test_reading_tells_what_is_wrong(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    with pytest.raises(WsssError, match=r"a\.png does not exist"):
        voc.read_mask(path)
    path.write_bytes(b"no picture")
    with pytest.raises(WsssError, match="does not decode"):
        voc.read_mask(path)
    Image.new("RGB", (2, 2)).save(path)
    with pytest.raises(WsssError, match="has mode RGB; expected class indices"):
        voc.read_mask(path)


def test_cut_off_mask_is_a_sentence(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    voc.write_mask(path, np.random.default_rng(0).integers(0, 21, (60, 60), np.uint8))
    path.write_bytes(path.read_bytes()[:1500])
    with pytest.raises(WsssError, match="does not decode"):
        voc.read_mask(path)


def test_four_bit_palette_masks_read_as_indices(tmp_path: Path) -> None:
    image = Image.fromarray(np.array([[0, 3], [5, 15]], np.uint8))
    image.putpalette(voc.palette()[:16].tobytes())
    image.save(tmp_path / "a.png", bits=4)
    assert voc.read_mask(tmp_path / "a.png").tolist() == [[0, 3], [5, 15]]


def test_split_list_keeps_its_order(tmp_path: Path) -> None:
    root = lists(tmp_path, train="2007_2\n2007_1\n\n2008_9  \n")
    assert voc.split_ids(root, "train") == ("2007_2", "2007_1", "2008_9")


def test_split_list_of_pairs_gives_stems(tmp_path: Path) -> None:
    root = lists(tmp_path, aug="/JPEGImages/2007_1.jpg /SegmentationClassAug/2007_1.png\n")
    assert voc.split_ids(root, "aug") == ("2007_1",)


@pytest.mark.parametrize(
    ("split", "sentence"),
    [
        ("nope", "lists found there are: empty, twice"),
        ("empty", "is empty"),
        ("twice", "names b more than once"),
    ],
)
def test_bad_split_is_a_sentence(tmp_path: Path, split: str, sentence: str) -> None:
    root = lists(tmp_path, empty="\n", twice="a\nb\nc\nb\n")
    with pytest.raises(WsssError, match=sentence):
        voc.split_ids(root, split)


def test_missing_root_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(WsssError, match=r"gone does not exist; .* set data\.root"):
        voc.split_ids(tmp_path / "gone", "train")


def test_class_names_come_from_the_file_or_are_vocs(tmp_path: Path) -> None:
    assert voc.read_class_names(tmp_path) == voc.CLASS_NAMES[1:]
    (tmp_path / "class_names.txt").write_text("zebra\n\n ant \n")
    assert voc.read_class_names(tmp_path) == ("zebra", "ant")
    # as it is written beside masks
    write_class_names(tmp_path, ("zebra", "a b"))
    text = (tmp_path / "class_names.txt").read_text()
    assert text == "0 background\n1 zebra\n2 a b\n"
    assert voc.read_class_names(tmp_path) == ("zebra", "a b")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "gives 0 classes; expected 1 to 254"),
        ("a\nb\na\n", "'a' and again 'a'"),
        ("Cat\ncat\n", "'Cat' and again 'cat'; expected every class once and in one spelling"),
        ("a\nbackground\n", "names a class 'background'"),
        ("0 background\n1 a\n3 b\n", "has the line '3 b' out of turn; expected `value name`"),
        ("\n".join(map(str, range(255))), "gives 255 classes"),
    ],
)
def test_bad_class_names_are_a_sentence(tmp_path: Path, text: str, sentence: str) -> None:
    (tmp_path / "class_names.txt").write_text(text)
    with pytest.raises(WsssError, match=sentence):
        voc.read_class_names(tmp_path)


@pytest.mark.skipif(not SHARED_VOC.is_dir(), reason="no ../shared/voc beside the checkout")
def test_a_real_mask_comes_back_as_it_was(tmp_path: Path) -> None:
    for id_ in voc.split_ids(SHARED_VOC, "train")[:5]:
        real = SHARED_VOC / "SegmentationClassAug" / f"{id_}.png"
        with Image.open(real) as file:
            truth = np.array(file)
        mask = voc.read_mask(real)
        np.testing.assert_array_equal(mask, truth)
        assert set(np.unique(mask)) <= {*range(21), 255}
        voc.write_mask(tmp_path / "again.png", mask)
        np.testing.assert_array_equal(voc.read_mask(tmp_path / "again.png"), truth)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_read_only_folder_is_a_sentence(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(WsssError, match="could not be written"):
        voc.write_mask(tmp_path / "a.png", np.array([[2]], np.uint8))


def test_a_mask_carries_its_origin(tmp_path: Path) -> None:
    path, mask = tmp_path / "a.png", np.arange(6, dtype=np.uint8).reshape(2, 3)
    assert voc.read_origin(path) is None
    voc.write_mask(path, mask)
    plain = path.read_bytes()
    assert voc.read_origin(path) is None
    voc.write_mask(path, mask, origin="0f1e")
    assert voc.read_origin(path) == "0f1e" and np.array_equal(voc.read_mask(path), mask)
    voc.write_mask(path, mask, origin=None)
    assert path.read_bytes() == plain
    path.write_bytes(plain[:20])
    assert voc.read_origin(path) is None
