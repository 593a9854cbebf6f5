"""Scores as papers print them: the right figure, every fact, and what doesn't fit."""

from typing import Any

import numpy as np
import pytest

from wsss.errors import WsssError
from wsss.metrics.protocols import COUNTINGS
from wsss.metrics.split_scores import SplitScores
from wsss.report.protocols import PROTOCOLS, find_protocol, protocol_page


def scores(of: str = "predictions", classes: int = 21, **protocol: Any) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    found = SplitScores([f"class {i}" for i in range(1, classes)], "background")
    for _ in range(3):
        target, pred = (rng.integers(0, classes, (20, 30)).astype(np.uint8) for _ in range(2))
        pred = np.where(rng.random(pred.shape) < 0.5, target, pred)
        pred[:4] = 0 if of == "predictions" else 255
        found.update(target, pred.astype(np.uint8))
    own = found.summary()
    more: dict[str, Any] = {"background": "otsu"} if of != "predictions" else {}
    if of == "predictions":
        more["columns"] = {"single": own, "crf": own}
    made = {"seed": 3, "tags": "not given" if of == "predictions" else "given", **protocol}
    if "background" in more:
        made["background"] = more.pop("background")
    split = "val" if classes == 21 else "val2014"
    return {"of": of, "split": split, **own, **more, "protocol": made}


def cell(page: str, start: str, column: int = 1) -> str:
    (line,) = (line for line in page.splitlines() if line.startswith(f"| {start} |"))
    return line.split(" | ")[column].strip(" |")


def test_protocol_page_of_voc_has_a_row_for_each_column_and_the_usual_heads() -> None:
    found = scores()
    page = protocol_page("voc", found)
    assert "bkg | aero | bike" in page and "class 1" not in page
    assert page.count("| scales + flip + CRF |") == 2
    assert f"| single scale | {100 * found['countings']['irn']:.1f} |" in page
    small = found["areas"]["small"]
    assert f"| small | {small['regions']:,} | {100 * small['miou']:.1f} |" in page
    assert "| large | 0 | – | – |" in page
    assert "3 of 1,449: not the published list" in page
    assert cell(page, "checkpoint") == "the last weights: nothing is chosen on val"
    assert cell(page, "seed") == "3" and cell(page, "tags") == "not given"
    assert "threshold" not in page and "true masks" not in page


def test_protocol_page_of_pseudo_masks_tells_the_threshold_and_every_counting() -> None:
    found = scores("pseudo-masks")
    page = protocol_page("voc", found)
    assert cell(page, "threshold").startswith("otsu") and "no true mask" in page
    assert cell(page, "predicted 255").startswith("20.0 % of the pixels")
    for key in COUNTINGS:
        assert f"| {100 * found['countings'][key]:.1f} |" in page
    assert cell(page, "mean of each image's own mIoU") == f"{100 * found['image_miou']:.1f}"
    fixed = {**found, "protocol": {**found["protocol"], "background": 0.4}}
    assert cell(protocol_page("voc", fixed), "threshold") == "0.4, fixed by the config"


def test_protocol_page_names_an_oracle() -> None:
    found = {**scores("seeds"), "oracle": {"threshold": 0.35, "miou": 0.5}}
    assert "| threshold 0.35 swept on these true masks (an oracle) | 50.0 |" in protocol_page(
        "voc", found
    )


def test_protocol_page_of_coco_lists_the_classes_in_blocks_and_tells_the_rule() -> None:
    found = scores(classes=81, truth_rule="recam", truth_digest="0123456789abcdef")
    page = protocol_page("coco", found)
    assert cell(page, "true masks") == "of instances by the rule recam, digest 0123456789abcdef"
    assert all(f"class {i} | {100 * found['iou'][f'class {i}']:.1f}" in page for i in range(1, 81))
    lines = page.splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("| class | IoU %"))
    assert {line.count("|") for line in lines[start : start + 23]} == {9}


@pytest.mark.parametrize(
    ("name", "of", "counting"),
    [
        ("irn", "pseudo-masks", "irn"),
        ("toco", "pseudo-masks", "toco-pseudo"),
        ("toco", "predictions", "toco"),
    ],
)
def test_protocol_page_prints_the_count_of_the_code(name: str, of: str, counting: str) -> None:
    found = scores(of, classes=5)
    own = "single scale" if of == "predictions" else of
    page = protocol_page(name, found)
    first = next(line for line in page.splitlines() if line.startswith(f"| {own} |"))
    assert first == f"| {own} | {100 * found['countings'][counting]:.1f} |"


def test_protocol_of_other_classes_is_refused() -> None:
    with pytest.raises(WsssError, match=r"coco is of 81 classes .* have 21"):
        protocol_page("coco", scores())
    with pytest.raises(WsssError, match=r"'ade'.*voc, coco, irn, toco"):
        find_protocol("ade")
    assert all(p.classes in (None, len(p.heads)) for p in PROTOCOLS.values() if p.heads)
