"""Masks that aren't class indices, and classes in another order than the tags."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from wsss.data import mask_io
from wsss.data.check_masks import MaskReport, check_masks, check_true_masks, require
from wsss.data.masks import mask_path, without_masks
from wsss.errors import WsssError
from wsss.formats.voc import read_voc

NAMES = ("ball", "box", "tent")
Tags = dict[str, tuple[int, ...]]


def masks_of(folder: Path, values: list[list[int]]) -> dict[str, Path]:
    """Masks of 10 columns, a value a column, background where the list ends."""
    paths = {}
    for n, held in enumerate(values):
        mask = np.zeros((4, 10), np.uint8)
        mask[:, : len(held)] = held
        paths[f"p{n}"] = folder / f"p{n}.png"
        mask_io.write_mask(paths[f"p{n}"], mask)
    return paths


def check(folder: Path, values: list[list[int]], tags: list[tuple[int, ...]]) -> MaskReport:
    named = {f"p{n}": t for n, t in enumerate(tags)}
    return check_masks(masks_of(folder, values), NAMES, named)


def test_check_masks_of_a_sound_set(tmp_path: Path) -> None:
    report = check(tmp_path, [[1, 255], [2], [3, 1], []], [(0,), (1,), (0, 2), ()])
    assert report == MaskReport([], [])
    assert check_masks({}, NAMES) == MaskReport([], [])


def test_check_masks_names_file_and_value_beyond_the_classes(tmp_path: Path) -> None:
    report = check(tmp_path, [[1], [90, 1, 77]], [(0,), (0,)])
    (problem,) = report.problems
    assert "p1.png holds the values 77, 90; expected 0 to 3" in problem and "3 is tent" in problem


@pytest.mark.parametrize("tags", [[(0,), (1,)], [(), ()]])
def test_check_masks_of_0_and_255(tmp_path: Path, tags: list[tuple[int, ...]]) -> None:
    (problem,) = check(tmp_path, [[255] * 5, [255] * 4], tags).problems
    assert "0 and 255 alone" in problem and "p0.png first" in problem
    assert "write 1 for ball, and so on," in problem


def test_check_masks_of_255_in_some(tmp_path: Path) -> None:
    report = check(tmp_path, [[255] * 5, [1], [2]], [(0,), (0,), (1,)])
    assert not report.problems
    (warning,) = report.warnings
    assert warning.startswith("1 masks of tagged images hold no class") and "p0.png" in warning


def test_check_masks_of_background_alone(tmp_path: Path) -> None:
    report = check(tmp_path, [[], []], [(0,), (1,)])
    assert "None of the 2 masks of tagged images holds a class" in report.warnings[0]


def test_check_masks_in_another_order_of_classes(tmp_path: Path) -> None:
    values, tags = [[2], [2], [1], [1], [3], [2, 1]], [(0,), (0,), (1,), (1,), (2,), (0, 1)]
    for n in (5, 6):  # also where two classes are in one image
        (problem,) = check(tmp_path, values[:n], tags[:n]).problems
        assert f"of their tags in {n - 4} of {n} images, and in {n} if 1 is box" in problem
        assert "1 is box, 2 is ball, 3 is tent; expected masks and tags in one order" in problem


def test_check_masks_that_count_from_0(tmp_path: Path) -> None:
    (problem,) = check(tmp_path, [[1], [1], [2], [2]], [(1,), (1,), (2,), (2,)]).problems
    assert "1 is box, 2 is tent" in problem


def test_check_masks_warns_of_one_class_that_is_nowhere(tmp_path: Path) -> None:
    report = check(tmp_path, [[1], [2], [2], [2]], [(0,), (1, 2), (1, 2), (1, 2)])
    assert not report.problems
    assert "The value 3 (tent) is in none of the masks of the 3 images" in report.warnings[0]


def test_check_masks_allows_a_tag_whose_object_is_void(tmp_path: Path) -> None:
    assert check(tmp_path, [[1], [2, 255]], [(0,), (1, 2)]) == MaskReport([], [])


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA", "F"])
def test_colours_are_no_indices(tmp_path: Path, mode: str) -> None:
    path = tmp_path / f"a{'.tif' if mode == 'F' else '.png'}"
    Image.new(mode, (4, 4)).save(path)
    (problem,) = check_masks({"a": path}, NAMES).problems
    assert f"has mode {mode}; expected class indices" in problem


def test_masks_of_other_depths_are_read_by_their_values(tmp_path: Path) -> None:
    sixteen = np.array([[0, 3], [1, 255]], np.uint16)
    Image.fromarray(sixteen).save(tmp_path / "a.png")
    Image.fromarray(np.array([[True, False]])).save(tmp_path / "b.png")
    assert mask_io.read_mask(tmp_path / "a.png").tolist() == sixteen.tolist()
    assert mask_io.read_mask(tmp_path / "b.png").tolist() == [[1, 0]]
    sixteen[0, 0] = 1000
    Image.fromarray(sixteen).save(tmp_path / "a.png")
    with pytest.raises(WsssError, match=r"a\.png holds the value 1000; expected class indices"):
        mask_io.read_mask(tmp_path / "a.png")


def test_check_masks_of_another_size_than_their_images(tmp_path: Path) -> None:
    Image.new("RGB", (9, 4)).save(tmp_path / "p0.jpg")
    report = check_masks(masks_of(tmp_path, [[1]]), NAMES, images={"p0": tmp_path / "p0.jpg"})
    assert "p0.png is 10×4 and its image" in report.problems[0]


def test_require_raises_the_first_with_the_number_of_others(tmp_path: Path) -> None:
    require(MaskReport([], ["a warning"]))
    with pytest.raises(WsssError, match=r"^one \(1 more masks have problems"):
        require(MaskReport(["one", "two"], []))


def test_check_true_masks_of_the_splits_that_are_scored(tiny_voc: Path) -> None:
    train, val = (read_voc(tiny_voc, split) for split in ("train", "val"))
    assert check_true_masks(tiny_voc, [train, val, val]) == MaskReport([], [])
    mask_path(tiny_voc, "p3").unlink()
    assert "There is no mask p3.png" in check_true_masks(tiny_voc, [train, val]).problems[0]
    assert check_true_masks(tiny_voc, [train]).problems == []
    assert without_masks(tiny_voc, ["p1", "p3"]) == ["p3"]


def test_check_values_of_a_mask_that_a_person_changed(tmp_path: Path) -> None:
    mask_io.check_values(tmp_path / "a.png", np.array([[0, 3, 255]], np.uint8), NAMES)
    with pytest.raises(WsssError, match=r"a\.png holds the value 7; expected 0 to 3 .* or 255"):
        mask_io.check_values(tmp_path / "a.png", np.array([[0, 7]], np.uint8), NAMES)
    every = mask_io.values_problem(tmp_path / "a.png", np.ones(256, np.int64), NAMES)
    assert f"values {len(NAMES) + 1}, " in every and f"{len(NAMES) + 10}, …; expected" in every


def test_refuse_to_replace_what_was_not_made_here(tmp_path: Path) -> None:
    ours, theirs = tmp_path / "a.png", tmp_path / "b.png"
    mask_io.write_mask(ours, np.zeros((2, 2), np.uint8), origin="0f")
    mask_io.write_mask(theirs, np.zeros((2, 2), np.uint8))
    mask_io.refuse_to_replace([ours, tmp_path / "c.png"])
    with pytest.raises(WsssError, match=r"b\.png was not made by this program"):
        mask_io.refuse_to_replace([ours, theirs])


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("ball\nbox\ntent\n", "Line 1 of .* has 'ball'; expected '0 background'"),
        ("0 background\n1 ball\n", "Line 3 of .* has an end; expected '2 box'"),
        ("0 background\n1 ball\n2 box\n3 tent\n4 hat\n", "Line 5 of .* has '4 hat'; expected an"),
    ],
)
def test_class_names_of_a_person_are_not_replaced(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "class_names.txt"
    path.write_text(text)
    with pytest.raises(WsssError, match=says):
        mask_io.refuse_other_class_names(tmp_path, NAMES)
    assert path.read_text() == text
    mask_io.write_class_names(tmp_path, NAMES)
    mask_io.refuse_other_class_names(tmp_path, NAMES)  # as it was written


def test_check_masks_warns_of_masks_of_other_images(tmp_path: Path) -> None:
    # every value beside every tag: no order of classes explains it
    values, tags = [[1], [2], [3]] * 3, [(0,), (0,), (0,), (1,), (1,), (1,), (2,), (2,), (2,)]
    report = check(tmp_path, values, tags)
    assert not report.problems
    (warning,) = [w for w in report.warnings if "isn't tagged" in w]
    assert "6 of 9 masks" in warning and "p1.png first (box)" in warning


def test_check_masks_of_255_in_one_of_two_splits(tmp_path: Path) -> None:
    values, tags = [[1]] * 9 + [[255] * 5] * 3, [(0,)] * 12
    (problem,) = check(tmp_path, values, tags).problems
    assert problem.startswith("3 masks of tagged images hold no class") and "p9.png" in problem
