"""A synthetic data set in VOC layout: textured objects on textured backgrounds.

A class is a shape with a texture; size, rotation, position, colours, light and background
vary, so a class cannot be told by its colours. Everything is painted at twice the size and
averaged down. Rendering is pure; `write_synthetic_voc` writes the files.
"""

import colorsys
import json
import math
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from wsss.data import mask_io
from wsss.errors import WsssError

Field = NDArray[np.float32]  # (H, W), one value per pixel

_OVERSAMPLING = 2

_LEAST_VISIBLE = 0.6  # share of an object that later ones may not cover

# Shapes: from coordinates in units of the object's radius to whether a point is inside.


def _disc(u: Field, v: Field) -> NDArray[np.bool_]:
    return u * u + v * v < 1


def _square(u: Field, v: Field) -> NDArray[np.bool_]:
    return np.maximum(abs(u), abs(v)) < 0.84


def _triangle(u: Field, v: Field) -> NDArray[np.bool_]:
    edges = [math.radians(a) for a in (90, 210, 330)]
    return np.logical_and.reduce([math.cos(a) * u + math.sin(a) * v < 0.6 for a in edges])


def _star(u: Field, v: Field) -> NDArray[np.bool_]:
    # five spikes; between a spike and the notch beside it the outline is a straight line
    sector = math.pi / 5
    angle = np.abs((np.arctan2(v, u) + sector) % (2 * sector) - sector)
    r, notch = np.hypot(u, v) / 1.1, 0.5
    x, y = r * np.cos(angle), r * np.sin(angle)
    nx, ny = notch * math.cos(sector), notch * math.sin(sector)
    return np.asarray((x - 1) * ny - y * (nx - 1) < 0, np.bool_)


def _ellipse(u: Field, v: Field) -> NDArray[np.bool_]:
    return u * u + (v / 0.62) ** 2 < 1


# Textures: from the same coordinates to how much of the second colour a point has, in [0, 1].


def _edge(wave: Field) -> Field:
    """A sine wave turned into two flat tones with soft borders."""
    return np.clip(0.5 + 2.5 * wave, 0, 1).astype(np.float32)


def _stripes(u: Field, v: Field, pitch: float) -> Field:
    return _edge(np.sin(2 * math.pi * u / pitch))


def _chequers(u: Field, v: Field, pitch: float) -> Field:
    return _edge(np.sin(math.pi * u / pitch) * np.sin(math.pi * v / pitch) * 2)


def _dots(u: Field, v: Field, pitch: float) -> Field:
    x, y = (u / pitch) % 1 - 0.5, (v / pitch) % 1 - 0.5
    return _edge((0.3 - np.hypot(x, y)) * 3)


def _zigzags(u: Field, v: Field, pitch: float) -> Field:
    saw = abs((u / pitch) % 1 - 0.5) * pitch * 2
    return _edge(np.sin(2 * math.pi * (v + saw) / pitch))


def _rings(u: Field, v: Field, pitch: float) -> Field:
    return _edge(np.sin(2 * math.pi * np.hypot(u, v / 0.62) / pitch))


Shape = Callable[[Field, Field], NDArray[np.bool_]]

Texture = Callable[[Field, Field, float], Field]

CLASSES: dict[str, tuple[Shape, Texture, float]] = {
    "striped_disc": (_disc, _stripes, 0.42),
    "chequered_square": (_square, _chequers, 0.3),
    "dotted_triangle": (_triangle, _dots, 0.36),
    "zigzag_star": (_star, _zigzags, 0.4),
    "ringed_ellipse": (_ellipse, _rings, 0.36),
}

CLASS_NAMES: tuple[str, ...] = tuple(CLASSES)


@dataclass(frozen=True)
class _Object:
    """An object ready to be painted.

    Attributes:
        index: of its class, 0-based.
        inside: (H, W) bool, where it would be seen if nothing covered it.
        u, v: (H, W) coordinates in units of its radius.
    """

    index: int
    inside: NDArray[np.bool_]
    u: Field
    v: Field


def render_image(
    size: int, first_class: int, rng: np.random.Generator
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Renders one image with one to three objects.

    Args:
        size: side in pixels, at least 32.
        first_class: 0-based class of one of the objects; the others are chosen at random.
        rng: source of all randomness.

    Returns:
        (size, size, 3) uint8 RGB, and (size, size) uint8 with 0 background, class index + 1.
    """
    side = size * _OVERSAMPLING
    image = _background(side, rng)
    owner = np.zeros((side, side), np.uint8)  # number of the object seen at a pixel
    objects = _place(side, first_class, rng)
    for number, thing in enumerate(objects, 1):
        _paint(image, thing, rng)
        owner[thing.inside] = number
    grain = rng.normal(0, 0.02, (size, size, 1)).astype(np.float32)
    small = cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA) + grain
    classes = np.array([0, *(thing.index + 1 for thing in objects)], np.uint8)
    mask = _majority(classes[owner], len(CLASS_NAMES) + 1)
    return (small.clip(0, 1) * 255).round().astype(np.uint8), mask


def _majority(mask: NDArray[np.uint8], num_classes: int) -> NDArray[np.uint8]:
    """Of each 2×2 block the class that has most of it, the lower one if two have as much."""
    step = _OVERSAMPLING
    blocks = [mask[i::step, j::step] for i in range(step) for j in range(step)]
    votes = np.stack([sum((b == c).astype(np.uint8) for b in blocks) for c in range(num_classes)])
    return votes.argmax(0).astype(np.uint8)


def _place(side: int, first_class: int, rng: np.random.Generator) -> list[_Object]:
    """One to three objects, each still seen by more than half once the later ones cover it."""
    wanted = int(rng.choice([1, 2, 3], p=[0.4, 0.4, 0.2]))
    placed: list[_Object] = []
    for n in range(wanted):
        index = first_class if n == 0 else int(rng.integers(len(CLASS_NAMES)))
        for _ in range(20):
            thing = _candidate(side, index, wanted, rng)
            if all(_visible(p, [*placed[k + 1 :], thing]) for k, p in enumerate(placed)):
                placed.append(thing)
                break
    return placed


def _visible(thing: _Object, above: list[_Object]) -> bool:
    covered = np.logical_or.reduce([other.inside for other in above])
    seen = (thing.inside & ~covered).sum()
    return bool(seen >= _LEAST_VISIBLE * thing.inside.sum())


def _candidate(side: int, index: int, crowd: int, rng: np.random.Generator) -> _Object:
    radius = side * rng.uniform(0.2, (0.33, 0.29, 0.25)[crowd - 1])
    x, y = rng.uniform(0.8 * radius, side - 0.8 * radius, 2)
    angle = rng.uniform(0, 2 * math.pi)
    rows, columns = np.mgrid[:side, :side].astype(np.float32) + 0.5
    dx, dy = (columns - x) / radius, (rows - y) / radius
    u = (math.cos(angle) * dx + math.sin(angle) * dy).astype(np.float32)
    v = (math.cos(angle) * dy - math.sin(angle) * dx).astype(np.float32)
    shape = CLASSES[CLASS_NAMES[index]][0]
    return _Object(index, shape(u, v), u, v)


def _paint(image: Field, thing: _Object, rng: np.random.Generator) -> None:
    """Paints an object with a soft shadow under it and light from one side, in place."""
    drop = max(1, len(image) // 64)
    box = _box(thing.inside, 5 * drop)
    under, inside, u, v = (
        image[box],
        thing.inside[box].astype(np.float32),
        thing.u[box],
        thing.v[box],
    )
    shadow = np.zeros_like(inside)
    shadow[drop:, drop:] = inside[:-drop, :-drop]
    under *= 1 - 0.45 * cv2.GaussianBlur(shadow, (0, 0), drop)[..., None]
    _, texture, pitch = CLASSES[CLASS_NAMES[thing.index]]
    share = texture(u, v, pitch * rng.uniform(0.85, 1.2))[..., None]
    light, dark = _two_tones(rng)
    angle = rng.uniform(0, 2 * math.pi)
    shade = 1 + 0.16 * (math.cos(angle) * u + math.sin(angle) * v)
    rim = cv2.GaussianBlur(inside, (0, 0), drop * 1.5)
    body = (light + (dark - light) * share) * (shade * (0.6 + 0.4 * rim))[..., None]
    np.copyto(under, body, where=thing.inside[box][..., None])


def _box(inside: NDArray[np.bool_], margin: int) -> tuple[slice, slice]:
    """Rows and columns that hold all of `inside`, with a margin where there is room."""
    spans = (np.flatnonzero(inside.any(axis)) for axis in (1, 0))
    rows, columns = (slice(max(0, s[0] - margin), s[-1] + 1 + margin) for s in spans)
    return rows, columns


def _two_tones(rng: np.random.Generator) -> tuple[Field, Field]:
    """A light and a dark colour of two hues."""
    hue, turn = rng.random(), rng.uniform(0.1, 0.9)
    light = colorsys.hsv_to_rgb(hue, rng.uniform(0.1, 0.7), rng.uniform(0.8, 1))
    dark = colorsys.hsv_to_rgb((hue + turn) % 1, rng.uniform(0.4, 0.95), rng.uniform(0.15, 0.5))
    return np.array(light, np.float32), np.array(dark, np.float32)


def _background(side: int, rng: np.random.Generator) -> Field:
    """(side, side, 3) in [0, 1]: two colours mixed by clouds, fibres or bands, lit unevenly."""
    hue = rng.random()
    tones = [
        np.array(colorsys.hsv_to_rgb((hue + t) % 1, rng.uniform(0.1, 0.55), value), np.float32)
        for t, value in (
            (0, rng.uniform(0.3, 0.55)),
            (rng.uniform(-0.2, 0.2), rng.uniform(0.5, 0.85)),
        )
    ]
    stretch = rng.choice([1, 1, 5])  # 5: fibres, like grass or brushed wood
    mix = _noise(side, rng, int(stretch))
    if rng.random() < 0.3:  # bands that wind, like wood or marble
        mix = (0.5 + 0.5 * np.sin(2 * math.pi * rng.uniform(1, 2.5) * mix * 2)).astype(np.float32)
    light = 1 + 0.25 * (_noise(side, rng, 1, octaves=1) - 0.5)
    field = tones[0] * (1 - mix[..., None]) + tones[1] * mix[..., None]
    return np.ascontiguousarray(field * light[..., None], np.float32)


def _noise(side: int, rng: np.random.Generator, stretch: int, octaves: int = 5) -> Field:
    """(side, side) in [0, 1]: grids of chance, each twice as fine and 0.6 as strong, added up."""
    total = np.zeros((side, side), np.float32)
    for octave in range(octaves):
        fine = 3 * 2**octave
        grid = rng.random((fine * stretch, fine)).astype(np.float32)
        total += 0.6**octave * cv2.resize(grid, (side, side), interpolation=cv2.INTER_CUBIC)
    if rng.random() < 0.5:
        total = np.ascontiguousarray(total.T)
    low, high = float(total.min()), float(total.max())
    return (total - low) / (high - low)


_MARKER = "drawn.json"

_FOLDERS = ("JPEGImages", "Annotations", "SegmentationClassAug", "ImageSets")

_EDITION = 3  # raised whenever the same seed would give other images


def write_synthetic_voc(
    root: Path, *, train: int, val: int, size: int = 128, seed: int = 0
) -> None:
    """Draws the data set, unless it is there already.

    An image depends on (seed, split, number) alone: rendering it again gives the same bytes,
    and a larger set begins with the smaller one. The lists `train` and `train_aug` are the same;
    the classes take turns, so each occurs in every five images. A set that is incomplete, or was
    made with other settings, is rendered from scratch.

    Args:
        root: folder of the data set; made if need be.
        train: images to train on.
        val: images to score on.
        size: side of an image in pixels, at least 32.
        seed: another one gives other images.

    Raises:
        ValueError: a count below 1 or a size below 32.
        WsssError: `root` holds files that were not written here, or cannot be written.
    """
    if train < 1 or val < 1 or size < 32:
        raise ValueError(f"train={train}, val={val}, size={size}; expected 1, 1, 32 at least")
    wanted = {"edition": _EDITION, "train": train, "val": val, "size": size, "seed": seed}
    marker = root / _MARKER
    if _read_marker(marker) == {**wanted, "finished": True}:
        return
    if root.is_dir() and any(root.iterdir()) and not marker.is_file():
        raise WsssError(
            f"{root} holds files that this program did not write; expected a new or empty "
            "folder for the synthetic data set: name another one."
        )
    try:
        root.mkdir(parents=True, exist_ok=True)
        marker.write_text(json.dumps({**wanted, "finished": False}))
        for folder in _FOLDERS:
            shutil.rmtree(root / folder, ignore_errors=True)
            (root / folder).mkdir()
        _draw_all(root, {"train": train, "val": val}, size, seed)
        marker.write_text(json.dumps({**wanted, "finished": True}))
    except OSError as error:
        raise WsssError(
            f"The synthetic data set cannot be written to {root} ({error.strerror}); expected a "
            "writable folder with free space: make room or name another one."
        ) from error


def _read_marker(marker: Path) -> object:
    try:
        return json.loads(marker.read_text())
    except (OSError, ValueError):
        return None


def _draw_all(root: Path, counts: dict[str, int], size: int, seed: int) -> None:
    lists = root / "ImageSets" / "Segmentation"
    lists.mkdir()
    (root / "class_names.txt").write_text("".join(f"{name}\n" for name in CLASS_NAMES))
    for number, (split, count) in enumerate(counts.items()):
        ids = [f"{split}_{i:05d}" for i in range(count)]
        for i, id_ in enumerate(ids):
            rng = np.random.default_rng((seed, number, i))
            _write(root, id_, *render_image(size, i % len(CLASS_NAMES), rng))
        (lists / f"{split}.txt").write_text("".join(f"{id_}\n" for id_ in ids))
    shutil.copyfile(lists / "train.txt", lists / "train_aug.txt")


def _write(root: Path, id_: str, image: NDArray[np.uint8], mask: NDArray[np.uint8]) -> None:
    Image.fromarray(image).save(root / "JPEGImages" / f"{id_}.jpg", quality=92)
    mask_io.write_mask(root / "SegmentationClassAug" / f"{id_}.png", mask)
    (root / "Annotations" / f"{id_}.xml").write_text(_annotation(id_, mask))


def _annotation(id_: str, mask: NDArray[np.uint8]) -> str:
    """The XML of an image: size, and the name of every class that can be seen in it."""
    height, width = mask.shape
    names = [CLASS_NAMES[value - 1] for value in np.unique(mask) if value > 0]
    objects = "".join(f"\t<object>\n\t\t<name>{name}</name>\n\t</object>\n" for name in names)
    return (
        f"<annotation>\n\t<filename>{id_}.jpg</filename>\n\t<size>\n\t\t<width>{width}</width>\n"
        f"\t\t<height>{height}</height>\n\t\t<depth>3</depth>\n\t</size>\n{objects}</annotation>\n"
    )
