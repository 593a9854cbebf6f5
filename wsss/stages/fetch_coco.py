"""`wsss fetch-coco`: MS COCO 2014, in the layout that the other stages read.

Writes `<root>/train2014`, `<root>/val2014` and `<root>/annotations`, as COCO's archives have them.
Every step that is finished is skipped; a killed one goes on at the file where it stopped.
"""

import shutil
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path

from wsss.data.download import Archive, download_shown
from wsss.engine.progress import Tracker
from wsss.errors import WsssError
from wsss.formats.coco_layout import read_split, splits_of

_SITE = "http://images.cocodataset.org"  # the branded address has no certificate of its own

ARCHIVES = (
    Archive(
        f"{_SITE}/annotations/annotations_trainval2014.zip",
        "annotations_trainval2014.zip",
        "0a379cfc70b0e71301e0f377548639bd",
    ),
    Archive(f"{_SITE}/zips/val2014.zip", "val2014.zip", "a3d79f5ed8d289b7a7554ce06a5782b3"),
    Archive(f"{_SITE}/zips/train2014.zip", "train2014.zip", "0da8c0bd3d6becc4dcb32757491aca88"),
)
"""As published, the smallest first: 0.25, 6.6 and 13.5 GB."""

IMAGES = {"train2014": 82_081, "val2014": 40_137}
"""Images with at least one annotation, of the archives as published."""


def run(root: Path, archives: Sequence[Archive] = ARCHIVES) -> Path:
    """Gets the data set.

    Args:
        root: folder for the archives (20 GB, which may be removed afterwards) and what they hold.
        archives: other sources of the same files, e.g. `replace(ARCHIVES[0], url=MIRROR)`.

    Returns:
        The data root to set in a config, `root`.

    Raises:
        WsssError: network, checksum, archive or disk, reported with what is kept.
    """
    for archive in archives:
        folder = _folder(archive)
        if _finished(root, folder):
            continue
        path = download_shown(archive, root)
        try:
            _unpack(path, root, folder)
        except zipfile.BadZipFile as error:
            raise WsssError(
                f"{path} does not unpack ({error}); expected a zip of COCO 2014: remove it and run "
                "the command again."
            ) from error
        except OSError as error:
            raise WsssError(
                f"The data set cannot be written below {root} ({error.strerror or error}); "
                "expected a writable folder with some 42 GB free: make room or name another one; "
                "what is unpacked is kept."
            ) from error
    for split, expected in IMAGES.items():
        count = len(read_split(root, split).images)
        note = "" if count == expected else f" ({expected} in the published archives)"
        print(f"{split} has {count} images with annotations{note}", file=sys.stderr)
    return root


def _folder(archive: Archive) -> str:
    """What an archive unpacks to."""
    return archive.filename.partition("_")[0].removesuffix(".zip")


def _finished(root: Path, folder: str) -> bool:
    if folder == "annotations":
        return set(IMAGES) <= set(splits_of(root))
    return (root / folder).is_dir()


def _unpack(archive: Path, root: Path, folder: str) -> None:
    """Unpacks beside the goal and moves it there at the end; whole files are kept on the way.

    Of the annotations, captions and keypoints are left out.
    """
    unpacked = root / f"{folder}.partial"
    with zipfile.ZipFile(archive) as packed:
        members = [
            member
            for member in packed.infolist()
            if member.filename.startswith((f"{folder}/instances_", f"{folder}/COCO_"))
        ]
        if not members:
            raise WsssError(
                f"{archive} holds no {folder} of COCO 2014; expected the published archive: remove "
                "it and run the command again."
            )
        with Tracker(f"unpack {folder}", len(members)) as tracker:
            for member in members:
                path = unpacked / member.filename
                if not path.is_file() or path.stat().st_size != member.file_size:
                    packed.extract(member, unpacked)
                tracker.advance()
    goal = root / folder
    if not goal.exists():
        (unpacked / folder).replace(goal)
    else:  # annotations of other years
        for path in (unpacked / folder).iterdir():
            path.replace(goal / path.name)
    shutil.rmtree(unpacked)
