"""Which files of a folder are images, and which are left out."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from wsss.data import find_images as module
from wsss.data.find_images import (
    describe_left_out,
    find_images,
    likely_images,
    one_of_each_name,
    without_suffix,
)


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"")


def test_find_images_of_any_suffix_and_path(tmp_path: Path) -> None:
    names = ["A.JPEG", "b #1/~c=2.webp", "b #1/d.Tif", "e.bmp", "f.gif", "2024/1.png"]
    touch(tmp_path, *names)
    assert find_images(tmp_path) == (tuple(sorted(names)), {})


def test_find_images_counts_what_is_left_out(tmp_path: Path) -> None:
    touch(tmp_path, "a.jpg", "b.svg", "c/d.SVG", "notes", ".hidden.jpg", "__MACOSX/a.jpg")
    touch(tmp_path, "Thumbs.db", ".git/b.jpg")
    (tmp_path / "x.jpg").mkdir()  # a folder, whatever its name
    assert find_images(tmp_path) == (("a.jpg",), {".svg": 2, "notes": 1})


def test_find_images_skips_a_folder(tmp_path: Path) -> None:
    touch(tmp_path, "a.jpg", "masks/a.png", "masks/more/b.png")
    assert find_images(tmp_path, skip=tmp_path / "masks").paths == ("a.jpg",)


def test_find_images_follows_links_once(tmp_path: Path) -> None:
    touch(tmp_path, "elsewhere/p0.jpg", "elsewhere/deep/p1.jpg", "photos/p3.jpg", "photos/z/p4.jpg")
    photos = tmp_path / "photos"
    (photos / "more").symlink_to("../elsewhere")
    (photos / "loop").symlink_to(".")
    (tmp_path / "elsewhere" / "back").symlink_to("../photos")
    (photos / "a").symlink_to("z")  # an image keeps its own path
    (photos / "one.jpg").symlink_to("p3.jpg")
    (photos / "broken.jpg").symlink_to("nowhere.jpg")
    found = find_images(photos)
    assert found.paths == ("more/deep/p1.jpg", "more/p0.jpg", "one.jpg", "p3.jpg", "z/p4.jpg")
    assert found.left_out == {"broken links": 1}


def test_find_images_in_a_linked_folder(tmp_path: Path) -> None:
    touch(tmp_path, "photos/a.jpg")
    (tmp_path / "link").symlink_to("photos")
    assert find_images(tmp_path / "link").paths == ("a.jpg",)


def test_describe_left_out_says_what_would_read_it() -> None:
    assert describe_left_out({}) == ""
    assert describe_left_out({".psd": 2}) == "2 .psd"
    assert "pip install pillow-heif" in describe_left_out({".heic": 3})


@pytest.mark.parametrize("mode", ["P", "L", "1"])
def test_a_mask_beside_its_photo_is_no_image(tmp_path: Path, mode: str) -> None:
    Image.new("RGB", (4, 4)).save(tmp_path / "a.jpg")
    Image.new(mode, (4, 4)).save(tmp_path / "a.png")
    assert likely_images([tmp_path / "a.png", tmp_path / "a.jpg"]) == [tmp_path / "a.jpg"]
    assert one_of_each_name(tmp_path, ["a.jpg", "a.png"]) == (["a.jpg"], ["a.png"])


def test_images_of_one_name_that_nothing_tells_apart_stay(tmp_path: Path) -> None:
    for name in ("a.jpg", "a.png"):
        Image.new("RGB", (4, 4)).save(tmp_path / name)
    Image.fromarray(np.zeros((4, 4), np.uint8)).save(tmp_path / "b.png")
    touch(tmp_path, "c.jpg", "c.png")  # damaged
    paths = ["a.jpg", "a.png", "b.png", "c.jpg", "c.png"]
    assert one_of_each_name(tmp_path, paths) == (paths, [])


def test_without_suffix_takes_one_suffix_off() -> None:
    assert without_suffix("a.b/c.d.jpg") == "a.b/c.d"
    assert without_suffix("a.b/c") == "a.b/c"


def test_the_suffixes_are_what_pillow_reads() -> None:
    assert set(module.IMAGE_SUFFIXES) <= {*Image.registered_extensions(), ".heic", ".heif"}
