"""export-masks: of a run and of a folder, what is left out, what is never replaced."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from wsss.config import load, save
from wsss.data.mask_io import write_class_names, write_mask
from wsss.errors import WsssError
from wsss.run.layout import Layout
from wsss.stages import export_masks

from ..cli.command_line import error, printed


@pytest.fixture
def a_run(tmp_path: Path) -> Path:
    """Three images, two of them with masks, one of those accepted by a person."""
    photos, root = tmp_path / "photos", tmp_path / "run"
    (photos / "deep").mkdir(parents=True)
    for name in ("a.png", "deep/b.jpg", "c.jpg"):
        Image.new("RGB", (6, 5)).save(photos / name)
    (tmp_path / "tags.csv").write_text("image,tags\na,cat\ndeep/b,dog\nc,dog\n")
    root.mkdir()
    settings = (f"data.images={photos}", f"data.tags={tmp_path / 'tags.csv'}", f"run={root}")
    save(load(None, settings), Layout(root).config_file)
    layout = Layout(root)
    for id_, value in (("a", 1), ("c", 2)):
        mask = np.zeros((5, 6), np.uint8)
        mask[1:3, 1:4] = value
        mask[4, 5] = value
        write_mask(layout.pseudo_mask(id_), mask)
    write_mask(layout.trusted("c"), np.full((5, 6), 2, np.uint8))
    write_class_names(layout.pseudo_masks, ("cat", "dog"))
    (layout.pseudo_masks / "scores.csv").write_text("id,score,unsure\na,0.5,0.4\nc,0.1,0.1\n")
    return root


def annotations(folder: Path) -> dict[str, list[int]]:
    content = json.loads((folder / "annotations.json").read_text())
    names = {image["id"]: image["file_name"] for image in content["images"]}
    found: dict[str, list[int]] = {name: [] for name in names.values()}
    for one in content["annotations"]:
        found[names[one["image_id"]]].append(one["area"])
    return found


def test_export_masks_of_a_run_takes_accepted_masks_first(a_run: Path) -> None:
    folder = printed("export-masks", a_run, "--to", "coco")
    assert folder == a_run / "export/masks_coco"
    assert annotations(folder) == {"a.png": [6, 1], "c.jpg": [30]}


def test_export_masks_leaves_out_what_is_small_or_unsure(a_run: Path, tmp_path: Path) -> None:
    out = export_masks.run(a_run, "coco", tmp_path / "x", min_area=2)
    assert annotations(out) == {"a.png": [6], "c.jpg": [30]}
    out = export_masks.run(a_run, "coco", tmp_path / "y", confidence=0.7)
    assert annotations(out) == {"c.jpg": [30]}
    assert annotations(export_masks.run(a_run, "coco", tmp_path / "z", confidence=0.95)) == {
        "c.jpg": [30]  # accepted by a person
    }
    Layout(a_run).trusted("c").unlink()
    with pytest.raises(WsssError, match="no mask to export"):
        export_masks.run(a_run, "coco", tmp_path / "z", confidence=0.95)


def test_export_masks_leaves_out_a_mask_that_a_person_rejected(a_run: Path) -> None:
    write_mask(Layout(a_run).trusted("c"), np.full((5, 6), 255, np.uint8))
    assert annotations(export_masks.run(a_run, "coco")) == {"a.png": [6, 1]}


def test_export_masks_of_a_folder_names_images_where_they_are_given(
    a_run: Path, tmp_path: Path
) -> None:
    masks = Layout(a_run).pseudo_masks
    (masks / "scores.csv").unlink()
    assert annotations(export_masks.run(masks, "coco")) == {"a.jpg": [6, 1], "c.jpg": [6, 1]}
    out = export_masks.run(masks, "coco", tmp_path / "x", images=tmp_path / "photos")
    assert annotations(out) == {"a.png": [6, 1], "c.jpg": [6, 1]}
    with pytest.raises(WsssError, match="--confidence"):
        export_masks.run(masks, "coco", tmp_path / "y", confidence=0.5)
    (tmp_path / "photos/a.png").unlink()
    with pytest.raises(WsssError, match="no image a "):
        export_masks.run(masks, "coco", tmp_path / "y", images=tmp_path / "photos")


def test_export_masks_of_a_folder_takes_no_mask_for_an_image(a_run: Path, tmp_path: Path) -> None:
    masks, photos = Layout(a_run).pseudo_masks, tmp_path / "photos"
    shutil.copyfile(masks / "c.png", photos / "c.png")
    out = export_masks.run(masks, "coco", tmp_path / "x", images=photos)
    assert annotations(out) == {"a.png": [6, 1], "c.jpg": [6, 1]}
    shutil.copyfile(photos / "c.jpg", photos / "c.jpeg")
    with pytest.raises(WsssError, match=r"c\.jpeg and c\.jpg, either"):
        export_masks.run(masks, "coco", tmp_path / "y", images=photos)


def test_export_masks_refuses_masks_of_another_size(a_run: Path, tmp_path: Path) -> None:
    Image.new("RGB", (12, 10)).save(tmp_path / "photos/c.jpg")
    for source, images in ((a_run, None), (Layout(a_run).pseudo_masks, tmp_path / "photos")):
        with pytest.raises(WsssError, match=r"c\.png is 6×5 and its image .*c\.jpg 12×10"):
            export_masks.run(source, "coco", tmp_path / "x", images=images)


@pytest.mark.parametrize(
    "to", ["coco", "yolo-seg", "voc", "cvat", "label-studio", "labelme", "png", "overlay"]
)
def test_export_masks_twice_writes_the_same(a_run: Path, tmp_path: Path, to: str) -> None:
    def state() -> dict[str, bytes]:
        files = (path for path in out.rglob("*") if path.is_file())
        return {path.relative_to(out).as_posix(): path.read_bytes() for path in files}

    out = export_masks.run(a_run, to, tmp_path / "x")
    first = state()
    assert len(first) > 1 and not [name for name in first if "tmp" in name]
    export_masks.run(a_run, to, tmp_path / "x")
    assert state() == first


def test_export_masks_never_replaces_what_a_person_changed(a_run: Path, tmp_path: Path) -> None:
    out = export_masks.run(a_run, "labelme", tmp_path / "x")
    (out / "a.json").write_text("{}")
    assert "a.json" in error("export-masks", a_run, "--to", "labelme", "--out", out)
    assert (out / "a.json").read_text() == "{}"
    printed("export-masks", a_run, "--to", "labelme", "--out", out, "--overwrite")
    assert "shapes" in json.loads((out / "a.json").read_text())


def test_export_masks_refuses_what_it_does_not_know(a_run: Path, tmp_path: Path) -> None:
    assert "yolo-seg" in error("export-masks", a_run, "--to", "yolo")
    assert "class_names.txt" in error("export-masks", tmp_path / "photos", "--to", "coco")
    assert error("export-masks", tmp_path / "gone", "--to", "coco")
