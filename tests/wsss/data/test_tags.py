"""Tags from XML, and training crops that follow from (seed, epoch, index)."""

import ast
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

import wsss
from wsss.data import augment, images
from wsss.data.images import Sample, TaggedDataset
from wsss.data.tags import TagTrainingSet
from wsss.formats.voc import read_voc


@pytest.mark.parametrize(
    "module",
    [
        *("data/images", "data/image_header", "data/tags", "data/augment", "data/check_labels"),
        *("formats/csv", "formats/csv_table", "formats/image_index", "formats/voc"),
        *("formats/voc_xml", "formats/tag_cell", "formats/text"),
    ],
)
def test_the_room_of_tags_cannot_open_a_mask(module: str) -> None:
    source = (Path(wsss.__file__).parent / f"{module}.py").read_text()
    words = {n.attr for n in ast.walk(ast.parse(source)) if isinstance(n, ast.Attribute)}
    words |= {n.id for n in ast.walk(ast.parse(source)) if isinstance(n, ast.Name)}
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            words |= {alias.name for alias in node.names} | {getattr(node, "module", "") or ""}
    assert not {w for w in words if w in ("read_mask", "read_pair", "mask_path") or "masks" in w}


def training_set(root: Path, **how: object) -> TagTrainingSet:
    return TagTrainingSet(read_voc(root, "train"), 16, 5, **how)  # type: ignore[arg-type]


def test_sample_shapes_and_tags(tiny_voc: Path) -> None:
    image, row = training_set(tiny_voc)[(0, 0)]
    assert (image.shape, image.dtype) == ((3, 16, 16), torch.uint8)
    assert (row.shape, row.dtype) == ((20,), torch.float32)
    assert row.nonzero().flatten().tolist() == [7, 11]


def test_a_sample_follows_from_seed_epoch_and_index(tiny_voc: Path) -> None:
    first, second = training_set(tiny_voc), training_set(tiny_voc)
    second[(0, 1)], second[(3, 0)]  # calls before it change nothing
    assert torch.equal(first[(2, 0)][0], second[(2, 0)][0])
    assert not torch.equal(first[(2, 0)][0], first[(3, 0)][0])
    other_seed = TagTrainingSet(read_voc(tiny_voc, "train"), 16, 6)
    assert not torch.equal(first[(2, 0)][0], other_seed[(2, 0)][0])


def test_a_large_image_is_reduced_first(tiny_voc: Path, tmp_path: Path) -> None:
    large = training_set(tiny_voc, max_side=20)[(3, 0)][0]
    path = tiny_voc / "JPEGImages" / "p1.jpg"
    small = augment.limit_side(images.read_image(path), 20)
    assert small.shape == (15, 20, 3)
    path.unlink()
    Image.fromarray(small).save(path.with_suffix(".png"))
    assert torch.equal(large, training_set(tiny_voc)[(3, 0)][0])


@pytest.mark.slow
def test_workers_give_the_same_samples(tiny_voc: Path) -> None:
    order = [(1, 0), (1, 1), (2, 1), (2, 0)]

    def batches(workers: int) -> torch.Tensor:
        loader = DataLoader(training_set(tiny_voc), sampler=order, num_workers=workers)  # type: ignore[arg-type]
        return torch.cat([image for image, _ in loader])

    assert torch.equal(batches(0), batches(2))


def test_without_augmentation_a_square_image_stays_as_it_is(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    one = TaggedDataset(("x",), (Sample("a", tmp_path / "a.png", (0,)),))
    images = {}
    for flip in (False, True):
        data = TagTrainingSet(one, 16, 0, scale=(99, 99), flip=flip, jitter=0)
        # an area far beyond the image's is clipped to all of it, at any aspect
        shown = [data[(e, 0)][0].permute(1, 2, 0).numpy() for e in range(20)]
        images[flip] = Counter(
            "as it is"
            if (s == pixels).all()
            else "mirrored"
            if (s == pixels[:, ::-1]).all()
            else "?"
            for s in shown
        )
    assert images[False] == {"as it is": 20}
    assert set(images[True]) == {"as it is", "mirrored"} and 4 <= images[True]["mirrored"] <= 16
