"""fetch-voc on a made-up VOC and SBD of a few pixels, served by a local server."""

import io
import re
import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from tests.wsss.local_server import Site, jpeg
from wsss.data import mask_io
from wsss.errors import WsssError
from wsss.formats import voc
from wsss.stages import fetch_voc
from wsss.stages.check_data import check_voc

VOC_TRAIN, VOC_VAL = ("v1", "v2"), ("v3",)
SBD_TRAIN, SBD_VAL = ("s1", "v1", "v3"), ("s2",)  # v3 is in VOC val, v1 in VOC train
ALL = ("s1", "s2", "v1", "v2", "v3")


def png(value: int) -> bytes:
    image = Image.fromarray(np.full((4, 6), value, np.uint8))
    image.putpalette(mask_io.palette().tobytes())
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def mat(value: int) -> bytes:
    """As SBD stores it: GTcls.Segmentation, beside boundaries that we do not read."""
    kind = [("Segmentation", object), ("CategoriesPresent", object)]
    struct = np.zeros((1, 1), dtype=kind)
    struct[0, 0] = (np.full((4, 6), value, np.uint8), np.array([value]))
    buffer = io.BytesIO()
    savemat(buffer, {"GTcls": struct})
    return buffer.getvalue()


def pack(files: dict[str, bytes], mode: str) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as tar:  # type: ignore[call-overload]
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def voc_files() -> dict[str, bytes]:
    base = "VOCdevkit/VOC2012/"
    empty = b"<annotation></annotation>"
    files = {f"{base}JPEGImages/{i}.jpg": jpeg() for i in ALL}
    files |= {f"{base}Annotations/{i}.xml": empty for i in ALL}
    files |= {f"{base}SegmentationClass/{i}.png": png(7) for i in VOC_TRAIN + VOC_VAL}
    for name, ids in (("train", VOC_TRAIN), ("val", VOC_VAL)):
        files[f"{base}ImageSets/Segmentation/{name}.txt"] = "\n".join(ids).encode()
    return files


def sbd_files() -> dict[str, bytes]:
    base = "benchmark_RELEASE/dataset/"
    files = {f"{base}cls/{i}.mat": mat(11) for i in SBD_TRAIN + SBD_VAL}
    files |= {f"{base}inst/{i}.mat": mat(3) for i in (*SBD_TRAIN, "v9")}  # instances: not classes
    for name, ids in (("train", SBD_TRAIN), ("val", SBD_VAL)):
        files[f"{base}{name}.txt"] = "\n".join(ids).encode()
    return files


class Mirror:
    """A local server with both archives."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.voc = site.put("/voc.tar", pack(voc_files(), "w"))
        self.sbd = site.put("/sbd.tgz", pack(sbd_files(), "w:gz"))

    def run(self, root: Path, sbd: bool = True) -> Path:
        return fetch_voc.run(root, sbd=sbd, voc_source=self.voc, sbd_source=self.sbd)


@pytest.fixture
def mirror(site: Site) -> Mirror:
    return Mirror(site)


def test_fetch_voc_train_aug_is_voc_train_and_sbd_without_voc_val(
    mirror: Mirror, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = mirror.run(tmp_path)
    assert data == tmp_path / "VOCdevkit" / "VOC2012"
    assert voc.split_ids(data, "train_aug") == ("s1", "s2", "v1", "v2")
    assert "train_aug lists 4 images (10582 in the published archives)" in capsys.readouterr().err


def test_fetch_voc_prefers_vocs_own_masks_to_sbds(mirror: Mirror, tmp_path: Path) -> None:
    masks = mirror.run(tmp_path) / "SegmentationClassAug"
    values = {p.stem: np.unique(mask_io.read_mask(p)).tolist() for p in masks.iterdir()}
    assert values == {"s1": [11], "s2": [11], "v1": [7], "v2": [7], "v3": [7]}


def test_fetch_voc_makes_a_sound_set(mirror: Mirror, tmp_path: Path) -> None:
    assert check_voc(mirror.run(tmp_path), ("train", "train_aug", "val")) == []
    assert not (tmp_path / "VOCdevkit.partial").exists()


def test_fetch_voc_that_is_finished_asks_for_nothing(mirror: Mirror, tmp_path: Path) -> None:
    mirror.run(tmp_path)
    for archive in (mirror.voc, mirror.sbd):
        (tmp_path / archive.filename).unlink()  # the archives may be removed
    asked = len(mirror.site.asked)
    mirror.run(tmp_path)
    assert len(mirror.site.asked) == asked == 2


def test_fetch_voc_without_sbd(mirror: Mirror, tmp_path: Path) -> None:
    data = mirror.run(tmp_path, sbd=False)
    assert [path for path, _ in mirror.site.asked] == ["/voc.tar"]
    assert not (data / "SegmentationClassAug").exists()
    assert voc.split_ids(mirror.run(tmp_path), "train_aug") == ("s1", "s2", "v1", "v2")


def test_fetch_voc_killed_while_converting_resumes(
    mirror: Mirror, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, made = mask_io.write_mask, []

    def dies_at_the_fifth(path: Path, mask: np.ndarray) -> None:
        if len(made) == 4:
            raise KeyboardInterrupt
        made.append(path.stem)
        real(path, mask)

    monkeypatch.setattr(mask_io, "write_mask", dies_at_the_fifth)
    with pytest.raises(KeyboardInterrupt):
        mirror.run(tmp_path)
    before = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*.png")}
    monkeypatch.setattr(mask_io, "write_mask", real)
    data = mirror.run(tmp_path)
    assert {p: p.stat().st_mtime_ns for p in before} == before
    assert len(list((data / "SegmentationClassAug").iterdir())) == 5
    assert voc.split_list_path(data, "train_aug").is_file()


def test_fetch_voc_killed_while_unpacking_repeats_that_step(mirror: Mirror, tmp_path: Path) -> None:
    stray = tmp_path / "VOCdevkit.partial" / "VOCdevkit" / "VOC2012" / "JPEGImages" / "half.jpg"
    stray.parent.mkdir(parents=True)
    stray.write_bytes(b"")
    assert not (mirror.run(tmp_path, sbd=False) / "JPEGImages" / "half.jpg").exists()


def test_fetch_voc_refuses_a_wrong_checksum(mirror: Mirror, tmp_path: Path) -> None:
    mirror.voc = replace(mirror.voc, md5="0" * 32)
    with pytest.raises(WsssError, match="0" * 32):
        mirror.run(tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("body", [b"no archive", pack({"other/file": b"x"}, "w")])
def test_fetch_voc_refuses_another_archive(mirror: Mirror, tmp_path: Path, body: bytes) -> None:
    mirror.voc = mirror.site.put("/voc.tar", body)
    with pytest.raises(WsssError, match=r"does not unpack|VOCdevkit/VOC2012"):
        mirror.run(tmp_path)
    assert not (tmp_path / "VOCdevkit").exists()


def test_fetch_voc_refuses_sbd_without_its_lists(mirror: Mirror, tmp_path: Path) -> None:
    files = {n: c for n, c in sbd_files().items() if not n.endswith("val.txt")}
    mirror.sbd = mirror.site.put("/sbd.tgz", pack(files, "w:gz"))
    with pytest.raises(WsssError, match=r"\['train'\]"):
        mirror.run(tmp_path)


def test_fetch_voc_refuses_another_mat_file(mirror: Mirror, tmp_path: Path) -> None:
    other = io.BytesIO()
    savemat(other, {"GTinst": np.zeros(3)})
    for content in (other.getvalue(), b"no mat at all, but long enough to have a header" * 9):
        files = sbd_files() | {"benchmark_RELEASE/dataset/cls/s1.mat": content}
        mirror.sbd = mirror.site.put("/sbd.tgz", pack(files, "w:gz"))
        with pytest.raises(WsssError, match=r"s1\.mat"):
            mirror.run(tmp_path)


def test_fetch_voc_writes_nothing_outside_its_folder(mirror: Mirror, tmp_path: Path) -> None:
    mirror.voc = mirror.site.put("/voc.tar", pack({**voc_files(), "../../out.txt": b"x"}, "w"))
    with pytest.raises(WsssError, match=r"out\.txt"):
        mirror.run(tmp_path / "in" / "here")
    assert not (tmp_path / "out.txt").exists() and not (tmp_path / "in" / "out.txt").exists()


def test_fetch_voc_where_a_file_stands_in_place_of_the_folder(
    mirror: Mirror, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(WsssError, match=str(tmp_path / "file")):
        mirror.run(tmp_path / "file")


def test_fetch_voc_archives_are_torchvisions() -> None:
    for archive, digest in (
        (fetch_voc.voc_archive(), "6cd6e144f989b92b3379bac3b3de84fd"),
        (fetch_voc.sbd_archive(), "82b4d87ceb2ed10f6038a1cba92111cb"),
    ):
        assert archive.md5 == digest
        assert re.fullmatch(r"https?://\S+/" + re.escape(archive.filename), archive.url)
