"""Every command of the program: its help, what it prints, where it writes."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from wsss import __version__, recipes
from wsss.cli import app, main
from wsss.config import RunConfig
from wsss.data import mask_io
from wsss.run.state import Run

from .command_line import error, printed, wsss

COMMANDS = (
    "train-cls",
    "generate-pseudo-masks",
    "train-seg",
    "evaluate",
    "ablate",
    "ablate-clicks",
    "run",
    "predict",
    "quickstart",
    "visualize",
    "visualize-slots",
    "tune",
    "review",
    "refine",
    "check-data",
    "fetch-coco",
    "fetch-voc",
    "pack-voc-test",
    "check-voc-archive",
    "export",
    "export-masks",
)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_each_command(command: str) -> None:
    result = wsss(command, "--help")
    assert result.exit_code == 0 and "Usage" in result.output


def test_help_names_every_command() -> None:
    result = wsss("--help")
    assert result.exit_code == 0 and all(name in result.output for name in COMMANDS)
    known = app.registered_commands
    assert sorted(COMMANDS) == sorted(c.name or c.callback.__name__ for c in known)  # type: ignore[union-attr]


# what must be quick runs in a process of its own, without what the tests have imported
LIGHT = """
import sys
from wsss.cli import app
try: app({arguments}, prog_name="wsss")
except SystemExit as end: assert end.code == 0, end.code
heavy = {{"torch", "timm", "cv2", "scipy", "numpy"}} & set(sys.modules)
assert not heavy, heavy
"""


def light(*arguments: str, **environment: str) -> str:
    """What a command prints that imports no torch."""
    code = LIGHT.format(arguments=list(arguments))
    return subprocess.run(
        [sys.executable, "-c", code],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, **environment},
    ).stdout


def test_help_imports_no_torch() -> None:
    assert "train-cls" in light("--help")


def test_help_of_a_command_names_the_packaged_recipes() -> None:
    shown = " ".join(light("run", "--help", COLUMNS="200").split())
    assert all(name in shown for name in recipes.names())


def test_version_imports_no_torch() -> None:
    assert light("--version").startswith(f"wsss {__version__} (Python 3.")


@pytest.mark.parametrize(
    ("shell", "words"),
    [
        ("bash", {"COMP_WORDS": "wsss generate", "COMP_CWORD": "1"}),
        ("zsh", {"_TYPER_COMPLETE_ARGS": "wsss generate"}),
        ("fish", {"_TYPER_COMPLETE_ARGS": "wsss gen", "_TYPER_COMPLETE_FISH_ACTION": "get-args"}),
    ],
)
def test_completion_imports_no_torch(shell: str, words: dict[str, str]) -> None:
    shown = light(**words, _WSSS_COMPLETE=f"complete_{shell}")
    assert "generate-pseudo-masks" in shown and "train-cls" not in shown


def test_main_exits_with_code_2_and_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    gone = tmp_path / "gone.yaml"
    monkeypatch.setattr(sys, "argv", ["wsss", "run", str(gone)])
    with pytest.raises(SystemExit) as end:
        main()
    shown = capsys.readouterr()
    assert (end.value.code, shown.out) == (2, "")
    assert shown.err.startswith("wsss: ") and str(gone) in shown.err
    assert shown.err.count("\n") == 1


@pytest.mark.parametrize(
    ("command", "path"),
    [
        ("train-cls", "train_cls/model.safetensors"),
        ("generate-pseudo-masks", "pseudo_masks"),
        ("train-seg", "train_seg/model.safetensors"),
    ],
)
def test_stage_commands_print_the_path_of_finished_work(
    finished: RunConfig, command: str, path: str
) -> None:
    result = wsss(command, finished.run)
    assert (result.stdout, result.stderr) == (f"{finished.run / path}\n", "")


@pytest.mark.parametrize(
    ("options", "name", "images"),
    [
        (("--of", "cam"), "cam_train", 12),
        (("--of", "seeds"), "seeds_train", 12),
        (("--of", "pseudo-masks"), "pseudo_masks_train", 12),
        (("--of", "predictions", "--fast"), "predictions_val", 4),
        (("--of", "seeds", "--split", "train_aug"), "seeds_train_aug", 12),
    ],
)
def test_evaluate_prints_its_file_and_a_table(
    folder: Path, options: tuple[str, ...], name: str, images: int
) -> None:
    result = wsss("evaluate", folder, *options)
    path = folder / "evaluation" / f"{name}.json"
    assert result.stdout == f"{path}\n", result.output
    assert json.loads(path.read_text())["images"] == images
    assert "background" in result.stderr and "mean" in result.stderr
    assert "scales + flip" not in result.stderr


def test_evaluate_beside_the_ceiling_takes_predictions_alone(finished: RunConfig) -> None:
    assert "--of seeds" in error("evaluate", finished.run, "--ceiling", "--of", "seeds")


def test_visualize_prints_its_sheet(folder: Path, finished: RunConfig) -> None:
    sheet = folder / "sheet.png"
    assert printed("visualize", folder, "--count", 1, "--out", sheet) == sheet and sheet.is_file()
    found = printed("visualize", folder, "--ids", "train_00003,train_00001")
    assert found == folder / "report" / "train.png"
    # a class all over the image
    assert finished.data.root is not None
    truth = mask_io.read_mask(finished.data.root / "SegmentationClassAug" / "train_00001.png")
    everywhere = np.full_like(truth, truth[(truth > 0) & (truth < 255)][0])
    mask_io.write_mask(Run(folder).pseudo_mask("train_00001"), everywhere)
    found = printed("visualize", folder, "--worst", "leak", "--count", 1)
    assert found == folder / "report" / "train_leak.png"
    assert "--worst is 'lek'" in error("visualize", folder, "--worst", "lek")


def test_check_data_takes_settings_without_a_file(tmp_path: Path, synthetic: Path) -> None:
    result = wsss("check-data", f"data.root={synthetic}", f"run={tmp_path}")
    assert result.exit_code == 0 and result.stdout.endswith("The data are complete.\n")
    assert "striped_disc" in result.stdout


def test_check_data_prints_every_fault_and_their_number(copied: Path) -> None:
    (copied / "JPEGImages" / "train_00001.jpg").unlink()
    (copied / "Annotations" / "val_00002.xml").unlink()
    result = wsss("check-data", f"data.root={copied}")
    assert result.exit_code == 2 and "wsss: 2 problems" in result.stderr
    assert "train_00001.jpg" in result.stdout and "val_00002.xml" in result.stdout


def test_pack_voc_test_and_check_voc_archive(folder: Path, synthetic: Path, tmp_path: Path) -> None:
    archive, images = tmp_path / "test.tar.gz", tmp_path / "images"
    images.mkdir()
    for path in (synthetic / "JPEGImages").glob("val_*"):
        (images / path.name).symlink_to(path)
    assert printed("pack-voc-test", folder, "--images", images, "--out", archive) == archive
    assert wsss("check-voc-archive", archive, "--images", images).exit_code == 0
    ids = synthetic / "ImageSets" / "Segmentation" / "train.txt"
    result = wsss("check-voc-archive", archive, "--ids", ids)
    assert result.exit_code == 2 and "val_00000" in result.stdout
    assert f"16 problems in {archive}" in result.stderr
    assert "--images" in error("pack-voc-test", folder)
