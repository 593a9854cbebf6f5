"""Recomputing finished work: wrong input loses nothing, and no old file is left."""

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from wsss.config import RunConfig
from wsss.formats.voc import annotation_path, image_paths
from wsss.run.state import Run

from .command_line import error, printed, wsss

IDS = [f"train_{i:05d}" for i in range(12)]


def files(root: Path) -> dict[str, bytes]:
    found = (path for path in root.rglob("*") if path.is_file())
    return {str(path.relative_to(root)): path.read_bytes() for path in found}


@pytest.mark.parametrize(
    ("command", "setting", "fault"),
    [
        ("train-cls", "backbone.weights=gone.pth", "gone.pth"),
        ("train-cls", "train_cls.slot_block='7.7'", "train_cls.slot_block"),
        ("train-cls", "train_cls.second_backbone=resnet", "second_backbone 'resnet'"),
        ("train-cls", "data.train_split=gone", "gone.txt"),
        ("generate-pseudo-masks", "pseudo_masks.walks=[{block: '9.9'}]", "'9.9'"),
        ("generate-pseudo-masks", "pseudo_masks.crf=irm", "'irm'"),
        ("generate-pseudo-masks", "train_cls.lr=0.5", "train_cls.lr"),
        ("train-seg", "train_seg.decoder_args={wings: 2}", "wings"),
        ("run", "pseudo_masks.walks=[{block: '9.9'}]", "'9.9'"),
        ("run", "train_cls.second_backbone=resnet", "second_backbone 'resnet'"),
        ("run", "train_seg={backbone: resnet18, backbone_weights: gone.pth}", "gone.pth"),
    ],
)
def test_overwrite_with_wrong_settings_loses_nothing(
    finished: RunConfig, command: str, setting: str, fault: str
) -> None:
    before = files(finished.run)
    assert fault in error(command, finished.run, setting, "--overwrite")
    assert files(finished.run) == before


def test_overwrite_with_other_classes_loses_nothing(folder: Path, copied: Path) -> None:
    path = copied / "class_names.txt"
    first, *others = path.read_text().splitlines()
    path.write_text("\n".join([*others, first]))
    before = files(folder)
    found = error("generate-pseudo-masks", folder, f"data.root={copied}", "--overwrite")
    assert f"{folder / 'train_cls' / 'model.safetensors'} knows the classes" in found
    assert files(folder) == before


@pytest.mark.parametrize("second", [[], ["--overwrite"]])
def test_overwrite_in_shards_leaves_no_old_mask(folder: Path, second: list[str]) -> None:
    made = Run(folder)
    for id_ in IDS:
        made.pseudo_mask(id_).write_bytes(b"old")
    command = ("generate-pseudo-masks", folder, "pseudo_masks.crf=none")
    printed(*command, "--overwrite", "--shard", "0/2")
    early = {id_: made.pseudo_mask(id_).stat().st_mtime_ns for id_ in IDS[::2]}
    assert not made.finished("pseudo_masks") and not made.pseudo_mask(IDS[1]).exists()
    printed(*command, *second, "--shard", "1/2")
    assert made.finished("pseudo_masks")
    assert all(made.pseudo_mask(id_).read_bytes() != b"old" for id_ in IDS)
    # and each was made once
    assert {id_: made.pseudo_mask(id_).stat().st_mtime_ns for id_ in IDS[::2]} == early


def add_a_tag(root: Path) -> None:
    path = annotation_path(root, IDS[3])
    other = annotation_path(root, IDS[4])
    objects = other.read_text().partition("<object>")[2].rpartition("</object>")[0]
    text = path.read_text().replace("</annotation>", f"<object>{objects}</object></annotation>")
    path.write_text(text)


def drop_an_image(root: Path) -> None:
    for split in ("train", "train_aug"):
        path = root / "ImageSets" / "Segmentation" / f"{split}.txt"
        path.write_text("\n".join(path.read_text().split()[:-1]))


@pytest.mark.parametrize("change", [add_a_tag, drop_an_image])
def test_commands_refuse_a_run_of_other_tags_or_images(
    folder: Path, copied: Path, change: Callable[[Path], None]
) -> None:
    # a copy of the data is the same data
    assert wsss("train-seg", folder, f"data.root={copied}").exit_code == 0
    change(copied)
    before = files(folder)
    for command, stage in (
        ("run", "train_cls"),
        ("train-cls", "train_cls"),
        ("generate-pseudo-masks", "pseudo_masks"),
        ("train-seg", "pseudo_masks"),
    ):
        found = error(command, folder)
        assert "other images, tags or classes" in found and str(folder / stage) in found
    assert files(folder) == before


def test_quickstart_over_files_of_its_user(tmp_path: Path) -> None:
    mine = tmp_path / "images" / "mine.txt"
    mine.parent.mkdir()
    mine.write_text("mine")
    assert str(mine.parent) in error("quickstart", tmp_path)


def test_kept_masks_of_replaced_images_are_told(folder: Path, copied: Path) -> None:
    command = ("generate-pseudo-masks", folder, f"data.root={copied}")
    for id_ in IDS:  # a copy of all images is no news
        os.utime(Run(folder).pseudo_mask(id_), ns=(0, 0))
    assert "newer" not in wsss(*command).stderr
    for id_ in IDS:
        os.utime(Run(folder).pseudo_mask(id_))
    time.sleep(0.02)
    image = image_paths(copied)[IDS[2]]
    image.write_bytes(image.read_bytes())
    assert f"1 of 12 images, {image} first, are newer than their" in wsss(*command).stderr
    printed(*command, "--overwrite")
    assert "newer" not in wsss(*command).stderr
