"""Images as cameras, scanners, downloads and broken disks leave them."""

import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from random import Random

import numpy as np
from PIL import Image

from robustness.case import Case, case
from robustness.damage import damage_bytes, replace_entry

# EXIF orientation → how to store pixels so that they come out upright
_STORED = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


def images(rng: Random, box: Path) -> Case:
    """One image is damaged, or stored in another way with the same pixels."""
    path, reads = _any_image(rng, box)
    if rng.random() < 0.4:
        return _stored_otherwise(rng, path, reads)
    how = rng.randrange(6)
    if how == 0:
        what = replace_entry(rng, path)
        # a folder of images is what is in it
        means = "either" if reads == "photo" and what in ("folder", "nothing") else "refuse"
        return case(f"{what} for {path.name}", reads, means=means, only=("check-data", "run"))
    if how == 1:
        return case(_larger_header(rng, path), reads)
    if how == 2:
        Image.new("RGB", rng.choice(((1, 1), (1, 500), (3000, 2), (33, 31)))).save(path)
        return case(f"{path.name} of an odd size", reads)
    if how == 3:
        data = path.read_bytes()
        path.write_bytes(data[: len(data) // 2])
        return case(f"half of {path.name}", reads, means="refuse", only=("check-data", "run"))
    return case(f"{damage_bytes(rng, path)}: {path.name}", reads)


def _any_image(rng: Random, box: Path) -> tuple[Path, str]:
    what = rng.choice(("photo", "photo", "train image", "val image"))
    if what == "photo":
        return rng.choice(sorted((box / "own" / "photos").rglob("*.jpg"))), what
    prefix = what.removesuffix(" image")
    return rng.choice(sorted((box / "VOC" / "JPEGImages").glob(f"{prefix}_*"))), what


def _stored_otherwise(rng: Random, path: Path, reads: str) -> Case:
    name, store = rng.choice(tuple(SAME.items()))
    with Image.open(path) as file:
        image = file.convert("RGB")
    data = path.read_bytes()
    path.unlink()
    store(rng, image, data, path)
    return case(f"{path.name} {name}", reads, means="same")


Store = Callable[[Random, Image.Image, bytes, Path], None]
"""(random numbers, pixels, the JPEG's bytes, its path): stores the same pixels in another way."""


def _as(suffix: str, **options: object) -> Store:
    def store(rng: Random, image: Image.Image, data: bytes, path: Path) -> None:
        image.save(path.with_suffix(suffix), **options)

    return store


def _exif(order: str, entries: list[tuple[int, int, int, bytes]], tail: bytes = b"") -> bytes:
    """EXIF by hand, for what no library writes."""
    mark = b"II" if order == "<" else b"MM"
    head = mark + struct.pack(f"{order}HI", 42, 8) + struct.pack(f"{order}H", len(entries))
    body = b"".join(struct.pack(f"{order}HHI", t, k, n) + v for t, k, n, v in entries)
    return b"Exif\0\0" + head + body + bytes(4) + tail


def _turned(rng: Random, image: Image.Image, data: bytes, path: Path) -> None:
    turn = rng.choice(list(_STORED))
    order = rng.choice("<>")
    value = struct.pack(f"{order}H", turn) + b"\0\0"
    entries = [(0x0112, 3, 1, value)]
    odd = rng.randrange(4)
    if odd == 1:  # a tag whose value lies beyond the file
        entries.insert(0, (0x010F, 2, 5000, struct.pack(f"{order}I", 60_000)))
    elif odd == 2:  # of a type that doesn't exist
        entries.append((0x9286, 99, 7, b"abcd"))
    elif odd == 3:  # sub-directories that point back
        entries.append((0x8769, 4, 1, struct.pack(f"{order}I", 8)))
    suffix = rng.choice((".png", ".webp"))
    stored = image.transpose(_STORED[turn])
    options = {"lossless": True} if suffix == ".webp" else {}
    stored.save(path.with_suffix(suffix), exif=_exif(order, entries), **options)


def _upright_exif(rng: Random, image: Image.Image, data: bytes, path: Path) -> None:
    """The JPEG with EXIF that says nothing, or nonsense."""
    order = rng.choice("<>")
    value = struct.pack(f"{order}H", rng.choice((0, 1, 9, 65535))) + b"\0\0"
    exif = rng.choice(
        (
            _exif(order, [(0x0112, 3, 1, value)]),
            _exif(order, []),
            b"Exif\0\0",
            b"Exif\0\0II*\0\xff\xff\xff\xff",
            b"Exif\0\0" + rng.randbytes(30),
            _exif(order, [(0x0112, 2, 3, b"6\0\0\0")]),
        )
    )
    path.write_bytes(data[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + data[2:])


def _trailer(rng: Random, image: Image.Image, data: bytes, path: Path) -> None:
    path.write_bytes(data + rng.choice((b"\0" * 512, rng.randbytes(300), data, b"\n")))


def _comment(rng: Random, image: Image.Image, data: bytes, path: Path) -> None:
    text = rng.choice((b"", b"\xff\xd9", rng.randbytes(100)))
    path.write_bytes(data[:2] + b"\xff\xfe" + struct.pack(">H", len(text) + 2) + text + data[2:])


def _capitals(rng: Random, image: Image.Image, data: bytes, path: Path) -> None:
    path.with_suffix(rng.choice((".JPG", ".Jpg", ".jpeg", ".JPEG", ".jfif", ".jpe"))).write_bytes(
        data
    )


def _other_suffix(rng: Random, image: Image.Image, data: bytes, path: Path) -> None:
    """A JPEG by another suffix: what counts is its content."""
    path.with_suffix(rng.choice((".png", ".webp", ".bmp", ".tif"))).write_bytes(data)


def _transparent(rng: Random, image: Image.Image, data: bytes, path: Path) -> None:
    image.putalpha(rng.choice((255, 128, 0)))
    image.save(path.with_suffix(rng.choice((".png", ".tif"))))


def _deep(rng: Random, image: Image.Image, data: bytes, path: Path) -> None:
    """16 bits a channel, of which 8, 12 or all are used; a reader keeps the upper 8 of those."""
    import cv2

    values = np.asarray(image).astype(np.uint16)
    # what uses 11 bits is scaled by 11
    bits = rng.choice((8, 12, 16)) if values.max() >= 128 else 8
    deep = values << (bits - 8)
    cv2.imwrite(str(path.with_suffix(rng.choice((".png", ".tif")))), deep[..., ::-1])


def _linked(rng: Random, image: Image.Image, data: bytes, path: Path) -> None:
    elsewhere = Path("elsewhere")
    elsewhere.mkdir(exist_ok=True)
    (elsewhere / path.name).write_bytes(data)
    path.symlink_to((elsewhere / path.name).absolute())


def _with_clutter(rng: Random, image: Image.Image, data: bytes, path: Path) -> None:
    """What systems and people leave beside it."""
    path.write_bytes(data)
    for name in (f"._{path.name}", ".DS_Store", "Thumbs.db", "notes.txt", f"{path.name}.bak"):
        (path.parent / name).write_bytes(b"\0\1")


def _with_mask(rng: Random, image: Image.Image, data: bytes, path: Path) -> None:
    """Its mask beside it, by the same name."""
    path.write_bytes(data)
    mask = Image.fromarray(np.zeros((image.height, image.width), np.uint8))
    if rng.random() < 0.5:
        mask.putpalette([0, 0, 0, 128, 0, 0])
    mask.save(path.with_suffix(".png"))


SAME: dict[str, Store] = {
    "as PNG": _as(".png"),
    "as interlaced PNG": _as(".png", optimize=True),
    "as BMP": _as(".bmp"),
    "as TIFF": _as(".tif"),
    "as packed TIFF": _as(".tiff", compression="tiff_lzw"),
    "as WebP": _as(".webp", lossless=True),
    "as JPEG 2000": _as(".jp2", irreversible=False),
    "as PPM": _as(".ppm"),
    "as TGA": _as(".tga"),
    "turned by EXIF": _turned,
    "with malformed EXIF": _upright_exif,
    "with bytes behind its end": _trailer,
    "with a comment": _comment,
    "with another suffix of JPEG": _capitals,
    "with the suffix of another format": _other_suffix,
    "with transparency": _transparent,
    "of 16 bits": _deep,
    "as a link": _linked,
    "beside clutter": _with_clutter,
    "beside its mask": _with_mask,
}


def _larger_header(rng: Random, path: Path) -> str:
    """A header that promises more pixels than there are."""
    side = rng.choice((0, 1, 5000, 30_000, 65_535))
    if rng.random() < 0.5:
        data = bytearray(path.read_bytes())
        start = data.find(b"\xff\xc0")
        data[start + 5 : start + 9] = struct.pack(">HH", side, side)
        path.write_bytes(data)
        return f"{path.name} says {side}×{side}"
    Image.new("RGB", (64, 64)).save(path, format="PNG")
    data = bytearray(path.read_bytes())
    side = rng.choice((side, 2**31 - 1, 2**32 - 1))
    data[16:24] = struct.pack(">II", side, side)
    data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    path.write_bytes(data)
    return f"{path.name}, a PNG, says {side}×{side}"
