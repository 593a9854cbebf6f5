"""`wsss fetch-voc`: VOC 2012 with the SBD masks, in the layout that the other stages read.

Writes `<root>/VOCdevkit/VOC2012` as VOC's archive has it, and beside it, from SBD (Hariharan et al.
2011), `SegmentationClassAug/<id>.png` and `ImageSets/Segmentation/train_aug.txt`. Every step that
is finished is skipped; a killed one goes on, or starts its step again.
"""

import io
import shutil
import sys
import tarfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from wsss.data import mask_io
from wsss.data.download import Archive, download_shown
from wsss.errors import WsssError
from wsss.files import write_text
from wsss.formats import voc

TRAIN_AUG_SIZE = 10_582  # of the archives as published


def voc_archive() -> Archive:
    """VOC 2012 trainval, from where torchvision gets it."""
    from torchvision.datasets.voc import DATASET_YEAR_DICT

    source = DATASET_YEAR_DICT["2012"]
    return Archive(source["url"], source["filename"], source["md5"])


def sbd_archive() -> Archive:
    """The Semantic Boundaries Dataset, from where torchvision gets it."""
    from torchvision.datasets import SBDataset

    return Archive(SBDataset.url, SBDataset.filename, SBDataset.md5)


def run(
    root: Path,
    *,
    sbd: bool = True,
    voc_source: Archive | None = None,
    sbd_source: Archive | None = None,
) -> Path:
    """Gets the data set.

    Args:
        root: folder for the archives (3.4 GB, which may be removed afterwards) and `VOCdevkit`.
        sbd: also make the SBD masks and `train_aug`; without it there is `train`, `val` alone.
        voc_source: another source for VOC from, e.g. `replace(voc_archive(), url=MIRROR)`.
        sbd_source: another source for SBD from.

    Returns:
        The data root to set in a config, `<root>/VOCdevkit/VOC2012`.

    Raises:
        WsssError: network, checksum, archive or disk, reported with what is kept.
    """
    data = root / "VOCdevkit" / "VOC2012"
    try:
        if not data.is_dir():
            _extract_voc(download_shown(voc_source or voc_archive(), root), root, data)
        if sbd and not voc.split_list_path(data, "train_aug").is_file():
            _add_sbd(download_shown(sbd_source or sbd_archive(), root), data)
    except (tarfile.TarError, EOFError) as error:
        raise WsssError(
            f"An archive in {root} does not unpack ({error}); expected VOC's tar and SBD's tgz: "
            "remove it and run the command again."
        ) from error
    except OSError as error:
        raise WsssError(
            f"The data set cannot be written below {root} ({error.strerror or error}); expected a "
            "writable folder with some 8 GB free: make room or name another one."
        ) from error
    return data


def _extract_voc(archive: Path, root: Path, data: Path) -> None:
    """Unpacks beside the goal and moves it there, so that `data` is whole or absent."""
    unpacked = root / "VOCdevkit.partial"
    shutil.rmtree(unpacked, ignore_errors=True)
    with tarfile.open(archive) as tar:
        # refuses paths outside the folder; absent in early patch releases of Python 3.10
        tar.extraction_filter = getattr(tarfile, "data_filter", None)
        tar.extractall(unpacked)
    inner = unpacked / "VOCdevkit" / "VOC2012"
    if not inner.is_dir():
        raise WsssError(f"{archive} holds no VOCdevkit/VOC2012; expected VOC 2012's archive.")
    data.parent.mkdir(parents=True, exist_ok=True)
    inner.replace(data)
    shutil.rmtree(unpacked)


def _add_sbd(archive: Path, data: Path) -> None:
    """SBD's masks for what VOC has none of, VOC's own for the others, and the list, last."""
    masks = data / "SegmentationClassAug"
    lists: dict[str, tuple[str, ...]] = {}
    for path in sorted((data / "SegmentationClass").glob("*.png")):
        _once(masks / path.name, partial(mask_io.read_mask, path))
    for name, read in _members(archive):
        if name.suffix == ".mat" and name.parent.name == "cls":
            _once(masks / f"{name.stem}.png", partial(_sbd_mask, name.name, read))
        elif name.parent.name == "dataset" and name.name in ("train.txt", "val.txt"):
            lists[name.stem] = tuple(read().decode("utf-8").split())
    if lists.keys() != {"train", "val"}:
        raise WsssError(
            f"{archive} holds the lists {sorted(lists)}; expected train.txt and val.txt of SBD."
        )
    held_out = set(voc.split_ids(data, "val"))
    ids = sorted({*voc.split_ids(data, "train"), *lists["train"], *lists["val"]} - held_out)
    write_text(voc.split_list_path(data, "train_aug"), "".join(f"{id_}\n" for id_ in ids))
    note = "" if len(ids) == TRAIN_AUG_SIZE else f" ({TRAIN_AUG_SIZE} in the published archives)"
    print(f"train_aug lists {len(ids)} images{note}", file=sys.stderr)


def _members(archive: Path) -> Iterator[tuple[PurePosixPath, Callable[[], bytes]]]:
    """The files in `dataset/` of SBD's archive, in one pass: (path, a way to read it)."""
    with tarfile.open(archive, "r|*") as tar:
        for member in tar:
            path = PurePosixPath(member.name)
            if member.isfile() and "dataset" in path.parts:
                file = tar.extractfile(member)
                assert file is not None  # a regular file
                yield path, file.read


def _once(path: Path, make: Callable[[], NDArray[np.uint8]]) -> None:
    if not path.is_file():
        mask_io.write_mask(path, make())


def _sbd_mask(name: str, read: Callable[[], bytes]) -> NDArray[np.uint8]:
    """(H, W) class indices from a .mat of SBD's `cls`."""
    from scipy.io import loadmat
    from scipy.io.matlab import MatReadError

    try:
        struct = loadmat(io.BytesIO(read()))["GTcls"]
        return np.asarray(struct[0]["Segmentation"][0], np.uint8)
    except (KeyError, ValueError, TypeError, IndexError, MatReadError) as error:
        raise WsssError(
            f"{name} in SBD's archive is not a class mask of SBD ({error!r}); expected "
            "GTcls.Segmentation: get the published archive."
        ) from error
