"""The table that is read before anything is trained; images by header or whole."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from wsss.config import DataConfig
from wsss.data.check_images import check_image, without_damaged
from wsss.data.describe import describe_data
from wsss.data.images import Sample, TaggedDataset
from wsss.data.open import open_tagged
from wsss.errors import WsssError


def test_describe_data_of_own_images(tmp_path: Path) -> None:
    images = tmp_path / "images"
    images.mkdir()
    for name in ("a.jpg", "b.jpg", "c.jpg", "d.png"):
        Image.new("RGB", (4, 4)).save(images / name)
    (images / "e.heif2").write_bytes(b"")
    (tmp_path / "tags.csv").write_text("image,tags\na,cat\nb,cat;dog\nc,none\n")
    data = DataConfig(images=images, tags=tmp_path / "tags.csv")
    found = describe_data(data, open_tagged(data, "all"), holdout=0.3)
    assert (found.images, found.class_counts) == (3, (("cat", 2), ("dog", 1)))
    assert (found.without_tags, found.unlisted) == (1, ("d.png",))
    assert found.left_out == {".heif2": 1}
    lines = found.lines()
    assert [line.split() for line in lines[:4]] == [
        ["3", "images", "of", "2", "classes"],
        ["1", "cat", "2", "images"],
        ["2", "dog", "1", "images"],
        ["(no", "class)", "1", "images"],
    ]
    assert "1 images in the folder are not listed: d.png" in lines
    assert "no images, left out: 1 .heif2" in lines
    assert any(line.startswith("warning: Few images") for line in lines)


TABLE = "image,tags,split,label_id,Unnamed: 3\na,cat,train,1,0\nb,dog,test,2,1\n"
TABLES = {
    "tags.csv": TABLE,
    "metadata.csv": TABLE.replace("image", "file_name"),
    "metadata.jsonl": '{"file_name": "a", "tags": "cat", "split": "train"}\n'
    '{"file_name": "b", "tags": ["dog"], "split": "test", "label_id": 2}\n',
    "objects.jsonl": '{"file_name": "a", "objects": {"categories": ["cat"]}, "split": "test"}\n'
    '{"file_name": "b", "objects": {"categories": []}, "split": "train", "label_id": 4}\n',
}


@pytest.mark.parametrize("name", TABLES)
def test_describe_data_names_the_columns_that_are_not_read(tmp_path: Path, name: str) -> None:
    images = tmp_path / "images"
    images.mkdir()
    for image in ("a.jpg", "b.jpg"):
        Image.new("RGB", (4, 4)).save(images / image)
    (tmp_path / name).write_text(TABLES[name])
    data = DataConfig(images=images, tags=tmp_path / name)
    lines = describe_data(data, open_tagged(data, "all")).lines()
    assert "columns of the tags that are not read: label_id, split" in lines
    assert any("The column split (test, train) is not read" in line for line in lines)
    (tmp_path / name).write_text(TABLES[name].replace("test", "train"))
    lines = describe_data(data, open_tagged(data, "all")).lines()
    assert not any("The column split" in line for line in lines)


def test_describe_data_warns_of_folders_of_splits(tmp_path: Path) -> None:
    images = tmp_path / "images"
    for folder in ("train", "Test"):
        (images / folder).mkdir(parents=True)
        Image.new("RGB", (4, 4)).save(images / folder / "a.jpg")
    (tmp_path / "tags.csv").write_text("image,tags\ntrain/a,cat\nTest/a,dog\n")
    data = DataConfig(images=images, tags=tmp_path / "tags.csv")
    warnings = describe_data(data, open_tagged(data, "all")).warnings
    assert any(line.startswith("Images lie in train, Test, and all") for line in warnings)


def test_describe_data_of_a_voc_folder(tiny_voc: Path) -> None:
    Image.new("RGB", (4, 4)).save(tiny_voc / "JPEGImages" / "p9.jpg")
    data = DataConfig(root=tiny_voc)
    found = describe_data(data, open_tagged(data, "train"))
    assert found.images == 2 and found.unlisted == ("p9.jpg",)
    assert dict(found.class_counts)["cat"] == 1 and found.without_tags == 1


def test_describe_data_warns_of_images_without_a_tag_where_there_is_no_background(
    tiny_voc: Path,
) -> None:
    for background, warned in ((False, True), (True, False)):
        data = DataConfig(root=tiny_voc, background=background)
        warnings = describe_data(data, open_tagged(data, "train")).warnings
        assert any("1 images have no tag, p2 first" in w for w in warnings) == warned


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tif", ".bmp", ".gif"])
def test_check_image_finds_a_cut_off_file_by_its_end(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 48, 3), np.uint8)).save(path)
    assert check_image(path)[:2] == check_image(path, verify=True)[:2] == (48, 64)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(WsssError, match="does not decode"):
        check_image(path)


def test_check_image_verifies_pixels(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 48, 3), np.uint8)).save(path)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(data)
    check_image(path)
    with pytest.raises(WsssError, match="does not decode"):
        check_image(path, verify=True)


def test_without_damaged_leaves_out_and_says_why(tmp_path: Path) -> None:
    samples = tuple(Sample(name, tmp_path / f"{name}.png", (0,)) for name in "abc")
    for sample in samples:
        Image.new("RGB", (4, 4)).save(sample.path)
    samples[1].path.write_bytes(b"no image")
    kept, damaged = without_damaged(TaggedDataset(("cat",), samples))
    assert kept == TaggedDataset(("cat",), (samples[0], samples[2]))
    assert list(damaged) == [samples[1].path] and "does not decode" in damaged[samples[1].path]
