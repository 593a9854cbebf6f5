"""One's own images: every way to write the CSV, and every way to get it wrong."""

import unicodedata
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from PIL import Image

from wsss.errors import WsssError
from wsss.formats.own_images import read_folder


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    for name in ("a.jpg", "b.c.png", "deep/a b.jpg", "deep/d.JPEG", "other/d.jpg"):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(path)
    (folder / "notes.txt").write_text("no image")
    return folder


def read(
    images: Path, text: str, encoding: str = "utf-8", **how: object
) -> dict[str, tuple[str, ...]]:
    path = images.parent / "tags.csv"
    path.write_text(text, encoding=encoding)
    data = read_folder(images, path, **how)  # type: ignore[arg-type]
    return {p.id: tuple(data.class_names[t] for t in p.tags) for p in data.samples}


@pytest.mark.parametrize(
    "cell", ["cat;dog", "cat|dog", '"cat,dog"', " dog ;  cat ", "cat;dog;cat;", '"dog, cat"']
)
def test_every_way_to_split_tags(images: Path, cell: str) -> None:
    assert read(images, f"image,tags\na.jpg,{cell}\n") == {"a": ("cat", "dog")}


def test_names_with_and_without_folder_and_extension(images: Path) -> None:
    rows = ["a", "images/b.c.png", "deep\\a b", "/home/me/images/deep/d.JPEG", "other/d"]
    found = read(images, "image,tags\n" + "".join(f"{r},x\n" for r in rows))
    assert list(found) == ["a", "b.c", "deep/a b", "deep/d", "other/d"]


@pytest.mark.parametrize("on_disk", ["NFC", "NFD"])
@pytest.mark.parametrize("in_table", ["NFC", "NFD"])
@pytest.mark.parametrize("name", ["é/Bär.jpg", "Bär.jpg", "é/Bär", "Bär"])
def test_accents_match_however_they_are_stored(
    images: Path, on_disk: Literal["NFC", "NFD"], in_table: Literal["NFC", "NFD"], name: str
) -> None:
    path = unicodedata.normalize(on_disk, "é/Bär.jpg")
    (images / path).parent.mkdir()
    Image.new("RGB", (4, 4)).save(images / path)
    row = unicodedata.normalize(in_table, name)
    assert read(images, f"image,tags\n{row},x\n") == {path.removesuffix(".jpg"): ("x",)}


def test_bare_name_finds_the_only_image_below(images: Path) -> None:
    assert read(images, "image,tags\na b.jpg,x\n") == {"deep/a b": ("x",)}


@pytest.mark.parametrize("name", ["a.jpg", "a", "images/a.jpg"])
def test_an_exact_path_wins_over_an_image_of_that_name_below(images: Path, name: str) -> None:
    Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(images / "other" / "a.jpg")
    assert read(images, f"image,tags\n{name},x\nother/a,x\n") == {"a": ("x",), "other/a": ("x",)}


def test_class_names_are_the_sorted_tags(images: Path) -> None:
    (images.parent / "t.csv").write_text("image,tags\na,zebra;Ärger\nb.c,ant\n", encoding="utf-8")
    data = read_folder(images, images.parent / "t.csv")
    assert data.class_names == ("ant", "zebra", "Ärger")
    assert [p.tags for p in data.samples] == [(1, 2), (0,)]
    assert [p.path for p in data.samples] == [images / "a.jpg", images / "b.c.png"]


def test_given_class_names_keep_their_order(images: Path) -> None:
    text = "image,tags\na,cat\n"
    path = images.parent / "t.csv"
    path.write_text(text)
    data = read_folder(images, path, class_names=["dog", "cat"])
    assert (data.class_names, data.samples[0].tags) == (("dog", "cat"), (1,))


def test_rows_of_one_image_add_up(images: Path) -> None:
    assert read(images, "image,tags\na,cat\nb.c,cow\na,dog\na.jpg,ant\n") == {
        "a": ("ant", "cat", "dog"),
        "b.c": ("cow",),
    }


def test_an_empty_cell_is_an_image_of_no_class(images: Path) -> None:
    assert read(images, "image,tags\na,cat\nb.c,\n") == {"a": ("cat",), "b.c": ()}


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_columns_in_any_order_with_any_delimiter(images: Path, delimiter: str) -> None:
    text = "id, Tags ,Image\n1,cat|dog,a\n\n".replace(",", delimiter)
    assert read(images, text) == {"a": ("cat", "dog")}


def test_byte_order_mark_and_windows_line_ends(images: Path) -> None:
    assert read(images, "image,tags\r\na,cat\r\n", encoding="utf-8-sig") == {"a": ("cat",)}


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "starts with ''; expected a header"),
        ("foto,etiketten\na.jpg,cat\n", "starts with 'foto,etiketten'; expected a header"),
        ("a.jpg,cat,black\n", "starts with 'a.jpg,cat,black'; expected a header"),
        ("image,tags\n", "lists no image"),
        ("image,tags\na,cat,dog\n", r"Line 2 .* has 3 fields .*; expected 2"),
        ("image,tags\na,cat\n,dog\n", "Line 3 .* with an image name"),
        ("image,tags\nzz,cat\nyy,cat\n", r"the image 'zz', which does not exist \(and 1 more"),
        ("image,tags\nd,cat\n", r"'d', which may be deep/d\.JPEG or other/d\.jpg"),
        ("image,tags\na,background\n", "names a class 'background'"),
        ("image,tags\na,Background\n", "names a class 'Background'"),
        ("image,tags\na,\n", "gives 0 classes"),
    ],
)
def test_what_is_wrong_is_a_sentence(images: Path, text: str, sentence: str) -> None:
    with pytest.raises(WsssError, match=sentence):
        read(images, text)


def test_unknown_tag_names_the_nearest_class(images: Path) -> None:
    table = "image,tags\na,cat\nb.c,cat\nb.c,dgo;cat\na,dgo\n"
    with pytest.raises(
        WsssError,
        match=r"^Line 4 of .*tags.csv has the tag 'dgo', which is none of .*did you mean 'dog'\?",
    ):
        read(images, table, class_names=["cat", "dog"])
    with pytest.raises(WsssError, match=r"^data.class_names names the class 'cat' and again 'Cat'"):
        read(images, table, class_names=["cat", "Cat"])


def test_two_images_of_one_mask_name(images: Path) -> None:
    Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(images / "a.png")
    assert read(images, "image,tags\na.png,cat\n") == {"a": ("cat",)}
    with pytest.raises(WsssError, match=r"a\.jpg and a\.png, whose masks would have one name"):
        read(images, "image,tags\na.jpg,cat\na.png,cat\n")
    with pytest.raises(WsssError, match=r"'a', which may be a\.jpg or a\.png"):
        read(images, "image,tags\na,cat\n")


def test_missing_places_are_sentences(images: Path, tmp_path: Path) -> None:
    with pytest.raises(WsssError, match=r"nope\.csv cannot be read \(No such file"):
        read_folder(images, tmp_path / "nope.csv")
    with pytest.raises(WsssError, match="gone does not exist; name the folder"):
        read(tmp_path / "gone", "image,tags\na,cat\n")
    (tmp_path / "bare").mkdir()
    with pytest.raises(WsssError, match=r"bare holds no image; expected \.jpg"):
        read(tmp_path / "bare", "image,tags\na,cat\n")


def test_other_encodings_are_a_sentence(images: Path) -> None:
    with pytest.raises(WsssError, match="is not UTF-8"):
        read(images, "image,tags\na,Ärger\n", encoding="latin-1")
