"""The synthetic data set: same bytes from the same seed, complete, masks that fit the tags."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from wsss.data import mask_io, synthetic
from wsss.data.masks import has_masks, mask_path, read_pair
from wsss.data.synthetic import CLASS_NAMES, render_image, write_synthetic_voc
from wsss.errors import WsssError
from wsss.formats import voc
from wsss.formats.voc import read_voc


def digest(root: Path) -> dict[str, str]:
    files = (p for p in sorted(root.rglob("*")) if p.is_file())
    return {str(p.relative_to(root)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("dataset")
    write_synthetic_voc(root, train=15, val=6, size=64, seed=3)
    return root


def test_lists_and_names(dataset: Path) -> None:
    train = voc.split_ids(dataset, "train")
    assert train == voc.split_ids(dataset, "train_aug")
    assert (len(train), len(voc.split_ids(dataset, "val"))) == (15, 6)
    assert not set(train) & set(voc.split_ids(dataset, "val"))
    assert voc.read_class_names(dataset) == CLASS_NAMES
    assert has_masks(dataset)


@pytest.mark.parametrize("split", ["train", "val"])
def test_tags_are_the_classes_of_the_mask(dataset: Path, split: str) -> None:
    for sample in read_voc(dataset, split).samples:
        image, mask = read_pair(sample.path, mask_path(dataset, sample.id))
        assert image.shape == (64, 64, 3)
        assert [t + 1 for t in sample.tags] == np.unique(mask[mask > 0]).tolist()
        assert 1 <= len(sample.tags) <= 3


def test_classes_take_turns(dataset: Path) -> None:
    samples = read_voc(dataset, "train").samples
    assert all(i % len(CLASS_NAMES) in p.tags for i, p in enumerate(samples))


def test_objects_are_big_enough_and_leave_background(dataset: Path) -> None:
    for sample in read_voc(dataset, "train").samples:
        mask = mask_io.read_mask(mask_path(dataset, sample.id))
        assert 0.2 < (mask == 0).mean() < 0.97
        assert all((mask == t + 1).sum() > 0.01 * mask.size for t in sample.tags)


def test_later_objects_leave_the_earlier_ones_to_be_seen() -> None:
    crowded = 0
    for i in range(40):
        objects = synthetic._place(64, i % 5, np.random.default_rng(i))
        crowded += len(objects) > 1
        for k, thing in enumerate(objects):
            above = np.zeros_like(thing.inside).astype(bool)
            for other in objects[k + 1 :]:
                above |= other.inside
            assert (thing.inside & ~above).sum() >= 0.6 * thing.inside.sum()
    assert crowded > 10


def test_the_mask_follows_the_paint() -> None:
    # the background is smooth, the objects are textured: contrast between neighbours tells them
    # apart
    inside, outside = [], []
    for i in range(10):
        image, mask = render_image(128, i % 5, np.random.default_rng(i))
        steps = np.abs(np.diff(image.astype(float).sum(2), axis=1))
        inside.append(steps[mask[:, 1:] > 0].mean())
        outside.append(steps[mask[:, 1:] == 0].mean())
    assert np.mean(inside) > 2 * np.mean(outside)


def test_colours_do_not_tell_the_class() -> None:
    means: dict[int, list[np.ndarray]] = {}
    for i in range(60):
        image, mask = render_image(48, i % 5, np.random.default_rng(i))
        for value in np.unique(mask[mask > 0]).tolist():
            means.setdefault(value, []).append(image[mask == value].mean(0))
    centres = np.array([np.mean(v, axis=0) for v in means.values()])
    within = np.mean([np.std(v, axis=0).mean() for v in means.values()])
    assert centres.std(0).mean() < 0.5 * within


def test_drawing_again_gives_the_same_bytes(dataset: Path, tmp_path: Path) -> None:
    write_synthetic_voc(tmp_path, train=15, val=6, size=64, seed=3)
    assert digest(tmp_path) == digest(dataset)


def test_a_finished_set_is_left_alone(tmp_path: Path) -> None:
    write_synthetic_voc(tmp_path, train=1, val=1, size=32)
    before = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*")}
    write_synthetic_voc(tmp_path, train=1, val=1, size=32)
    assert {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*")} == before


def test_a_larger_set_begins_with_the_smaller(dataset: Path, tmp_path: Path) -> None:
    write_synthetic_voc(tmp_path, train=5, val=2, size=64, seed=3)
    small, large = digest(tmp_path), digest(dataset)
    assert all(
        large[name] == h for name, h in small.items() if not name.startswith(("Image", "dr"))
    )


def test_another_seed_gives_other_images(dataset: Path, tmp_path: Path) -> None:
    write_synthetic_voc(tmp_path, train=1, val=1, size=64, seed=4)
    name = "JPEGImages/train_00000.jpg"
    assert digest(tmp_path)[name] != digest(dataset)[name]


def test_a_half_drawn_set_is_drawn_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import wsss.data.synthetic as module

    real, calls = module.render_image, []

    def dies_at_the_third(*args: object) -> object:
        calls.append(args)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "render_image", dies_at_the_third)
    with pytest.raises(KeyboardInterrupt):
        write_synthetic_voc(tmp_path / "a", train=4, val=1, size=32)
    assert json.loads((tmp_path / "a" / "drawn.json").read_text())["finished"] is False
    monkeypatch.undo()
    (tmp_path / "a" / "JPEGImages" / "stray.jpg").write_text("of another set")
    write_synthetic_voc(tmp_path / "a", train=4, val=1, size=32)
    write_synthetic_voc(tmp_path / "b", train=4, val=1, size=32)
    assert digest(tmp_path / "a") == digest(tmp_path / "b")


def test_other_settings_redraw(tmp_path: Path) -> None:
    write_synthetic_voc(tmp_path, train=3, val=2, size=32)
    write_synthetic_voc(tmp_path, train=1, val=1, size=32)
    assert len(list((tmp_path / "JPEGImages").iterdir())) == 2


def test_a_folder_of_something_else_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("precious")
    with pytest.raises(WsssError, match="holds files that this program did not write"):
        write_synthetic_voc(tmp_path, train=1, val=1)
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_place_that_cannot_be_written_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(WsssError, match="cannot be written"):
        write_synthetic_voc(tmp_path / "file" / "below", train=1, val=1)


@pytest.mark.parametrize("bad", [{"train": 0}, {"val": 0}, {"size": 16}])
def test_bad_counts_are_refused(tmp_path: Path, bad: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="at least"):
        write_synthetic_voc(tmp_path, **{"train": 1, "val": 1, **bad})  # type: ignore[arg-type]
