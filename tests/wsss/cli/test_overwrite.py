"""Recomputing finished work: bad input loses nothing, and nothing of the old work stays."""

import json
import shutil
from pathlib import Path

import pytest

from wsss.config import RunConfig
from wsss.formats.voc import annotation_path
from wsss.run.state import Run

from .command_line import sentence, wsss

IDS = [f"train_{i:05d}" for i in range(12)]


@pytest.fixture
def run(tmp_path: Path, finished: RunConfig) -> Path:
    return Path(shutil.copytree(finished.run, tmp_path / "run"))


def files(root: Path) -> dict[str, bytes]:
    found = (path for path in root.rglob("*") if path.is_file())
    return {str(path.relative_to(root)): path.read_bytes() for path in found}


@pytest.mark.parametrize(
    ("command", "setting", "words"),
    [
        ("train-cls", "backbone.weights=gone.pth", "gone.pth"),
        ("train-cls", "train_cls.slot_block='7.7'", "train_cls.slot_block is '7.7'"),
        ("train-cls", "data.train_split=gone", "There is no split list"),
        ("generate-pseudo-masks", "pseudo_masks.walks=[{block: '9.9'}]", "names the block '9.9'"),
        ("generate-pseudo-masks", "pseudo_masks.crf=irm", "no CRF preset 'irm'"),
        ("generate-pseudo-masks", "train_cls.lr=0.5", "train_cls was made with train_cls.lr"),
        ("train-seg", "train_seg.decoder_args={wings: 2}", "don't build a segformer"),
        ("run", "train_seg.decoder_args={wings: 2}", "don't build a segformer"),
        ("run", "pseudo_masks.walks=[{block: '9.9'}]", "names the block '9.9'"),
        ("run", "data.train_split=gone", "There is no split list"),
    ],
)
def test_bad_input_loses_nothing(run: Path, command: str, setting: str, words: str) -> None:
    before = files(run)
    assert words in sentence(command, run, setting, "--overwrite")
    assert files(run) == before


@pytest.mark.parametrize("second", [[], ["--overwrite"]])
def test_shards_that_are_recomputed_leave_no_old_mask(run: Path, second: list[str]) -> None:
    made = Run(run)
    for id_ in IDS:  # what an older version may have left
        made.pseudo_mask(id_).write_bytes(b"old")
    command = ("generate-pseudo-masks", run)
    assert wsss(*command, "--overwrite", "--shard", "0/2").exit_code == 0
    early = {id_: made.pseudo_mask(id_).stat().st_mtime_ns for id_ in IDS[::2]}
    assert not made.finished("pseudo_masks") and not made.pseudo_mask(IDS[1]).exists()
    assert wsss(*command, *second, "--shard", "1/2").exit_code == 0
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


def drop_a_image(root: Path) -> None:
    for split in ("train", "train_aug"):
        path = root / "ImageSets" / "Segmentation" / f"{split}.txt"
        path.write_text("\n".join(path.read_text().split()[:-1]))


@pytest.mark.parametrize("change", [add_a_tag, drop_a_image])
def test_other_tags_or_images_are_no_finished_work(run: Path, copied: Path, change: object) -> None:
    assert wsss("train-seg", run, f"data.root={copied}").exit_code == 0
    change(copied)  # type: ignore[operator]
    before = files(run)
    for command, stage in (
        ("run", "train_cls"),
        ("train-cls", "train_cls"),
        ("generate-pseudo-masks", "pseudo_masks"),
        ("train-seg", "pseudo_masks"),
    ):
        found = sentence(command, run)
        assert "was made with other images, tags or classes than" in found
        assert f"{run / stage} was" in found
    assert files(run) == before
    # runs of an older version, which kept no digest, go on
    for stage in ("train_cls", "pseudo_masks", "train_seg"):
        path = run / stage / "settings.json"
        settings = json.loads(path.read_text())
        del settings["images"]
        path.write_text(json.dumps(settings))
    assert wsss("train-seg", run).exit_code == 0
