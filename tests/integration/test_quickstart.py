"""`wsss quickstart` reaches the score that it is documented with, on synthetic images."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from wsss.cli import app


@pytest.mark.slow
def test_quickstart_reaches_70_miou(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["quickstart", str(tmp_path)])
    assert result.exit_code == 0, result.output
    page = tmp_path / "run" / "report" / "index.html"
    assert result.stdout == f"{page}\n" and page.is_file()
    folder = tmp_path / "run" / "evaluation"
    scores = {path.stem: json.loads(path.read_text())["miou"] for path in folder.glob("*.json")}
    assert scores.keys() == {"cam_train", "seeds_train", "pseudo_masks_train", "predictions_val"}
    for kind in ("cam", "seeds", "pseudo-masks", "predictions"):
        assert kind in result.stderr
    assert scores["predictions_val"] >= 0.70, scores
