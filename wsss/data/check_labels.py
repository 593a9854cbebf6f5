"""Labels that can't teach: what in the tags keeps a classifier from learning, before it trains."""

import re
from collections.abc import Iterator, Sequence
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from wsss.data.images import TaggedDataset

EVERYWHERE = 0.95  # share of images from which a class is hardly ever absent
TOGETHER = 0.9  # Jaccard index of two tags that can't be told apart
FEW = 5  # images of a class that are too few to learn it from
FEW_HELD = 20  # images that an mAP says little on


def label_warnings(tagged: TaggedDataset, holdout: float = 0.0, seed: int = 0) -> list[str]:
    """What in the tags will keep a classifier from learning; sentences with numbers.

    Args:
        tagged: images with tags.
        holdout: share that is held back for the mAP, as `train_cls.holdout`.
        seed: of the draw.
    """
    if not len(tagged):
        return []
    tags = tagged.tag_matrix() > 0
    names = tagged.class_names
    return [
        *_everywhere(tags, names),
        *_rare(tags, names),
        *_together(tags, names),
        *_alike(tags, names),
        *_joined(names),
        *_held_back(tagged, holdout, seed),
    ]


def _everywhere(tags: NDArray[np.bool_], names: Sequence[str]) -> Iterator[str]:
    images = len(tags)
    for name, count in zip(names, tags.sum(0).tolist(), strict=True):
        if images > 1 and count >= EVERYWHERE * images:
            yield (
                f"{name} is in {count} of {images} images: what is in every image can't be told "
                "from its background, and its average precision will be near 100 % whatever is "
                "learnt. Add images without it, a third as many at least."
            )


def _rare(tags: NDArray[np.bool_], names: Sequence[str]) -> Iterator[str]:
    counts = dict(zip(names, tags.sum(0).tolist(), strict=True))
    none = [name for name, count in counts.items() if count == 0]
    if none:
        yield (
            f"{listed(none)} {'is' if len(none) == 1 else 'are'} in no image: nothing will be "
            "learnt of it. Add images, or take it off the classes."
        )
    few = [f"{name} in {count}" for name, count in counts.items() if 0 < count < FEW]
    if few:
        yield (
            f"Few images: {listed(few)}. A class takes {FEW} images at the very least, and "
            "better 50: add images, or merge classes."
        )


def _together(tags: NDArray[np.bool_], names: Sequence[str]) -> Iterator[str]:
    counts = tags.sum(0)
    ones = tags.astype(np.float32)  # exact up to 2²⁴ images, and 8 times as quick as integers
    both = (ones.T @ ones).astype(int)
    for a, b in combinations(range(len(names)), 2):
        either = counts[a] + counts[b] - both[a, b]
        if both[a, b] >= 3 and both[a, b] >= TOGETHER * either:
            yield (
                f"{names[a]} and {names[b]} are together in {both[a, b]} of the {either} images "
                "that have either: tags can't tell which is which. Add images with one alone, or "
                "merge the two."
            )


def _alike(tags: NDArray[np.bool_], names: Sequence[str]) -> Iterator[str]:
    counts = dict(zip(names, tags.sum(0).tolist(), strict=True))
    for one, other in combinations(names, 2):
        if near_duplicates(one, other):
            rare, common = sorted((one, other), key=lambda name: counts[name])
            yield (
                f"{rare} ({counts[rare]} images) and {common} ({counts[common]} images) may be one "
                "class in two spellings: correct the tags if they are."
            )


def _joined(names: Sequence[str]) -> Iterator[str]:
    """Names that other names make up, as separators that weren't recognised leave them."""
    known = {name.casefold() for name in names}
    for name in names:
        parts = [part for part in re.split(r"[\s_:.\-]+", name.casefold()) if part]
        if len(parts) > 1 and all(part in known for part in parts):
            yield (
                f"{name} may be the tags {' and '.join(parts)}: separate them by semicolons if "
                "they are."
            )


def _same_number(one: str, other: str) -> bool:
    try:
        return float(one) == float(other)
    except ValueError:
        return False


def near_duplicates(one: str, other: str) -> bool:
    """Whether two names may be one class: a letter apart, or apart in blanks, marks or a plural."""
    plain = [re.sub(r"[\W_]+", "", name.casefold()) for name in (one, other)]
    stems = [name.removesuffix("s") for name in plain]
    if (
        plain[0] == plain[1]
        or _same_number(one, other)
        or (stems[0] == stems[1] and min(map(len, stems)) >= 2)
    ):
        return True
    a, b = sorted(plain, key=len)
    return len(a) >= 4 and len(b) >= 5 and _one_edit(a, b)


def _one_edit(a: str, b: str) -> bool:
    """Whether `b`, not shorter, is `a` with one letter added, changed, or two swapped."""
    start = next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), len(a))
    x, y = a[start:], b[start:]
    if x[:1].isdigit() or y[:1].isdigit():  # numbered classes are meant so
        return False
    if len(a) < len(b):
        return x == y[1:]
    return x[1:] == y[1:] or (x[:2] == y[1::-1] and x[2:] == y[2:])


def _held_back(tagged: TaggedDataset, holdout: float, seed: int) -> Iterator[str]:
    if not holdout:
        return
    held = tagged.split_holdout(holdout, seed)[1]
    counts = held.tag_matrix().sum(0) if len(held) else np.zeros(len(tagged.class_names))
    missing = [name for name, n in zip(tagged.class_names, counts, strict=True) if n == 0]
    if len(held) < FEW_HELD or missing:
        without = f", none of them with {listed(missing)}" if missing and len(held) else ""
        yield (
            f"{len(held)} images are held back for the mAP{without}: it says little. Raise "
            f"train_cls.holdout (it is {holdout:g}), or judge by the masks."
        )


def listed(names: Sequence[str]) -> str:
    """The first five of some names, and how many more there are."""
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
