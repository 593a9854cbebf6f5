"""Ways to take clicks, their figures, and the command on the tiny run."""

import json
from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from wsss.ablation import clicks
from wsss.ablation.click_methods import choose_methods
from wsss.ablation.click_table import figures, first_at, markdown
from wsss.ablation.images import draw
from wsss.config import RunConfig
from wsss.errors import WsssError
from wsss.run.state import Run
from wsss.seeding.clicks import Click

METHODS = ["slots", "superpixels", "grabcut", "crf"]


def test_annotate_clicks_until_nothing_is_wrong() -> None:
    target: NDArray[np.uint8] = np.array([[0, 1, 1, 255]], np.uint8)

    def answer(made: Sequence[Click]) -> NDArray[np.uint8]:
        mask = np.zeros((1, 4), np.uint8)
        for click in made:
            mask[click.y, click.x] = click.label
        return mask

    line = clicks.annotate(answer, target, 5, 2)
    assert line["iou"] == pytest.approx([1 / 6, 0.5, 1])
    assert line["counts"] == [
        [[0, 0, 1], [1, 0, 2]],
        [[0, 0, 1], [1, 0, 1], [1, 1, 1]],
        [[0, 0, 1], [1, 1, 2]],
    ]
    assert len(clicks.annotate(answer, target, 1, 2)["iou"]) == 2


LINES = [
    {"iou": [0.5, 0.9], "counts": [[[0, 0, 2], [1, 0, 2]], [[0, 0, 2], [1, 1, 2]]], "ms": [9, 1]},
    {"iou": [0.4], "counts": [[[0, 0, 4], [1, 0, 4]]], "ms": [9]},
]


def test_figures_add_up_images_and_keep_one_that_ended() -> None:
    found = figures(LINES, 1, 0.85)
    assert found["miou"] == pytest.approx([25, 100 * (6 / 10 + 2 / 6) / 2])
    assert found["image_iou"] == pytest.approx([45, 65])
    assert found["clicks"] == 1
    assert found["reached"] == 0.5
    assert found["ms"] == [1, 1]


def test_first_at_counts_the_clicks_to_the_goal() -> None:
    assert first_at([0.2, 0.9, 0.8], 0.85) == 1
    assert first_at([0.9], 0.85) == 0
    assert first_at([0.2], 0.85) is None


def test_markdown_shows_the_numbers_of_clicks_that_were_made() -> None:
    text = markdown([{"method": "slots", **figures(LINES, 1, 0.85)}], {"split": "train"}, 0.85)
    assert "- split: train" in text
    assert "| mIoU after | 0 | 1 | clicks to 85% | reached | ms |" in text
    assert "| slots | 25.0 | 46.7 | 1.0 | 50% | 1 / 1 |" in text


def test_a_method_that_does_not_exist_is_named() -> None:
    assert choose_methods("slots; crf;") == ["slots", "crf"]
    for wrong in ("slot", "", " ; "):
        with pytest.raises(WsssError, match="slots, superpixels, grabcut, crf"):
            choose_methods(wrong)


def test_ablate_clicks_resumes_and_starts_all_methods_from_one_mask(run: RunConfig) -> None:
    pytest.importorskip("skimage")
    ablate = run.ablate.model_copy(update={"images": 3})
    config = run.model_copy(update={"ablate": ablate})
    clicks.run(config, 2, "slots")
    (file,) = (Run(run.run).ablation / "clicks").iterdir()
    first = file.read_text()
    assert len(first.splitlines()) == 3
    file.write_text(first + '{"image": "half')  # as a kill leaves it
    path = clicks.run(config, 2, ";".join(METHODS))
    assert file.read_text().startswith(first)
    assert len(file.read_text().splitlines()) == 12
    assert path.read_text().count("|\n") >= 6
    rows = json.loads(path.with_suffix(".json").read_text())["rows"]
    assert [row["method"] for row in rows] == METHODS
    assert len({row["miou"][0] for row in rows}) == 1
    assert all(len(row["miou"]) == 3 for row in rows)


def test_ablate_clicks_leaves_out_the_images_that_are_drawn_first(run: RunConfig) -> None:
    def drawn(skip: int, images: int) -> set[str]:
        ablate = run.ablate.model_copy(update={"images": images})
        tagged = draw(run.model_copy(update={"ablate": ablate}), skip)
        return {sample.id for sample in tagged.samples}

    assert drawn(0, 5) | drawn(5, 4) == drawn(0, 9)
    assert not drawn(0, 5) & drawn(5, 4)
    with pytest.raises(WsssError, match="--skip 1000"):
        drawn(1000, 1)
