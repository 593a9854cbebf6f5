"""The page and the tables: figures in per cent, in the order of the pipeline, names escaped."""

import json
import re
from pathlib import Path

import pytest

from wsss.report.page import render
from wsss.report.tables import show_ceiling, show_classes, show_summary


def scores(of: str, miou: float, **more: object) -> dict[str, object]:
    iou = {"background": 0.9, "<cat>": None, "dog": miou}
    shared = {"split": "train", "images": 7, "protocol": {"seed": 3}}
    return {"of": of, "miou": miou, "iou": iou, **shared, **more}


def test_render_has_every_figure_in_the_order_of_the_pipeline() -> None:
    oracle = {"threshold": 0.35, "miou": 0.4567}
    evaluations = [
        scores("predictions", 0.7),
        scores("cam", 0.123, oracle=oracle),
        scores("pseudo-masks", 0.6),
    ]
    page = render("my <run>", {"map": 0.876, "held_images": 5}, evaluations, ["train.png"])
    assert "mAP 87.6 %" in page and "5 held-back" in page
    rows = re.findall(r"<tr><td>(\S+)</td><td>train</td><td>7</td>\s*<td>(\S+)</td>", page)
    assert rows == [("cam", "12.3"), ("pseudo-masks", "60.0"), ("predictions", "70.0")]
    assert "45.7 at 0.35" in page
    assert re.search(r"<td>&lt;cat&gt;</td><td>–</td><td>–</td><td>–</td>", page)
    assert "my &lt;run&gt;" in page and "<cat>" not in page
    assert '<img src="train.png"' in page


@pytest.mark.parametrize("metrics", [{}, {"map": None, "held_images": 0}])
def test_render_without_figures(metrics: dict[str, object]) -> None:
    page = render("run", metrics, [], [])
    assert "mAP" not in page and "Scores" not in page and "<img" not in page


def test_show_summary_and_classes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one, other = tmp_path / "a.json", tmp_path / "b.json"
    one.write_text(json.dumps(scores("cam", 0.123, oracle={"threshold": 0.35, "miou": 0.4567})))
    other.write_text(json.dumps(scores("predictions", 0.7)))
    show_summary([one, other])
    shown = capsys.readouterr()
    assert shown.out == "" and "12.3" in shown.err and "45.7 at 0.35" in shown.err
    show_classes(other)
    lines = [re.split(r"[\s│┃]+", line)[1:3] for line in capsys.readouterr().err.splitlines()]
    for row in (["background", "90.0"], ["<cat>", "–"], ["dog", "70.0"], ["mean", "70.0"]):
        assert row in lines


def test_render_has_columns_and_the_ceiling() -> None:
    single = {"miou": 0.5, "boundary_miou": 0.25, "pixel_accuracy": 0.75, "crf": "none"}
    columns = {
        "single": {**single, "scales": [1.0], "flip": False},
        "crf": {**single, "miou": 0.625, "scales": [0.5, 1.0], "flip": True, "crf": "deeplab"},
    }
    share = {"miou": 0.5, "boundary_miou": None}
    ceiling = {
        "split": "val",
        "columns": {"single": dict.fromkeys(("tags", "full", "ratio"), share)},
    }
    worst = {"2007_000033": 0.125, "2007_000042": 0.25}
    evaluation = scores("predictions", 0.5, columns=columns, boundary_miou=0.25, worst=worst)
    sheets = ["confusion_val.png", "worst_val.png"]
    page = re.sub(r">\s+<", "><", render("run", {}, [evaluation], sheets, [ceiling]))
    assert "<td>single scale</td><td>1.0</td><td>none</td><td>50.0</td><td>25.0</td>" in page
    assert "<td>0.5, 1.0 + flip</td><td>deeplab</td><td>62.5</td>" in page
    assert "<td>single scale</td>" + "<td>50.0</td>" * 3 + "<td>–</td>" * 3 in page
    assert "Where the pixels of each class went (val)" in page
    assert "The worst predictions (val)" in page
    assert "2007_000033 (12.5), 2007_000042 (25.0).</p>" in page


def test_show_classes_and_ceiling_by_column(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    columns = {name: scores("p", miou) for name, miou in (("single", 0.25), ("scales", 0.5))}
    for column in columns.values():
        column["boundary_miou"] = 0.125
    path = tmp_path / "a.json"
    path.write_text(json.dumps(scores("p", 0.25, columns=columns, boundary_miou=0.125)))
    show_classes(path)
    shown = capsys.readouterr().err
    rows = [re.split(r"\s*[│┃]\s*", line)[1:4] for line in shown.splitlines()]
    assert ["class", "single scale", "scales + flip"] in rows
    assert ["dog", "25.0", "50.0"] in rows and ["mean at boundaries", "12.5", "12.5"] in rows
    share = {"tags": {"miou": 0.45}, "full": {"miou": 0.5}, "ratio": {"miou": 0.9}}
    for figures in share.values():
        figures["boundary_miou"] = 0.2
    path.write_text(json.dumps({"split": "val", "columns": {"crf": share}}))
    show_ceiling(path)
    shown = capsys.readouterr().err
    row = re.split(r"\s*[│┃]\s*", next(line for line in shown.splitlines() if "CRF" in line))
    assert row[1:-1] == ["scales + flip + CRF", "45.0", "50.0", "90.0", "20.0", "20.0", "20.0"]
