"""Archives for VOC's server: what packing gives, and every way of spoiling one."""

import io
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from wsss.data import mask_io
from wsss.errors import WsssError
from wsss.stages import voc_archive

IDS = ("2008_000006", "2008_000011")


@pytest.fixture
def masks(tmp_path: Path) -> Path:
    """Two masks of 5 × 4 pixels, their images and the list of their ids."""
    for n, id_ in enumerate(IDS):
        mask_io.write_mask(tmp_path / "masks" / f"{id_}.png", np.full((4, 5), n * 20, np.uint8))
        (tmp_path / "images").mkdir(exist_ok=True)
        Image.new("RGB", (5, 4)).save(tmp_path / "images" / f"{id_}.jpg")
    (tmp_path / "test.txt").write_text("\n".join(IDS))
    return tmp_path / "masks"


def check(archive: Path) -> list[str]:
    top = archive.parent
    return voc_archive.check(archive, top / "test.txt", top / "images")


def test_pack_makes_what_the_server_takes(masks: Path) -> None:
    archive = voc_archive.pack(masks, IDS, masks.parent / "a.tar.gz")
    with tarfile.open(archive, "r:gz") as file:
        folder = "results/VOC2012/Segmentation/comp6_test_cls"
        assert file.getnames() == [f"{folder}/{id_}.png" for id_ in IDS]
        content = file.extractfile(file.getnames()[1])
        assert content is not None
        image = Image.open(io.BytesIO(content.read()))
    assert (image.mode, image.size, image.getpalette()) == (
        "P",
        (5, 4),
        mask_io.palette().ravel().tolist(),
    )
    assert np.array(image).tolist() == [[20] * 5] * 4
    assert check(archive) == [] and voc_archive.check(archive) == []


def test_pack_of_the_same_masks_gives_the_same_bytes(masks: Path) -> None:
    one = voc_archive.pack(masks, IDS, masks.parent / "a.tar.gz").read_bytes()
    for path in masks.glob("*.png"):
        path.touch()
    assert voc_archive.pack(masks, IDS, masks.parent / "b.tar.gz").read_bytes() == one


def test_pack_refuses_void_missing_masks_and_equal_names(masks: Path, tmp_path: Path) -> None:
    mask_io.write_mask(masks / f"{IDS[0]}.png", np.full((4, 5), 255, np.uint8))
    with pytest.raises(WsssError, match=r"2008_000006\.png .*255"):
        voc_archive.pack(masks, IDS, tmp_path / "a.tar.gz")
    with pytest.raises(WsssError, match=r"masks/gone\.png"):
        voc_archive.pack(masks, ["gone"], tmp_path / "a.tar.gz")
    with pytest.raises(WsssError, match="1 of the 2 images"):
        voc_archive.pack(masks, ["one/a", "two/a"], tmp_path / "a.tar.gz")
    assert not (tmp_path / "a.tar.gz").exists()


def test_pack_takes_the_listed_masks_out_of_their_folders(masks: Path) -> None:
    mask_io.write_mask(masks / "more" / "2009_000001.png", np.zeros((4, 5), np.uint8))
    archive = voc_archive.pack(masks, [IDS[1], "more/2009_000001"], masks.parent / "a.tar.gz")
    with tarfile.open(archive, "r:gz") as file:
        names = [Path(name).stem for name in file.getnames()]
    assert names == [IDS[1], "2009_000001"]


def rgb(masks: Path) -> None:
    Image.new("RGB", (5, 4)).save(masks / f"{IDS[0]}.png")


def grey(masks: Path) -> None:
    Image.new("L", (5, 4)).save(masks / f"{IDS[0]}.png")


def own_palette(masks: Path) -> None:
    colours = mask_io.palette()
    colours[7] = 9
    mask_io.write_mask(masks / f"{IDS[0]}.png", np.zeros((4, 5), np.uint8), colours)


def void(masks: Path) -> None:
    mask_io.write_mask(masks / f"{IDS[0]}.png", np.full((4, 5), 255, np.uint8))


def resized(masks: Path) -> None:
    mask_io.write_mask(masks / f"{IDS[0]}.png", np.zeros((8, 10), np.uint8))


def missing(masks: Path) -> None:
    (masks / f"{IDS[0]}.png").unlink()


def more(masks: Path) -> None:
    mask_io.write_mask(masks / "2009_000001.png", np.zeros((4, 5), np.uint8))


def damaged(masks: Path) -> None:
    (masks / f"{IDS[0]}.png").write_bytes(b"no image")


def jpeg(masks: Path) -> None:
    Image.new("L", (5, 4)).save(masks / f"{IDS[0]}.png", format="JPEG")


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (rgb, "2008_000006.png is PNG of mode RGB"),
        (grey, "2008_000006.png is PNG of mode L"),
        (jpeg, "2008_000006.png is JPEG"),
        (own_palette, "2008_000006.png has another palette"),
        (void, "2008_000006.png holds the value 255"),
        (resized, "2008_000006.png is 10×8"),
        (missing, "2008_000006 of {top}/test.txt"),
        (more, "2009_000001.png has no image"),
        (damaged, "2008_000006.png does not decode"),
    ],
)
def test_check_names_the_mask_of_each_fault(
    masks: Path, spoil: Callable[[Path], None], words: str
) -> None:
    spoil(masks)
    archive = masks.parent / "a.tar.gz"
    with tarfile.open(archive, "w:gz") as file:
        for path in sorted(masks.iterdir()):
            file.add(path, f"{voc_archive.FOLDER}/{path.name}")
    problems = check(archive)
    assert problems[0].startswith(words.format(top=masks.parent))
    # a mask too many is not an image's, and on no list
    assert len(problems) == (2 if spoil is more else 1)


def test_check_of_masks_in_another_folder(masks: Path) -> None:
    archive = masks.parent / "a.tar.gz"
    with tarfile.open(archive, "w:gz") as file:
        file.add(masks, "masks")
    problems = voc_archive.check(archive)
    assert (
        len(problems) == 3 and "masks/2008_000006.png is not a file results/VOC2012" in problems[0]
    )
    assert "holds no results/VOC2012/Segmentation/comp6_test_cls/<id>.png" in problems[-1]


def test_check_of_a_mask_twice(masks: Path) -> None:
    archive = masks.parent / "a.tar.gz"
    with tarfile.open(archive, "w:gz") as file:
        for id_ in (*IDS, IDS[0]):
            file.add(masks / f"{id_}.png", f"{voc_archive.FOLDER}/{id_}.png")
    (problem,) = check(archive)
    assert problem.startswith("2008_000006 ") and "2 times" in problem


@pytest.mark.parametrize("content", [b"no archive", b""])
def test_check_of_a_file_that_is_no_archive(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.tar.gz").write_bytes(content)
    problem, *_ = voc_archive.check(tmp_path / "a.tar.gz")
    assert f"{tmp_path / 'a.tar.gz'} is not a complete" in problem


def test_check_of_an_archive_cut_off(masks: Path) -> None:
    archive = voc_archive.pack(masks, IDS, masks.parent / "a.tar.gz")
    archive.write_bytes(archive.read_bytes()[:-40])
    assert any(f"{archive} is not a complete" in problem for problem in check(archive))


def test_check_names_missing_files(masks: Path, tmp_path: Path) -> None:
    archive = voc_archive.pack(masks, IDS, tmp_path / "a.tar.gz")
    gone = tmp_path / "gone"
    for arguments, words in (
        ((gone,), "no archive at"),
        ((archive, gone), "no list of ids at"),
        ((archive, None, gone), "no folder of images at"),
    ):
        with pytest.raises(WsssError, match=words):
            voc_archive.check(*arguments)
