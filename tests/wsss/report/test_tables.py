"""The table on the terminal: class names are anybody's."""

import json
from pathlib import Path

import pytest

from wsss.report.tables import show_classes


def test_show_classes_takes_no_class_name_as_markup(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scores = {"of": "seeds", "split": "train", "images": 1, "miou": 0.5}
    iou = {"[red]": 0.25, "[/x]": None}
    (tmp_path / "s.json").write_text(json.dumps({**scores, "iou": iou}))
    show_classes(tmp_path / "s.json")
    shown = capsys.readouterr().err
    assert "[red]" in shown and "25.0" in shown and "[/x]" in shown and "50.0" in shown
