"""A segmenter that goes on from another one (`train_seg.start_from`), by the commands."""

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from wsss.engine.checkpoint import read_metadata, save_model
from wsss.labels import BACKGROUND
from wsss.models.segmenter import build_segmenter
from wsss.models.start_from import packaged_segmenter
from wsss.run.state import Run

from .command_line import error, wsss

# one step that moves nothing, so that weights show what they started from
STILL = ("train_seg.lr=1e-12", "train_seg.ema=0", "train_seg.epochs=0.1")
HEAD = "net.segmentation_head.0.weight"


@pytest.fixture
def other(folder: Path, tmp_path: Path) -> Path:
    """A segmenter with another decoder that knows one of the run's classes."""
    own = read_metadata(Run(folder).model("train_seg"), "segmenter")
    names = ["zebra", own["class_names"][-1]]
    arguments = {"decoder_segmentation_channels": 8}
    metadata = {**own, "class_names": names, "decoder_args": arguments}
    torch.manual_seed(3)
    save_model(tmp_path / "other.safetensors", build_segmenter(metadata), metadata)
    return tmp_path / "other.safetensors"


def start(folder: Path, value: object, *settings: str) -> str:
    result = wsss(
        "train-seg", folder, "--overwrite", *STILL, f"train_seg.start_from={value}", *settings
    )
    assert result.exit_code == 0, (result.output, result.exception)
    return result.stderr


def test_segmenter_keeps_what_another_one_knows(folder: Path, other: Path) -> None:
    path = Run(folder).model("train_seg")
    names = read_metadata(path, "segmenter")["class_names"]
    assert f"goes on from {other}, which knows 1 of {len(names)} classes by name" in start(
        folder, other
    )
    metadata = read_metadata(path, "segmenter")
    assert metadata["class_names"] == names
    assert metadata["decoder_args"] == {"decoder_segmentation_channels": 8}
    old, new = load_file(other), load_file(path)
    assert old.keys() == new.keys()
    for name, value in new.items():
        if value.ndim == 4 and name != HEAD:
            torch.testing.assert_close(value, old[name], rtol=0, atol=1e-6)
    torch.testing.assert_close(new[HEAD][[0, -1]], old[HEAD][[0, -1]], rtol=0, atol=1e-6)
    assert not torch.allclose(new[HEAD][1], old[HEAD][1])


def test_segmenter_goes_on_from_the_run_of_another(
    folder: Path, other: Path, tmp_path: Path
) -> None:
    (tmp_path / "before" / "train_seg").mkdir(parents=True)
    shutil.copy(other, Run(tmp_path / "before").model("train_seg"))
    assert f"goes on from {Run(tmp_path / 'before').model('train_seg')}" in start(
        folder, tmp_path / "before"
    )


def test_later_round_goes_on_from_the_one_before_it(folder: Path, other: Path) -> None:
    start(folder, other)
    bare = ("self_training.crf=none", "self_training.scales=[1.0]", "self_training.seeds=0")
    result = wsss("train-seg", folder, "--round", 2, *STILL, *bare)
    assert result.exit_code == 0, (result.output, result.exception)
    assert f"goes on from {Run(folder).model('train_seg')}" in result.stderr


def test_finished_run_needs_nothing_of_what_it_started_from(folder: Path, other: Path) -> None:
    start(folder, other)
    other.unlink()
    made = Run(folder).model("train_seg").read_bytes()
    result = wsss("run", folder)
    assert result.exit_code == 0, (result.output, result.exception)
    assert Run(folder).model("train_seg").read_bytes() == made


def test_another_file_of_the_same_name_is_told_apart(folder: Path, other: Path) -> None:
    start(folder, other)
    again = ("train-seg", folder, f"train_seg.start_from={other}")
    assert wsss(*again).exit_code == 0
    metadata = read_metadata(other, "segmenter")
    (other.parent / "new").mkdir()
    new = other.parent / "new" / other.name
    save_model(new, build_segmenter(metadata), metadata)
    assert "went on from another file than" in error(
        "train-seg", folder, f"train_seg.start_from={new}"
    )
    assert wsss(*again).exit_code == 0


def test_segmenter_goes_on_from_a_folder_with_a_model(folder: Path, other: Path) -> None:
    models = other.parent / "models"
    models.mkdir()
    other.rename(models / "model.safetensors")
    assert f"goes on from {models / 'model.safetensors'}" in start(folder, models)


def test_start_whose_decoder_takes_two_images_is_refused_before_anything(
    folder: Path, other: Path
) -> None:
    metadata = read_metadata(other, "segmenter")
    metadata |= {"decoder": "upernet", "decoder_args": {"decoder_channels": 8}}
    save_model(other, build_segmenter(metadata), metadata)
    one = (f"train_seg.start_from={other}", "train_seg.batch_size=1")
    assert "takes 2 images at once at least" in error("run", folder, "--overwrite", *one)


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"decoder": "pspnet"}, "lacks 'pspnet'"),
        ({"decoder": ["unet"]}, "describes no segmenter"),
        ({"backbone_args": "abc"}, "describes no segmenter"),
        ({"backbone": "resnet9000"}, "train_seg.start_from, "),
    ],
)
def test_start_that_describes_no_network_is_refused(
    folder: Path, other: Path, wrong: dict[str, object], named: str
) -> None:
    metadata = read_metadata(other, "segmenter")
    model = build_segmenter(metadata)
    save_model(other, model, {**metadata, **wrong})
    assert named in error("train-seg", folder, "--overwrite", f"train_seg.start_from={other}")


def test_start_without_arguments_of_its_decoder_has_none(folder: Path, other: Path) -> None:
    metadata = read_metadata(other, "segmenter")
    del metadata["decoder_args"]
    save_model(other, build_segmenter(metadata), metadata)
    start(folder, other)


@pytest.mark.skipif(packaged_segmenter() is None, reason="this copy has no packaged model")
def test_segmenter_goes_on_from_the_packaged_one(folder: Path) -> None:
    assert "voc61_lite2.safetensors, which knows 0 of" in start(folder, "packaged")
    metadata = read_metadata(Run(folder).model("train_seg"), "segmenter")
    assert metadata["backbone"] == "tf_efficientnet_lite2"
    assert BACKGROUND not in metadata["class_names"]


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        (("train_seg.start_from={folder}/none.safetensors",), "no segmenter at"),
        (("train_seg.start_from={folder}",), "no segmenter at"),
        (("train_seg.start_from={folder}/run",), "which goes when"),
        (("train_seg.start_from={folder}/classifier.safetensors",), "not a segmenter"),
        (
            ("train_seg.start_from=packaged", "train_seg.backbone=resnet18"),
            "both start_from and backbone are set",
        ),
    ],
)
def test_start_that_is_none_is_refused(
    folder: Path, tmp_path: Path, settings: tuple[str, ...], named: str
) -> None:
    shutil.copy(Run(folder).model("train_cls"), tmp_path / "classifier.safetensors")
    before = Run(folder).model("train_seg").read_bytes()
    given = [one.format(folder=tmp_path) for one in settings]
    assert named in error("train-seg", folder, "--overwrite", *STILL, *given)
    assert named in error("run", folder, "--overwrite", *STILL, *given)
    assert Run(folder).model("train_seg").read_bytes() == before
