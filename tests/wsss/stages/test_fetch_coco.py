"""fetch-coco on a made-up COCO of a few pixels, served by a local server."""

import io
import json
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.wsss.local_server import Site, jpeg
from wsss.errors import WsssError
from wsss.formats.coco_layout import read_coco
from wsss.stages import fetch_coco

SPLITS = {"train2014": (9, 25, 30), "val2014": (42, 73)}


def name(split: str, number: int) -> str:
    return f"COCO_{split}_{number:012d}.jpg"


def instances(split: str) -> bytes:
    """The last image of a split has no annotation."""
    numbers = SPLITS[split]
    box = [[0, 0, 3, 0, 3, 2, 0, 2]]
    content: dict[str, Any] = {
        "images": [
            {"id": n, "file_name": name(split, n), "height": 4, "width": 6} for n in numbers
        ],
        "annotations": [
            {"id": n, "image_id": n, "category_id": 3, "segmentation": box, "area": 6, "iscrowd": 0}
            for n in numbers[:-1]
        ],
        "categories": [{"id": 3, "name": "car"}, {"id": 90, "name": "toothbrush"}],
    }
    return json.dumps(content).encode()


def pack(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as packed:
        for path, content in files.items():
            packed.writestr(path, content)
    return buffer.getvalue()


def images(split: str) -> dict[str, bytes]:
    return {f"{split}/{name(split, n)}": jpeg() for n in SPLITS[split]}


class Mirror:
    """A local server with the three archives."""

    def __init__(self, site: Site) -> None:
        self.site = site
        notes = {f"annotations/captions_{split}.json": b"{}" for split in SPLITS}
        notes |= {f"annotations/instances_{split}.json": instances(split) for split in SPLITS}
        contents = (notes, images("val2014"), images("train2014"))
        self.archives = [
            site.put(f"/{archive.filename}", pack(files))
            for archive, files in zip(fetch_coco.ARCHIVES, contents, strict=True)
        ]

    def run(self, root: Path) -> Path:
        return fetch_coco.run(root, self.archives)


@pytest.fixture
def mirror(site: Site) -> Mirror:
    return Mirror(site)


def test_fetch_coco_makes_what_is_read(
    mirror: Mirror, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = mirror.run(tmp_path)
    assert root == tmp_path
    assert (
        "train2014 has 2 images with annotations (82081 in the published" in capsys.readouterr().err
    )
    assert len(read_coco(root, "train2014")) == 2 and len(read_coco(root, "val2014")) == 1
    assert not list(root.rglob("captions*")) and not list(root.glob("*.partial"))


def test_fetch_coco_that_is_finished_asks_for_nothing(mirror: Mirror, tmp_path: Path) -> None:
    mirror.run(tmp_path)
    for archive in mirror.archives:
        (tmp_path / archive.filename).unlink()  # the archives may be removed
    mirror.run(tmp_path)
    assert len(mirror.site.asked) == 3


def test_fetch_coco_resumes_a_broken_transfer(mirror: Mirror, tmp_path: Path) -> None:
    mirror.site.break_after = [100]
    assert mirror.run(tmp_path) == tmp_path
    assert [wanted for _, wanted in mirror.site.asked] == [None, "bytes=100-", None, None]


def test_fetch_coco_killed_while_unpacking_keeps_whole_files(
    mirror: Mirror, tmp_path: Path
) -> None:
    folder = tmp_path / "train2014.partial" / "train2014"
    folder.mkdir(parents=True)
    whole, half = (folder / name("train2014", n) for n in (9, 25))
    whole.write_bytes(jpeg())
    half.write_bytes(jpeg()[:50])
    before = whole.stat().st_mtime_ns
    mirror.run(tmp_path)
    files = sorted((tmp_path / "train2014").iterdir())
    assert [path.read_bytes() for path in files] == [jpeg()] * 3
    assert files[0].stat().st_mtime_ns == before


def test_fetch_coco_leaves_annotations_of_other_years(mirror: Mirror, tmp_path: Path) -> None:
    other = tmp_path / "annotations" / "instances_val2017.json"
    other.parent.mkdir()
    other.write_text("{}")
    mirror.run(tmp_path)
    assert sorted(path.name for path in other.parent.iterdir()) == [
        "instances_train2014.json",
        "instances_val2014.json",
        "instances_val2017.json",
    ]
    assert other.read_text() == "{}"


def test_fetch_coco_refuses_a_wrong_checksum(mirror: Mirror, tmp_path: Path) -> None:
    mirror.archives[0] = replace(mirror.archives[0], md5="0" * 32)
    with pytest.raises(WsssError, match="0" * 32):
        mirror.run(tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("body", [b"no archive", pack({"other/file": b"x"})])
def test_fetch_coco_refuses_another_archive(mirror: Mirror, tmp_path: Path, body: bytes) -> None:
    mirror.archives[1] = mirror.site.put("/val2014.zip", body)
    with pytest.raises(WsssError, match=r"val2014\.zip"):
        mirror.run(tmp_path)
    assert not (tmp_path / "val2014").exists()


def test_fetch_coco_writes_nothing_outside_its_folder(mirror: Mirror, tmp_path: Path) -> None:
    files = {**images("val2014"), "val2014/COCO_/../../../out.txt": b"x"}
    mirror.archives[1] = mirror.site.put("/val2014.zip", pack(files))
    mirror.run(tmp_path / "in" / "here")
    assert not list(tmp_path.glob("out.txt")) and not list((tmp_path / "in").glob("out.txt"))


def test_fetch_coco_archives_are_as_published() -> None:
    assert {archive.filename: archive.md5 for archive in fetch_coco.ARCHIVES} == {
        "annotations_trainval2014.zip": "0a379cfc70b0e71301e0f377548639bd",
        "train2014.zip": "0da8c0bd3d6becc4dcb32757491aca88",
        "val2014.zip": "a3d79f5ed8d289b7a7554ce06a5782b3",
    }
