"""Masks, probability maps and archives of masks that other programs wrote."""

import io
import tarfile
from collections.abc import Callable
from pathlib import Path
from random import Random

import numpy as np
from PIL import Image

from robustness.case import Case, case
from robustness.damage import NASTY_TEXTS, damage_bytes, replace_entry

FOLDER = "results/VOC2012/Segmentation/comp6_test_cls"
_TELL = ("check-data", "evaluate", "refine")


def masks(rng: Random, box: Path) -> Case:
    """True masks, or masks to refine, in other modes, of other values, or damaged."""
    reads = rng.choice(("train mask", "val mask", "label"))
    if reads == "label":
        paths = sorted((box / "labels").glob("*.png"))
    else:
        split = reads.removesuffix(" mask")
        paths = sorted((box / "VOC" / "SegmentationClassAug").glob(f"{split}_*"))
    how = rng.randrange(6)
    if how < 2:
        name, store = rng.choice(tuple(SAME.items()))
        for path in paths:
            store(rng, _values(path), path)
        return case(f"masks {name}", reads, means="same", only=_TELL)
    if how == 2:
        return _wrong_values(rng, paths, reads)
    path = rng.choice(paths)
    if how == 3:
        return case(f"{replace_entry(rng, path)} for {path.name}", reads)
    return case(f"{damage_bytes(rng, path)}: {path.name}", reads)


def _values(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.array(image)


Store = Callable[[Random, np.ndarray, Path], None]


def _save(image: Image.Image, path: Path, format: str = "PNG", **options: object) -> None:
    out = io.BytesIO()
    image.save(out, format, **options)
    path.write_bytes(out.getvalue())


def _other_palette(rng: Random, mask: np.ndarray, path: Path) -> None:
    image = Image.fromarray(mask)
    image.putpalette(list(rng.randbytes(768)))
    options = {"transparency": rng.randrange(256)} if rng.random() < 0.5 else {}
    _save(image, path, **options)


def _short_palette(rng: Random, mask: np.ndarray, path: Path) -> None:
    image = Image.fromarray(mask)
    image.putpalette(list(rng.randbytes(3 * (int(mask.max()) + 1))))
    _save(image, path)


SAME: dict[str, Store] = {
    "in grey": lambda rng, mask, path: _save(Image.fromarray(mask), path),
    "of 16 bits": lambda rng, mask, path: _save(Image.fromarray(mask.astype(np.uint16)), path),
    "of 32 bits": lambda rng, mask, path: _save(
        Image.fromarray(mask.astype(np.int32)), path, "TIFF"
    ),
    "with another palette": _other_palette,
    "with a short palette": _short_palette,
    "as TIFF": lambda rng, mask, path: _save(Image.fromarray(mask), path, "TIFF"),
    "as BMP": lambda rng, mask, path: _save(Image.fromarray(mask), path, "BMP"),
}


def _wrong_values(rng: Random, paths: list[Path], reads: str) -> Case:
    change: dict[str, Callable[[np.ndarray], np.ndarray]] = {
        "of 0 and 255": lambda m: np.where((m > 0) & (m < 255), 255, 0).astype(np.uint8),
        "in colours": lambda m: np.stack([m, m // 2, m // 3], -1).astype(np.uint8),
        "of values beyond the classes": lambda m: np.where(m == 1, 90, m).astype(np.uint8),
        "of 16-bit instances": lambda m: m.astype(np.uint16) * 1000,
        "a row short": lambda m: m[:-1],
        "on their side": lambda m: np.ascontiguousarray(np.rot90(m[:, :-2])),
        "times 10": lambda m: np.where(m < 25, m * 10, m).astype(np.uint8),
        "with alpha": lambda m: np.stack([m] * 4, -1).astype(np.uint8),
    }
    what, make = rng.choice(tuple(change.items()))
    for path in paths:
        _save(Image.fromarray(make(_values(path))), path)
    # refine takes labels of any number
    labels = reads == "label" and what in ("of values beyond the classes", "times 10")
    # void alone has nothing to teach, and only the masks that are scored are looked at
    return case(f"masks {what}", reads, means="either" if labels else "refuse", only=_TELL)


def maps(rng: Random, box: Path) -> Case:
    """Probability maps of other types, of no probabilities, or damaged."""
    path = rng.choice(sorted((box / "maps").glob("*.npy")))
    probs = np.load(path)
    how = rng.randrange(4)
    if how == 0:
        same = {
            "float64": probs.astype(np.float64),
            "big-endian": probs.astype(">f4"),
            "in Fortran's order": np.asfortranarray(probs),
        }
        what, other = rng.choice(tuple(same.items()))
        np.save(path, other)
        return case(f"map in {what}", "map", means="same")
    if how == 1:
        path.unlink()
        write = rng.choice((np.savez, np.savez_compressed))
        write(path.with_suffix(".npz"), anything=probs)
        return case("map as .npz", "map", means="same")
    if how == 2:
        wrong = {
            "objects": np.array([{"a": 1}], object),
            "integers": (probs * 10).astype(np.int32),
            "no number": np.full_like(probs, np.nan),
            "infinity": np.where(probs > 0.3, np.inf, probs),
            "logits": np.log(probs),
            "twice the sum": probs * 2,
            "two axes": probs[0],
            "four axes": probs[None],
            "labels last": np.moveaxis(probs, 0, -1)[..., :3],
            "another size": probs[:, :-1],
            "nothing": probs[:, :0],
            "zeros": np.zeros_like(probs),
            "text": np.array(["a", "b"]),
            "300 labels": np.full((300, *probs.shape[1:]), 1 / 300, np.float32),
            "complex numbers": probs.astype(np.complex64),
        }
        what, other = rng.choice(tuple(wrong.items()))
        np.save(path, other)
        return case(f"map of {what}", "map", means="refuse")
    if rng.random() < 0.2:
        return case(f"{replace_entry(rng, path)} for a map", "map")
    if rng.random() < 0.4:
        np.savez_compressed(path.with_suffix(".npz"), x=probs)
        path.unlink()
        path = path.with_suffix(".npz")
    return case(f"{damage_bytes(rng, path)}: {path.suffix} of a map", "map")


def archives(rng: Random, box: Path) -> Case:
    """An archive for VOC's server, packed otherwise, with strange members, or damaged."""
    path = box / "server" / "masks.tar.gz"
    how = rng.randrange(5)
    if how == 0:
        return case(f"{damage_bytes(rng, path)}: archive", "archive")
    if how == 1:
        return case(f"{replace_entry(rng, path)} for the archive", "archive", means="refuse")
    if how == 2:
        ids = box / "server" / "ids.txt"
        if rng.random() < 0.5:
            return case(f"{damage_bytes(rng, ids)}: list of ids", "id list")
        ids.write_text(f"i0\ni1\ni2\n{rng.choice(NASTY_TEXTS)}\n", "utf-8", "surrogatepass")
        return case("an odd id in the list", "id list")
    with tarfile.open(path) as archive:
        held = [(m.name, archive.extractfile(m).read()) for m in archive]  # type: ignore[union-attr]
    if how == 3:
        order = rng.sample(held, len(held))
        mode, format = rng.choice(("w:gz",)), rng.choice((tarfile.PAX_FORMAT, tarfile.GNU_FORMAT))
        with tarfile.open(path, mode, format=format) as archive:
            for name, data in order:
                _add(archive, tarfile.TarInfo(name), data)
        return case("archive in another order and format", "archive", means="same")
    return _strange_member(rng, path, held)


def _add(archive: tarfile.TarFile, member: tarfile.TarInfo, data: bytes) -> None:
    member.size = len(data)
    archive.addfile(member, io.BytesIO(data))


def _strange_member(rng: Random, path: Path, held: list[tuple[str, bytes]]) -> Case:
    png = held[0][1]
    bomb = io.BytesIO()
    Image.new("P", (9000, 9000)).save(bomb, "PNG")
    kinds = {
        "a path above": (f"{FOLDER}/../../x.png", png, tarfile.REGTYPE),
        "an absolute path": ("/tmp/x.png", png, tarfile.REGTYPE),
        "a link": (f"{FOLDER}/l.png", b"", tarfile.SYMTYPE),
        "a hard link": (f"{FOLDER}/l.png", b"", tarfile.LNKTYPE),
        "a device": (f"{FOLDER}/d.png", b"", tarfile.CHRTYPE),
        "a fifo": (f"{FOLDER}/f.png", b"", tarfile.FIFOTYPE),
        "a name twice": (held[0][0], png, tarfile.REGTYPE),
        "a long name": (f"{FOLDER}/{'x' * 5000}.png", png, tarfile.REGTYPE),
        "no image": (f"{FOLDER}/n.png", b"no", tarfile.REGTYPE),
        "half an image": (f"{FOLDER}/n.png", png[: len(png) // 2], tarfile.REGTYPE),
        "a large image": (f"{FOLDER}/n.png", bomb.getvalue(), tarfile.REGTYPE),
        "an odd name": (f"{FOLDER}/\udcff.png", png, tarfile.REGTYPE),
    }
    what, (name, data, kind) = rng.choice(tuple(kinds.items()))
    with tarfile.open(path, "w:gz", errors="surrogateescape") as archive:
        for own, content in held:
            _add(archive, tarfile.TarInfo(own), content)
        member = tarfile.TarInfo(name)
        member.type, member.linkname = kind, "/etc/passwd"
        _add(archive, member, data)
    return case(f"archive with {what}", "archive", means="refuse")
