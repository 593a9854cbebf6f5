"""Models that are others, and disks that refuse: exit code 2 and one sentence."""

import errno
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from wsss import files
from wsss.config import RunConfig

from .command_line import sentence


def swap_models(run: Path) -> None:
    shutil.copyfile(run / "train_seg/model.safetensors", run / "train_cls/model.safetensors")


def cut_model(run: Path) -> None:
    path = run / "train_cls" / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1000])


def fewer_classes(run: Path) -> None:
    config = run / "config.yaml"
    root = Path(next(t for t in config.read_text().split() if t.endswith("/VOC")))
    other = Path(shutil.copytree(root, run.parent / "other" / "VOC"))
    names = (other / "class_names.txt").read_text().splitlines()
    (other / "class_names.txt").write_text("\n".join([*names[1:], names[0]]))
    config.write_text(config.read_text().replace(str(root), str(other)))


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (swap_models, "holds segmenter, not a classifier: give the file of a classifier"),
        (cut_model, "is not a valid safetensors file"),
        (fewer_classes, "knows the classes"),
    ],
)
def test_a_model_that_is_another(
    tmp_path: Path, finished: RunConfig, damage: Callable[[Path], None], words: str
) -> None:
    run = shutil.copytree(finished.run, tmp_path / "run")
    damage(run)
    assert words in sentence("generate-pseudo-masks", run, "--overwrite")


def test_a_checkpoint_of_another_model(
    tmp_path: Path, tiny: Path, synthetic: Path, finished: RunConfig
) -> None:
    run = tmp_path / "run"
    (run / "train_cls").mkdir(parents=True)
    (run / "train_cls" / "checkpoint.pt").write_bytes(b"cut off")
    settings = (tiny, f"run={run}", f"data.root={synthetic}")
    assert "checkpoint.pt is not a valid checkpoint" in sentence("train-cls", *settings)
    weights = finished.run / "train_seg" / "model.safetensors"
    found = sentence("train-cls", *settings, "--overwrite", f"backbone.weights={weights}")
    assert "holds the weights of another model than glnet_nano" in found


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full, as on Linux")
def test_a_full_disk_while_training(tmp_path: Path, tiny: Path, synthetic: Path) -> None:
    run = tmp_path / "run"
    (run / "train_cls").mkdir(parents=True)
    (run / "train_cls" / "log.jsonl").symlink_to("/dev/full")
    found = sentence("train-cls", tiny, f"run={run}", f"data.root={synthetic}")
    assert "No space left on device" in found and "what is finished is kept" in found


def refusing(number: int) -> Callable[..., None]:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(number, errno.errorcode[number])

    return refuse


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EACCES])
def test_a_disk_that_takes_no_mask(
    tmp_path: Path, finished: RunConfig, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    run = shutil.copytree(finished.run, tmp_path / "run")
    monkeypatch.setattr(Image.Image, "save", refusing(number))
    found = sentence("generate-pseudo-masks", run, "--overwrite")
    assert "pseudo_masks/train_00000.png could not be written" in found
    assert errno.errorcode[number] in found
    found = sentence("visualize", finished.run, "--out", tmp_path / "sheet.png")
    assert "sheet.png can't be written" in found


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS])
def test_a_disk_that_takes_no_weights(
    tmp_path: Path, tiny: Path, synthetic: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    monkeypatch.setattr(Path, "write_bytes", refusing(number))
    found = sentence("train-cls", tiny, f"run={tmp_path / 'run'}", f"data.root={synthetic}")
    assert "model.safetensors can't be written" in found and errno.errorcode[number] in found


def test_a_disk_that_takes_no_folder(
    tmp_path: Path, tiny: Path, synthetic: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files.Path, "mkdir", refusing(errno.EROFS))
    found = sentence("run", tiny, f"run={tmp_path / 'run'}", f"data.root={synthetic}")
    assert "run can't be made (EROFS): choose another" in found


def test_a_quickstart_over_something_else(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "mine.txt").write_text("mine")
    assert "holds files that this program did not write" in sentence("quickstart", tmp_path)
