"""Images with masks: where they lie, that they fit, crops that keep them together."""

import ast
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import wsss
from wsss.data import mask_io
from wsss.data.masks import MaskTrainingSet, has_masks, mask_path, read_pair
from wsss.errors import WsssError


def test_augmented_masks_come_before_the_plain_ones(tiny_voc: Path) -> None:
    plain = tiny_voc / "SegmentationClass"
    plain.mkdir()
    for id_ in ("p1", "p9"):
        mask_io.write_mask(plain / f"{id_}.png", np.zeros((2, 2), np.uint8))
    assert mask_path(tiny_voc, "p1") == tiny_voc / "SegmentationClassAug" / "p1.png"
    assert mask_path(tiny_voc, "p9") == plain / "p9.png"
    with pytest.raises(WsssError, match=r"no mask zz\.png"):
        mask_path(tiny_voc, "zz")


STAGES_OF_TAGS = ("train_cls", "generate_pseudo_masks", "predict")
STAGES = Path(wsss.__file__).parent / "stages"


@pytest.mark.parametrize("stage", STAGES_OF_TAGS)
def test_stages_that_work_from_tags_do_not_come_here(stage: str) -> None:
    source = STAGES / f"{stage}.py"
    if not source.is_file():
        pytest.skip(f"there is no stage {stage}")
    for node in ast.walk(ast.parse(source.read_text())):
        if isinstance(node, ast.ImportFrom):
            names = {f"{node.module}.{alias.name}" for alias in node.names} | {node.module}
        else:
            names = {a.name for a in node.names} if isinstance(node, ast.Import) else set()
        assert "wsss.data.masks" not in names, f"line {node.lineno} of {source.name}"


def test_has_masks(tiny_voc: Path, tmp_path: Path) -> None:
    assert has_masks(tiny_voc)
    (tmp_path / "bare" / "JPEGImages").mkdir(parents=True)
    assert not has_masks(tmp_path / "bare")


def test_pair_of_other_sizes_is_a_sentence(tiny_voc: Path) -> None:
    image_path, mask = tiny_voc / "JPEGImages" / "p1.jpg", mask_path(tiny_voc, "p1")
    image, indices = read_pair(image_path, mask)
    assert (image.shape, indices.shape) == ((24, 32, 3), (24, 32))
    mask_io.write_mask(mask, indices.T)
    with pytest.raises(WsssError, match=r"p1\.png is 24×32 and its image .* 32×24"):
        read_pair(image_path, mask)


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    """An image whose grey value says its mask: 30 × class."""
    mask = np.random.default_rng(0).integers(0, 8, (6, 9)).repeat(8, 0).repeat(8, 1)
    Image.fromarray(np.repeat((mask * 30)[..., None], 3, 2).astype(np.uint8)).save(
        tmp_path / "a.png"
    )
    mask_io.write_mask(tmp_path / "m.png", mask)
    return tmp_path / "a.png", tmp_path / "m.png"


def test_crops_keep_image_and_mask_together(pair: tuple[Path, Path]) -> None:
    data = MaskTrainingSet([pair], 40, 0, jitter=0)
    agreement = []
    for epoch in range(30):
        image, mask, *_ = data[(epoch, 0)]
        assert (image.shape, image.dtype) == ((3, 40, 40), torch.uint8)
        assert (mask.shape, mask.dtype) == ((40, 40), torch.uint8)
        grey, valid = image[0].numpy().astype(int), mask.numpy() != 255
        agreement.append((abs(grey - 30 * mask.numpy().astype(int))[valid] <= 2).mean())
    # only the borders between classes, blurred by resizing, may differ
    assert min(agreement) > 0.5 and np.mean(agreement) > 0.75


def test_large_images_are_reduced_with_all_that_is_read(
    tmp_path: Path, pair: tuple[Path, Path]
) -> None:
    image, small = read_pair(*pair, max_side=36)
    assert image.shape == (24, 36, 3) and read_pair(*pair, max_side=72)[0].shape == (48, 72, 3)
    np.testing.assert_array_equal(image[..., 0], 30 * small)  # blocks of 8 become blocks of 4
    reduced = tmp_path / "b.png", tmp_path / "n.png"
    Image.fromarray(image).save(reduced[0])
    mask_io.write_mask(reduced[1], small)
    large = MaskTrainingSet([pair], 20, 0, max_side=36)
    little = MaskTrainingSet([reduced], 20, 0)
    for a, b in zip(large[(1, 0)], little[(1, 0)], strict=True):
        assert torch.equal(a, b)


def test_a_sample_follows_from_seed_epoch_and_index(pair: tuple[Path, Path]) -> None:
    first, second = (MaskTrainingSet([pair, pair], 16, 1) for _ in range(2))
    second[(0, 1)]
    for a, b in zip(first[(4, 0)], second[(4, 0)], strict=True):
        assert torch.equal(a, b)
    assert not torch.equal(first[(4, 0)][0], first[(5, 0)][0])
    assert not torch.equal(first[(4, 0)][0], first[(4, 1)][0])


@pytest.fixture
def two_pairs(tmp_path: Path) -> list[tuple[Path, Path]]:
    """A grey image of background, and a white one of class 5 with background in its upper half."""
    pairs = []
    for name, grey, labels in (("empty", 100, (0, 0)), ("full", 255, (0, 5))):
        image, mask = np.full((16, 16, 3), grey, np.uint8), np.zeros((16, 16), np.uint8)
        mask[8:] = labels[1]
        image[:8] = 100
        pairs.append((tmp_path / f"{name}_image.png", tmp_path / f"{name}.png"))
        Image.fromarray(image).save(pairs[-1][0])
        mask_io.write_mask(pairs[-1][1], mask)
    return pairs


def pasted(pairs: list[tuple[Path, Path]], **settings: Any) -> list[bool]:
    """Of 40 crops of the first image, whether another's object lies on it."""
    data = MaskTrainingSet(pairs, 16, 0, scale=(1, 1), jitter=0, **settings)
    found = []
    for epoch in range(40):
        image, mask, _ = data[(epoch, 0)]
        assert torch.equal(mask == 5, image[0] == 255)
        found.append(bool((mask == 5).any()))
    return found


def test_objects_of_other_images_are_pasted_on_a_share_of_the_crops(
    two_pairs: list[tuple[Path, Path]],
) -> None:
    assert not any(pasted(two_pairs))
    # every other image that is drawn is the same one
    assert 10 <= sum(pasted(two_pairs, paste=1.0)) <= 30
    assert 2 <= sum(pasted(two_pairs, paste=0.5)) <= 18


def test_an_object_is_not_pasted_where_a_person_vouches_for_one_of_the_masks(
    two_pairs: list[tuple[Path, Path]],
) -> None:
    for pair in two_pairs:
        assert not any(pasted(two_pairs, paste=1.0, trusted=[pair[1]]))
    assert any(pasted(two_pairs, paste=1.0, trusted=[mask for _, mask in two_pairs]))
