"""Which images are segmented, and when a mask is kept or made again."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.torch import load_file, save_file

from wsss import arguments
from wsss.config import RunConfig
from wsss.data import mask_io
from wsss.engine.checkpoint import read_metadata
from wsss.errors import WsssError
from wsss.run.state import Run
from wsss.stages import export, predict


def other_weights(model: Path) -> None:
    """Put another segmenter of the same shape in the place of a segmenter."""
    metadata = {"wsss": json.dumps(read_metadata(model, "segmenter"))}
    weights = load_file(model)
    weights[next(name for name in weights if name.endswith("weight"))] *= 2
    save_file(weights, model, metadata=metadata)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """`a/photo.jpg` and `b/photo.jpg`, of different sizes."""
    for name, width in (("a", 40), ("b", 50)):
        pixels = np.random.default_rng(width).integers(0, 256, (30, width, 3), np.uint8)
        (tmp_path / "photos" / name).mkdir(parents=True)
        Image.fromarray(pixels).save(tmp_path / "photos" / name / "photo.jpg")
    return tmp_path / "photos"


def width(folder: Path) -> int:
    return mask_io.read_mask(folder / "photo.png").shape[1]


def test_predict_replaces_the_mask_of_another_image_of_that_name(
    finished: RunConfig, photos: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    for images, expected in (("a", 40), ("b", 50), ("a/photo.jpg", 40)):
        assert width(predict.run(finished, photos / images, out)) == expected
    # nothing lies beside the masks
    left = {path.name for path in out.iterdir()}
    assert left == {"photo.png", "class_names.txt", "scores.csv"}


def test_predict_replaces_the_mask_of_other_settings(
    finished: RunConfig, photos: Path, tmp_path: Path
) -> None:
    def made(**settings: object) -> int:
        config = finished.model_copy(
            update={"evaluate": finished.evaluate.model_copy(update=settings)}
        )
        mask = predict.run(config, photos / "a", tmp_path / "out") / "photo.png"
        return mask.stat().st_mtime_ns

    times = [made(), made(), made(scales=(2.0,)), made(flip=True), made(max_side=32)]
    assert times[0] == times[1] and times[1:] == sorted(set(times))


def test_predict_replaces_the_mask_of_a_changed_image(
    finished: RunConfig, photos: Path, tmp_path: Path
) -> None:
    out = predict.run(finished, photos / "a", tmp_path / "out")
    before = (photos / "a" / "photo.jpg").stat()
    shutil.copyfile(photos / "b" / "photo.jpg", photos / "a" / "photo.jpg")
    os.utime(photos / "a" / "photo.jpg", ns=(before.st_atime_ns, before.st_mtime_ns + 1))
    assert width(predict.run(finished, photos / "a", out)) == 50


@pytest.mark.parametrize("to", ["run", "hub"])
def test_predict_replaces_the_mask_of_another_model(
    finished: RunConfig, photos: Path, tmp_path: Path, to: str
) -> None:
    if to == "run":
        model = Path(shutil.copytree(finished.run, tmp_path / "run"))
        weights = Run(model).model("train_seg")
    else:
        model = export.run(finished, to, tmp_path / "hub")
        weights = model / "model.safetensors"
    mask = predict.run(finished, photos / "a", tmp_path / "out", model=model) / "photo.png"
    made = mask.stat().st_mtime_ns
    os.utime(weights)  # the same, copied
    predict.run(finished, photos / "a", tmp_path / "out", model=model)
    assert mask.stat().st_mtime_ns == made
    other_weights(weights)
    predict.run(finished, photos / "a", tmp_path / "out", model=model)
    assert mask.stat().st_mtime_ns > made


def test_predict_never_replaces_a_file_that_was_not_made_here(
    finished: RunConfig, photos: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    drawn = out / "photo.png"
    for data in (b"", b"no image", None):
        if data is None:
            mask_io.write_mask(drawn, np.full((30, 40), 3, np.uint8))
        else:
            drawn.write_bytes(data)
        before = drawn.read_bytes()
        with pytest.raises(WsssError, match=r"photo\.png was not made by this program .*--overwr"):
            predict.run(finished, photos / "a", out)
        assert drawn.read_bytes() == before and len(list(out.iterdir())) == 1
    assert width(predict.run(finished, photos / "a", out, overwrite=True)) == 40
    assert mask_io.read_origin(drawn)


def test_predict_keeps_class_names_that_say_something_else_stay(
    finished: RunConfig, photos: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    names = out / "class_names.txt"
    names.write_text("0 background\n1 mine\n")
    with pytest.raises(WsssError, match=r"^Line 2 of .*class_names\.txt has '1 mine'; expected"):
        predict.run(finished, photos / "a", out)
    assert names.read_text() == "0 background\n1 mine\n" and len(list(out.iterdir())) == 1
    predict.run(finished, photos / "a", out, overwrite=True)
    assert names.read_text().startswith("0 background\n1 striped_disc\n")
    predict.run(finished, photos / "a", out)


def test_predict_find_takes_the_image_and_not_its_mask(tmp_path: Path) -> None:
    Image.new("RGB", (4, 4)).save(tmp_path / "a.jpg")
    Image.new("P", (4, 4)).save(tmp_path / "a.png")
    assert [s.path.name for s in predict.find(tmp_path, tmp_path / "out")[0]] == ["a.jpg"]


def test_predict_find_searches_linked_folders_and_any_suffix(photos: Path, tmp_path: Path) -> None:
    images = tmp_path / "images #1"
    images.mkdir()
    (images / "more").symlink_to(photos)
    Image.new("RGB", (4, 4)).save(images / "x=~ 1.WEBP")
    found, _ = predict.find(images, tmp_path / "out")
    assert [s.id for s in found] == ["more/a/photo", "more/b/photo", "x=~ 1"]


def test_predict_says_what_it_leaves_out(
    finished: RunConfig, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (photos / "a" / "photo.svg").write_text("<svg/>")
    Image.new("P", (40, 30)).save(photos / "a" / "photo.png")
    predict.run(finished, photos / "a", tmp_path / "out")
    told = capsys.readouterr().err
    assert "no images: 1 .svg" in told and "masks beside their images: 1, photo.png" in told


def test_predict_find_names_what_there_is_instead_of_images(tmp_path: Path) -> None:
    (tmp_path / "a.psd").write_bytes(b"")
    with pytest.raises(WsssError, match=r"holds no images \(.*\), but 1 \.psd"):
        predict.find(tmp_path, tmp_path / "out")


@pytest.mark.parametrize("overwrite", [False, True])
def test_predict_never_replaces_an_image_by_its_mask(
    finished: RunConfig, tmp_path: Path, overwrite: bool
) -> None:
    image = tmp_path / "a.png"
    Image.new("RGB", (30, 20), "red").save(image)
    before = image.read_bytes()
    for images in (tmp_path, image):
        with pytest.raises(WsssError, match=r"a\.png would replace it.*--out"):
            predict.run(finished, images, tmp_path, overwrite)
    assert image.read_bytes() == before


def touch(folder: Path, *names: str) -> list[Path]:
    """Empty files: `find` goes by their names."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return [folder / name for name in names]


def test_predict_find_names_images_by_their_paths_in_the_folder(tmp_path: Path) -> None:
    touch(tmp_path, "b.JPG", "sub.1/a.jpeg", "x.jpg/a.png", "notes.txt", "._b.png")
    touch(tmp_path, "masks/b.png")
    found, _ = predict.find(tmp_path, tmp_path / "masks")
    assert [sample.id for sample in found] == ["b", "sub.1/a", "x.jpg/a"]


def test_predict_find_takes_images_one_by_one(tmp_path: Path) -> None:
    images = touch(tmp_path, "a.jpg", "sub/b.png")
    for given in (images, images[:1], images[0]):
        found, _ = predict.find(given, tmp_path / "masks")
        assert [sample.path for sample in found] == ([given] if given is images[0] else given)


@pytest.mark.parametrize(
    ("names", "given", "fault"),
    [
        ([], "gone", "gone"),
        (["empty/notes.txt"], "empty", "empty holds no images"),
        (["in/a.jpg", "in/a.png"], "in", r"a\.jpg"),
        (["a.jpg"], ["a.jpg", "gone.jpg"], r"gone\.jpg"),
        (["a.jpg", "sub/a.png"], ["a.jpg", "sub/a.png"], r"a\.jpg and .*sub/a\.png"),
    ],
)
def test_predict_find_refuses_images_without_a_mask_of_their_own(
    tmp_path: Path, names: list[str], given: str | list[str], fault: str
) -> None:
    touch(tmp_path, *names)
    one = isinstance(given, str)
    images = tmp_path / given if one else [tmp_path / name for name in given]  # type: ignore[operator]
    with pytest.raises(WsssError, match=fault):
        predict.find(images, tmp_path / "masks")


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("a.jpg b.png evaluate.flip=true", (None, ["evaluate.flip=true"], ["a.jpg", "b.png"])),
        ("gone.jpg", (None, [], ["gone.jpg"])),
        ("run a.jpg b.png", ("run", [], ["a.jpg", "b.png"])),
        ("run evaluate.crf=none --images a.jpg", ("run", ["evaluate.crf=none"], ["a.jpg"])),
        ("--model m --images a.jpg", (None, [], ["a.jpg"])),
        ("--model m evaluate.crf=none --images a.jpg", (None, ["evaluate.crf=none"], ["a.jpg"])),
        ("--model m run --images a.jpg", ("run", [], ["a.jpg"])),
        ("evaluate.crf=none --images a.jpg", (None, ["evaluate.crf=none"], ["a.jpg"])),
        ("evaluate.crf=none a.jpg", (None, ["evaluate.crf=none"], ["a.jpg"])),
        ("run=r data.root=. --images a.jpg", ("run=r", ["data.root=."], ["a.jpg"])),
    ],
)
def test_sort_images_of_a_command_line(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    line: str,
    found: tuple[str | None, list[str], list[str]],
) -> None:
    monkeypatch.chdir(tmp_path)
    touch(tmp_path, "a.jpg", "b.png", "run/config.yaml")
    words = line.split()
    options = {"--images": None, "--model": None}
    for option in options:
        if option in words:
            at = words.index(option)
            options[option] = Path(words[at + 1])  # type: ignore[assignment]
            del words[at : at + 2]
    source = Path(words[0]) if words else None
    sorted_out = arguments.sort_images(source, words[1:], options["--images"], options["--model"])
    run, settings, images = found
    expected = (Path(run) if run else None, settings, [Path(image) for image in images])
    assert sorted_out == expected


@pytest.mark.parametrize("given", [["c.svg"], ["a.jpg", "c.svg"]])
def test_sort_images_refuses_a_file_that_is_no_image(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    touch(tmp_path, "a.jpg", "c.svg")
    with pytest.raises(WsssError, match=r"c\.svg"):
        arguments.sort_images(Path(given[0]), given[1:], None, None)
