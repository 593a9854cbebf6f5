"""Archives for the VOC evaluation server: packed from masks, and checked before they are sent.

The server takes `results/VOC2012/Segmentation/comp6_test_cls/<id>.png` in a .tar.gz: 8-bit indexed
PNGs in the VOC palette, at the size of the image, without void. Anything else scores about 0.
"""

import gzip
import io
import tarfile
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image

from wsss.data.image_header import read_header
from wsss.data.mask_io import palette, read_mask
from wsss.errors import WsssError, first_line
from wsss.files import write_atomic
from wsss.formats.voc import NUM_CLASSES, read_split_list

_LARGEST = 64 << 20  # bytes of a mask: it is read whole

FOLDER = "results/VOC2012/Segmentation/comp6_test_cls"


def pack(masks: Path, ids: Sequence[str], out: Path) -> Path:
    """Pack masks; the same masks give the same bytes. Returns the archive.

    Args:
        masks: folder of `<id>.png` in the VOC palette.
        ids: of the images; the archive has no subfolders, whatever theirs are.
        out: the archive to write, `.tar.gz`.

    Raises:
        WsssError: a mask is missing, has a class that VOC doesn't have, or a name twice.
    """
    paths = {PurePosixPath(id_).name: masks / f"{id_}.png" for id_ in sorted(ids)}
    if len(paths) < len(ids):
        raise WsssError(
            f"{len(ids) - len(paths)} of the {len(ids)} images share their name with another in "
            "another folder; the archive has one folder: give images of different names."
        )
    for path in paths.values():
        highest = int(read_mask(path).max())
        if highest >= NUM_CLASSES:
            raise WsssError(
                f"{path} holds the class {highest}; VOC's server knows 0..{NUM_CLASSES - 1}: pack "
                "predictions of a model of VOC's classes."
            )

    def write(target: Path) -> None:
        # neither owner nor time of day nor the archive's name go in
        with (
            target.open("wb") as raw,
            gzip.GzipFile("", "wb", fileobj=raw, mtime=0) as packed,
            tarfile.open(fileobj=packed, mode="w", format=tarfile.USTAR_FORMAT) as archive,
        ):
            for name, path in sorted(paths.items()):
                content = path.read_bytes()
                member = tarfile.TarInfo(f"{FOLDER}/{name}.png")
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))

    write_atomic(out, write)
    return out


def check(file: Path, ids: Path | None = None, images: Path | None = None) -> list[str]:
    """What is wrong with an archive, a sentence each; none for one that the server takes.

    Args:
        file: the archive.
        ids: list of the ids that it must hold, one per line.
        images: folder of their images, whose sizes the masks must have.

    Raises:
        WsssError: there is no archive, no list of ids, or no folder of images.
    """
    for path, what in ((file, "archive"), (ids, "list of ids")):
        if path is not None and not path.is_file():
            raise WsssError(f"There is no {what} at {path}: give a file that exists.")
    if images is not None and not images.is_dir():
        raise WsssError(f"There is no folder of images at {images}: give one that exists.")
    found: Counter[str] = Counter()
    originals = {path.stem: path for path in images.iterdir()} if images else None
    problems: list[str] = []
    try:
        with tarfile.open(file, "r:gz") as archive:
            for member in archive:
                problems += _check_member(archive, member, found, originals)
    except (OSError, EOFError, ValueError, tarfile.TarError, zlib.error) as error:
        problems.append(f"{file} is not a complete .tar.gz ({error}): pack it again.")
    for name, times in found.items():
        if times > 1:
            problems.append(f"{name} is in the archive {times} times: leave one of them.")
    if not found:
        problems.append(f"{file} holds no {FOLDER}/<id>.png: pack it by wsss pack-voc-test.")
    if ids is not None:
        listed = read_split_list(ids)
        missing = [i for i in listed if i not in found]
        problems += [f"{i} of {ids} is not in the archive: predict it." for i in missing]
        extra = sorted(found.keys() - set(listed))
        problems += [f"{i} is in the archive and not in {ids}: leave it out." for i in extra]
    return problems


def _check_member(
    archive: tarfile.TarFile,
    member: tarfile.TarInfo,
    found: Counter[str],
    originals: dict[str, Path] | None,
) -> Iterator[str]:
    """Problems of one entry, which is counted in `found` if it is where a mask belongs."""
    name = PurePosixPath(member.name)
    if member.isdir():
        return
    if str(name.parent) != FOLDER or name.suffix != ".png" or not member.isfile():
        yield f"{member.name} is not a file {FOLDER}/<id>.png: leave it out, or move it there."
        return
    found[name.stem] += 1
    file = archive.extractfile(member)
    assert file is not None  # a regular file
    if member.size > _LARGEST:
        yield f"{name.name} has {member.size >> 20} MiB, which no mask has: write it again."
        return
    try:
        with Image.open(io.BytesIO(file.read())) as image:
            image.load()
    except Exception as error:  # decoders raise anything
        yield f"{name.name} does not decode ({first_line(error)[:120]}): write it again."
        return
    if image.format != "PNG" or image.mode != "P":
        yield (
            f"{name.name} is {image.format} of mode {image.mode}; expected an indexed PNG, 8 bits "
            "a pixel (mode P): write class indices with the VOC palette."
        )
        return
    yield from _check_pixels(name, image, originals)


def _check_pixels(
    name: PurePosixPath, image: Image.Image, originals: dict[str, Path] | None
) -> Iterator[str]:
    highest = int(np.asarray(image).max())
    if highest >= NUM_CLASSES:
        yield f"{name.name} holds the value {highest}; expected 0..{NUM_CLASSES - 1}, no void."
    colours = np.array(image.getpalette() or [], np.uint8).reshape(-1, 3)
    if not np.array_equal(colours[:NUM_CLASSES], palette()[:NUM_CLASSES]):
        yield f"{name.name} has another palette than VOC's: write it with VOC's 256 colours."
    if originals is None:
        return
    if name.stem not in originals:
        yield f"{name.name} has no image of its name: leave it out."
        return
    try:
        header = read_header(originals[name.stem])
    except WsssError as error:
        yield str(error)
        return
    if (header.width, header.height) != image.size:
        found, wanted = (f"{w}×{h}" for w, h in (image.size, header[:2]))
        yield f"{name.name} is {found}, its image {wanted}: predict at the original size."
