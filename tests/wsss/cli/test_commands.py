"""Every command by its program: what it prints, and what its help says."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from wsss.cli import app
from wsss.data import mask_io

from .command_line import wsss

COMMANDS = (
    "train-cls",
    "generate-pseudo-masks",
    "train-seg",
    "evaluate",
    "ablate",
    "run",
    "predict",
    "quickstart",
    "visualize",
    "visualize-slots",
    "refine",
    "check-data",
    "fetch-voc",
    "pack-voc-test",
    "check-voc-archive",
    "export",
)


@pytest.mark.parametrize("command", [(), *((c,) for c in COMMANDS)])
def test_help(command: tuple[str, ...]) -> None:
    result = wsss(*command, "--help")
    assert result.exit_code == 0 and "Usage" in result.output
    if not command:
        assert all(name in result.output for name in COMMANDS)
        # and none is left out here
        known = app.registered_commands
        assert sorted(COMMANDS) == sorted(c.name or c.callback.__name__ for c in known)  # type: ignore[union-attr]


def test_help_imports_no_torch() -> None:
    code = (
        "import sys\nfrom wsss.cli import app\n"
        "try: app(['--help'])\nexcept SystemExit as end: assert end.code == 0\n"
        "heavy = {'torch', 'timm', 'cv2', 'scipy', 'numpy'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)


def test_the_stages_one_by_one(tmp_path: Path, tiny: Path, synthetic: Path) -> None:
    run = tmp_path / "run"
    settings = [tiny, f"run={run}", f"data.root={synthetic}", "data.mask_split=train"]
    printed = {
        "train-cls": run / "train_cls" / "model.safetensors",
        "generate-pseudo-masks": run / "pseudo_masks",
        "train-seg": run / "train_seg" / "model.safetensors",
    }
    for command, path in printed.items():
        result = wsss(command, *settings)
        assert result.exit_code == 0, result.output
        assert result.stdout == f"{path}\n" and path.exists()
        # finished: nothing to do, the same answer
        again = wsss(command, *settings)
        assert again.stdout == result.stdout and again.stderr == ""
    # from here on the folder says it all
    for of, name in (
        ("cam", "cam_train"),
        ("seeds", "seeds_train"),
        ("pseudo-masks", "pseudo_masks_train"),
        ("predictions", "predictions_val"),
    ):
        result = wsss("evaluate", run, "--of", of)
        assert result.stdout == f"{run / 'evaluation' / name}.json\n", result.output
        assert "background" in result.stderr and "mean" in result.stderr
    result = wsss("evaluate", run, "--split", "train")
    assert json.loads(Path(result.stdout.strip()).read_text())["images"] == 12
    sheet = tmp_path / "sheet.png"
    result = wsss("visualize", run, "--count", 2, "--out", sheet)
    assert result.stdout == f"{sheet}\n" and sheet.is_file()
    result = wsss("visualize", run, "--ids", "train_00003,train_00001")
    assert result.stdout == f"{run / 'report' / 'train.png'}\n"
    # a class all over the image
    truth = mask_io.read_mask(synthetic / "SegmentationClassAug" / "train_00001.png")
    everywhere = np.full_like(truth, truth[(truth > 0) & (truth < 255)][0])
    mask_io.write_mask(run / "pseudo_masks" / "train_00001.png", everywhere)
    result = wsss("visualize", run, "--worst", "leak", "--count", 1)
    assert result.stdout == f"{run / 'report' / 'train_leak.png'}\n", result.output
    assert (
        "--worst is 'lek': expected one of leak, part, "
        in wsss("visualize", run, "--worst", "lek").stderr
    )


def test_settings_without_a_file(tmp_path: Path, synthetic: Path) -> None:
    result = wsss("check-data", f"data.root={synthetic}", f"run={tmp_path}")
    assert result.exit_code == 0 and result.stdout == "The data are complete.\n"


def test_check_data_names_all_faults(copied: Path) -> None:
    (copied / "JPEGImages" / "train_00001.jpg").unlink()
    (copied / "Annotations" / "val_00002.xml").unlink()
    result = wsss("check-data", f"data.root={copied}")
    assert result.exit_code == 2
    assert "train_00001.jpg" in result.stdout and "val_00002.xml" in result.stdout
    assert "wsss: 2 problems in the data: fix the files named above." in result.stderr


def test_the_command_line_as_a_program(tmp_path: Path) -> None:
    program = [sys.executable, "-c", "from wsss.cli import main; main()"]
    result = subprocess.run(
        [*program, "run", str(tmp_path / "gone.yaml")], capture_output=True, text=True
    )
    assert (result.returncode, result.stdout) == (2, "")
    gone = tmp_path / "gone.yaml"
    assert result.stderr == f"wsss: No config at {gone}: give the path of a YAML file.\n"
