"""Inputs of `shared/cases` on which the product was wrong, each with what is right."""

import runpy
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.wsss.shared_files import shared
from wsss.config import DataConfig
from wsss.data.check_images import check_image
from wsss.data.check_labels import label_warnings
from wsss.data.check_masks import MaskReport, check_true_masks
from wsss.data.image_header import read_header
from wsss.data.images import read_image
from wsss.data.mask_io import read_mask, refuse_to_replace
from wsss.data.masks import without_masks
from wsss.errors import WsssError
from wsss.formats.own_images import read_folder
from wsss.formats.voc import image_paths, read_voc, split_ids
from wsss.models.backbone import create_backbone
from wsss.stages import check_data, predict, refine

CASES = shared("cases")
pytestmark = pytest.mark.skipif(not CASES.is_dir(), reason="no shared/cases beside the checkout")


def own(images: Path, table: Path) -> dict[str, set[str]]:
    found = read_folder(images, table)
    return {p.id: {found.class_names[t] for t in p.tags} for p in found.samples}


TABLES = {
    "dupe": {"p00": {"ball", "box", "tent"}},
    "newline_cell": {"p00": {"ball", "box"}, "p01": {"ball"}, "p02": {"box"}},
    "none": {"p00": {"ball"}, "p01": set(), "p02": set(), "p03": set(), "p04": set()},
    "pandas_list": {"p00": {"ball", "box"}, "p01": {"box"}, "p02": set()},
    "semi": {"p00": {"ball", "box"}, "p01": {"box"}},
}


@pytest.mark.parametrize("table", TABLES)
def test_tables(table: str) -> None:
    folder = CASES / "01_csv_cells"
    assert own(folder / "photos", folder / f"{table}.csv") == TABLES[table]


def malformed_exif(case: Path, _: Path) -> None:
    for name in ("badexif1.jpg", "badexif2.jpg"):
        assert read_header(case / "photos" / name)[:2] == (80, 120)
        assert read_image(case / "photos" / name).shape == (120, 80, 3)


def linked_folder(case: Path, folder: Path) -> None:
    shutil.copytree(case / "elsewhere", folder / "elsewhere")
    (folder / "photos").mkdir()
    shutil.copy(case / "photos" / "p03.jpg", folder / "photos")
    (folder / "photos" / "more").symlink_to("../elsewhere")
    (folder / "tags.csv").write_text("image,tags\nmore/p00.jpg,ball\np01.jpg,box\np03.jpg,tent\n")
    found, _ = predict.find(folder / "photos", folder / "masks")
    assert [s.id for s in found] == ["more/p00", "more/p01", "more/p02", "p03"]
    assert list(own(folder / "photos", folder / "tags.csv")) == ["more/p00", "more/p01", "p03"]


def photo_and_mask(case: Path, folder: Path) -> None:
    for images in ("data", "images"):
        refine.run([case / "masks"], case / images, folder / images)
    same = [read_mask(folder / images / "a.png") for images in ("data", "images")]
    np.testing.assert_array_equal(*same)


def hand_drawn(case: Path, _: Path) -> None:
    with pytest.raises(WsssError, match=r"labels/a\.png was not made by this program"):
        refuse_to_replace([case / "labels" / "a.png"])


def marks_in_paths(case: Path, _: Path) -> None:
    assert list(own(case / "Photos #1", case / "tags.csv")) == ["a"]
    assert list(own(case / "Photos", case / "tags #2.csv")) == ["a"]
    with pytest.raises(WsssError, match=r"the image 'b\.jpg', which does not exist"):
        own(case / "Photos #1", case / "tags_b.csv")


def true_masks_of(root: Path, *splits: str) -> MaskReport:
    return check_true_masks(root, [read_voc(root, split) for split in splits])


def void_for_a_class(case: Path, _: Path) -> None:
    report = true_masks_of(case / "voc", "train", "val")
    assert "hold the values 0 and 255 alone" in report.problems[0]
    assert any("0 and 255 alone" in p for p in check_data.run(DataConfig(root=case / "voc")))


def values_beyond_the_classes(case: Path, _: Path) -> None:
    problems = true_masks_of(case / "voc", "train", "val").problems
    assert problems and all("SegmentationClass/p" in p and "the value 90" in p for p in problems)


def blanks_in_ids(case: Path, _: Path) -> None:
    root = case / "voc"
    assert split_ids(root, "val")[0] == "my photo p18" and "my photo p18" in image_paths(root)
    assert len(read_voc(root, "train_aug")) == 18
    assert check_data.run(DataConfig(root=root)) == []


def masks_of_val_alone(case: Path, _: Path) -> None:
    root = case / "voc"
    assert len(without_masks(root, split_ids(root, "train"))) == 18
    assert "There is no mask p00.png" in true_masks_of(root, "train").problems[0]
    assert true_masks_of(root, "val").problems == []


def spellings_of_annotations(case: Path, _: Path) -> None:
    found = read_voc(case / "voc", "train_aug")
    tags = {p.id: [found.class_names[t] for t in p.tags] for p in found.samples}
    assert [tags[name] for name in ("p09", "p10", "p11")] == [["box"]] * 3


def training_checkpoints(case: Path, folder: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        runpy.run_path(str(case / "make.py"))
    for name in ("ns.pth", "module.pth"):
        create_backbone("glnet_nano", folder / name, {})


def one_class(case: Path, _: Path) -> None:
    photos = CASES / "base" / "photos"
    every, both = (
        label_warnings(read_folder(photos, case / f"{name}.csv"), holdout=0.05)
        for name in ("tags", "tags_both")
    )
    assert "images: what is in every image" in every[0]
    assert any("together in" in warning or "every image" in warning for warning in both)


def damaged_image(case: Path, _: Path) -> None:
    with pytest.raises(WsssError, match=r"p11\.jpg does not decode"):
        check_image(case / "photos" / "p11.jpg")


RIGHT: dict[str, Callable[[Path, Path], None]] = {
    "03_exif_traceback": malformed_exif,
    "05_symlink": linked_folder,
    "07_refine_pair": photo_and_mask,
    "08_overwrite_handmade": hand_drawn,
    "11_paths": marks_in_paths,
    "12_voc_0_255": void_for_a_class,
    "13_voc_extra_values": values_beyond_the_classes,
    "15_voc_spaces": blanks_in_ids,
    "16_voc_val_masks_only": masks_of_val_alone,
    "17_voc_xml": spellings_of_annotations,
    "18_weights": training_checkpoints,
    "19_one_class": one_class,
    "22_bad_picture_late": damaged_image,
}


@pytest.mark.parametrize("case", RIGHT)
def test_what_is_right_of_a_case(case: str, tmp_path: Path) -> None:
    if not (CASES / case).is_dir():
        pytest.skip(f"no shared/cases/{case}")
    RIGHT[case](CASES / case, tmp_path)
