"""The page and the tables: figures in per cent, in the order of the pipeline, names escaped."""

import json
import re
from pathlib import Path

import pytest

from wsss.report.figures import Cell, Example, Figure
from wsss.report.page import class_table, legend, plain, render
from wsss.report.sheet import Caption
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
    figures = [Figure("Examples (train)", "data:image/png;base64,AA")]
    page = render("my <run>", {"map": 0.876, "held_images": 5}, evaluations, figures)
    assert "mAP 87.6 %" in page and "5 held-back" in page
    rows = re.findall(r"<tr><td>(\S+)</td><td>train</td><td>7</td><td>([\d.]+)</td>", page)
    assert rows == [("cam", "12.3"), ("pseudo-masks", "60.0"), ("predictions", "70.0")]
    assert "45.7 at 0.35" in page
    row = page[page.index("&lt;cat&gt;</td>") :].splitlines()[0]
    assert re.findall(r">([^<>]+)</td>", row) == ["–", "–", "–", "–"]
    assert "my &lt;run&gt;" in page and "<cat>" not in page
    assert '<img src="data:image/png;base64,AA" alt="Examples (train)">' in page


@pytest.mark.parametrize("metrics", [{}, {"map": None, "held_images": 0}])
def test_render_without_figures(metrics: dict[str, object]) -> None:
    page = render("run", metrics, [], [])
    assert "mAP" not in page and "Scores" not in page and "Classes" not in page
    assert "<button" not in page and "<section" not in page


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
    evaluation = scores("predictions", 0.5, columns=columns, boundary_miou=0.25)
    page = re.sub(r">\s+<", "><", render("run", {}, [evaluation], [], [ceiling]))
    assert "<td>single scale</td><td>1.0</td><td>none</td><td>50.0</td><td>25.0</td>" in page
    assert "<td>0.5, 1.0 + flip</td><td>deeplab</td><td>62.5</td>" in page
    assert "<td>single scale</td>" + "<td>50.0</td>" * 3 + "<td>–</td>" * 3 in page


def test_classes_stand_by_their_gap_to_the_best_column() -> None:
    masks = scores("pseudo-masks", 0.6)
    masks["iou"] = {"background": 0.9, "<cat>": 0.75, "dog": 0.6}
    found = scores("predictions", 0.5)
    found["iou"] = {"background": 0.95, "<cat>": None, "dog": 0.4}
    titles, rows = class_table([masks, found])
    assert titles == ["pseudo-masks", "predictions"]
    assert [row.name for row in rows] == ["dog", "background", "<cat>"]
    assert [row.gap for row in rows] == [pytest.approx(0.2), 0.0, None]
    assert rows[0].colour == "#008000" and rows[0].shares == [0.6, 0.4]


def test_classes_stand_by_their_gap_to_full_supervision() -> None:
    found = scores("predictions", 0.5)
    found["iou"] = {"background": 0.9, "cat": 0.5, "dog": 0.4}
    full = {"background": 0.9, "cat": 0.75, "dog": 0.3}
    titles, rows = class_table([found], [{"split": "val", "iou": full}])
    assert titles == ["predictions", "full supervision"]
    assert [(row.name, row.gap) for row in rows] == [
        ("cat", 0.25),
        ("background", 0.0),
        ("dog", pytest.approx(-0.1)),
    ]


def test_two_columns_of_one_kind_are_told_by_their_split() -> None:
    titles, _ = class_table([scores("predictions", 0.5), scores("predictions", 0.6, split="val")])
    assert titles == ["predictions, train", "predictions, val"]


def test_the_legend_names_values_and_colours() -> None:
    assert legend(["background", "cat"]) == [
        (0, "background", "#000000"),
        (1, "cat", "#800000"),
        (255, "not confident, or void", "#e0e0c0"),
    ]
    page = render("run", {}, [], [], classes=["background", "<cat>"])
    assert '<span class="swatch" style="background: #800000"></span>1 &lt;cat&gt;' in page


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (True, "on"),
        (None, "–"),
        ([], "–"),
        ([1.0, 1.5], "1.0, 1.5"),
        ([{"block": "16.0", "steps": 8}, {"block": "16.2"}], "block 16.0 steps 8; block 16.2"),
        ("otsu", "otsu"),
    ],
)
def test_a_setting_in_words(value: object, words: str) -> None:
    assert plain(value) == words


def test_the_protocol_is_a_table_of_all_keys() -> None:
    one = scores("cam", 0.5, protocol={"seed": 3, "walks": [{"block": "16.0"}]})
    other = scores("predictions", 0.5, protocol={"seed": 3, "flip": False}, split="val")
    page = re.sub(r">\s+<", "><", render("run", {}, [one, other], []))
    assert "<tr><th></th><th>cam, train</th><th>predictions, val</th></tr>" in page
    assert "<td>seed</td><td>3</td><td>3</td>" in page
    assert "<td>walks</td><td>block 16.0</td><td></td>" in page
    assert "<td>flip</td><td></td><td>off</td>" in page


def test_every_example_has_its_name_tags_and_note() -> None:
    cells = [Cell("image", "data:image/jpeg;base64,AA")]
    examples = [
        Example(Caption("one", ["cat", "<dog>"]), cells),
        Example(Caption("two", [], "false alarm: cat (3 % of the image)"), cells),
    ]
    page = render("run", {}, [], [Figure("Examples (train)", examples=examples)])
    headers = re.findall(r"<header>(.*?)</header>", page)
    assert headers == [
        '<strong>one</strong> <span class="tag">cat, &lt;dog&gt;</span>',
        '<strong>two</strong> <span class="tag">no tags</span> '
        '<span class="note">· false alarm: cat (3 % of the image)</span>',
    ]
    assert page.count('alt="image of one"') == 1


def test_the_page_says_what_the_run_was_made_with() -> None:
    page = render("run", {}, [], [], versions={"wsss": "0.1.0"}, settings="seed: <3>\n")
    assert '<p class="soft">wsss 0.1.0</p>' in page and "<pre>seed: &lt;3&gt;\n</pre>" in page


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
