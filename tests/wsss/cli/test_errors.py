"""Input that a user can correct: exit code 2, and one sentence that names the key or the path.

Which input is refused is tested where it is read; here stand one of each way to the command line.
"""

import errno
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from wsss.config import RunConfig

from .command_line import error


@pytest.mark.parametrize(
    ("arguments", "key"),
    [
        (("train-cls", "data.root=x", "train_cls.epocs=3"), "train_cls.epocs"),
        (("run",), "data is missing"),
        (("generate-pseudo-masks", "data.root=x", "--shard", "2/2"), "--shard is '2/2'"),
    ],
)
def test_wrong_settings_are_named_by_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], key: str
) -> None:
    monkeypatch.chdir(tmp_path)
    assert key in error(*arguments)
    assert list(tmp_path.iterdir()) == []


def cut_images(root: Path) -> None:
    for path in (root / "JPEGImages").iterdir():
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.mark.parametrize(("damage", "path"), [(cut_images, ".jpg"), (shutil.rmtree, "data.root=")])
def test_bad_data_are_named_by_path(
    tmp_path: Path, copied: Path, tiny: Path, damage: Callable[[Path], None], path: str
) -> None:
    damage(copied)
    run = tmp_path / "run"
    assert path in error("run", tiny, f"run={run}", f"data.root={copied}", "data.mask_split=train")
    assert not (run / "train_cls" / "done.json").exists()


@pytest.mark.parametrize("name", ["2024", "a: b", "x #1", "é 🐈"])
def test_run_takes_a_folder_of_any_name(
    tmp_path: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("tags.csv").write_text("image,tags\na,cat\n")
    found = error("run", tiny, "run=run", "--images", name, "--tags", "tags.csv")
    assert f"folder {name} does not exist" in found


@pytest.mark.parametrize("command", ["train-cls", "generate-pseudo-masks", "train-seg", "run"])
def test_commands_refuse_the_run_of_another_config(finished: RunConfig, command: str) -> None:
    found = error(command, finished.run, "train_cls.lr=0.5")
    assert "train_cls.lr=0.001, now it is 0.5" in found and "--overwrite" in found


@pytest.mark.parametrize(
    ("command", "first"),
    [
        (("generate-pseudo-masks",), "wsss train-cls"),
        (("train-seg",), "wsss generate-pseudo-masks"),
        (("evaluate",), "wsss train-seg"),
        (("evaluate", "--of", "seeds"), "wsss train-cls"),
        (("visualize",), "generate-pseudo-masks"),
        (("predict", "--images", "IMAGES"), "train_seg/model.safetensors"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_commands_name_the_stage_that_comes_first(
    tmp_path: Path, tiny: Path, synthetic: Path, command: tuple[str, ...], first: str
) -> None:
    name, *options = (str(synthetic / "JPEGImages") if c == "IMAGES" else c for c in command)
    settings = [tiny, f"run={tmp_path / 'run'}", f"data.root={synthetic}"]
    assert first in error(name, *settings, *options)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full, as on Linux")
def test_train_cls_on_a_full_disk(tmp_path: Path, tiny: Path, synthetic: Path) -> None:
    run = tmp_path / "run"
    (run / "train_cls").mkdir(parents=True)
    (run / "train_cls" / "log.jsonl").symlink_to("/dev/full")
    assert "No space left" in error("train-cls", tiny, f"run={run}", f"data.root={synthetic}")


def test_images_on_a_full_disk(
    folder: Path, finished: RunConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", refuse)
    found = error("generate-pseudo-masks", folder, "--overwrite")
    assert "pseudo_masks/train_00000.png" in found and "No space left" in found
    sheet = folder / "sheet.png"
    assert str(sheet) in error("visualize", finished.run, "--count", 1, "--out", sheet)


def test_evaluate_refuses_true_masks_of_0_and_255(
    tmp_path: Path, tiny: Path, synthetic: Path
) -> None:
    root = tmp_path / "VOC"
    shutil.copytree(synthetic, root)
    for path in (root / "SegmentationClassAug").glob("*.png"):
        mask = np.array(Image.open(path))
        Image.fromarray(np.where(mask > 0, 255, 0).astype(np.uint8)).save(path)
    for of in ("seeds", "predictions"):
        said = error("evaluate", "--of", of, tiny, f"run={tmp_path / 'run'}", f"data.root={root}")
        assert "hold the values 0 and 255 alone" in said
