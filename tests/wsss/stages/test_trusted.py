"""Stage 3 with masks that a person vouches for: what they replace, cost, and make stale."""

from pathlib import Path

import numpy as np
import pytest
import torch

from wsss import preflight
from wsss.config import MaskLossConfig, RunConfig
from wsss.data.images import TaggedDataset
from wsss.data.mask_io import read_mask, write_mask
from wsss.data.open import open_tagged
from wsss.errors import WsssError
from wsss.formats.mask_list import MaskToWrite, Writing
from wsss.formats.mask_registry import WRITERS
from wsss.formats.target import Target
from wsss.models.mask_loss import mask_loss
from wsss.run.state import Run
from wsss.stages import generate_pseudo_masks, train_cls, train_seg
from wsss.stages.check_data import run as check_data


@pytest.fixture
def masks(run: RunConfig, tmp_path: Path) -> Path:
    """A person's masks of two images: one whole, one painted in part."""
    folder = tmp_path / "by_hand"
    for number, sample in enumerate(images(run).samples[:2]):
        mask = read_mask(Run(run.run).pseudo_mask(sample.id))
        mask[:], mask[:4, :4] = (0, 255)[number], sample.tags[0] + 1 if sample.tags else 0
        write_mask(folder / f"{sample.id}.png", mask)
    return folder


def images(config: RunConfig) -> TaggedDataset:
    return open_tagged(config.data, config.data.mask_split)


def with_trusted(config: RunConfig, source: Path | None) -> RunConfig:
    data = config.data.model_copy(update={"trusted": source})
    return config.model_copy(update={"data": data})


def test_trusted_masks_make_the_segmenter_stale_and_nothing_else(
    run: RunConfig, masks: Path
) -> None:
    trusting = with_trusted(run, masks)
    with pytest.raises(WsssError, match=r"data\.trusted=None, now it is 'by_hand'"):
        train_seg.run(trusting)
    before = Run(run.run).model("train_seg").read_bytes()
    classifier = Run(run.run).model("train_cls").stat().st_mtime_ns
    assert train_seg.run(trusting, overwrite=True).read_bytes() != before
    for stage in (train_cls, generate_pseudo_masks, train_seg):
        stage.run(trusting)  # all are finished
    sample = images(run).samples[0]
    mask = read_mask(masks / f"{sample.id}.png")
    mask[-1, -1] = 255
    write_mask(masks / f"{sample.id}.png", mask)
    with pytest.raises(WsssError, match=r"by_hand holds now.*train-seg"):
        train_seg.run(trusting)
    train_seg.run(trusting, overwrite=True)
    assert Run(run.run).model("train_cls").stat().st_mtime_ns == classifier


def test_trusted_masks_take_the_place_of_pseudo_masks(run: RunConfig, masks: Path) -> None:
    trusting = with_trusted(run, masks)
    found = train_seg.trusted_masks(trusting, images(run))
    first, second = (sample.id for sample in images(run).samples[:2])
    assert found == {id_: masks / f"{id_}.png" for id_ in (first, second)}
    assert train_seg.trusted_masks(run, images(run)) == {}


@pytest.mark.parametrize("to", ["coco", "cvat", "voc"])
def test_trusted_masks_come_in_any_format(
    run: RunConfig, masks: Path, tmp_path: Path, to: str
) -> None:
    tagged, classes = images(run), images(run).class_names
    entries = [
        MaskToWrite(s.id, n, f"{s.id}.jpg", None, read_mask(masks / f"{s.id}.png"))
        for n, s in enumerate(tagged.samples[:1], 1)
    ]
    # the person's tool has the classes in another order
    other = tuple(reversed(classes))
    values = np.array([0, *(other.index(name) + 1 for name in classes)], np.uint8)
    turned = [one._replace(mask=values[one.mask]) for one in entries]
    WRITERS[to](turned, Writing(other), Target(tmp_path / to))
    (id_, path), *rest = train_seg.trusted_masks(with_trusted(run, tmp_path / to), tagged).items()
    assert not rest and path.name == f"{id_}.png"
    assert path.parents[1] == Run(run.run).trusted_copies
    np.testing.assert_array_equal(read_mask(path), entries[0].mask)


def test_later_rounds_train_on_trusted_masks(run: RunConfig, masks: Path) -> None:
    later = with_trusted(run, masks).model_copy(update={"run": run.run / "round_2", "round": 2})
    found = train_seg.trusted_masks(later, images(run))
    assert set(found.values()) == set(masks.glob("*.png"))


def test_mask_loss_of_trusted_crops_is_plain_cross_entropy() -> None:
    logits = torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    target = torch.zeros(2, 4, 4, dtype=torch.int64)
    target[:, :2] = 1
    target[:, 0, 0] = 255
    noisy, plain = MaskLossConfig(), MaskLossConfig(kind="cross_entropy")
    yes, no = torch.tensor([True, True]), torch.tensor([False, False])
    torch.testing.assert_close(
        mask_loss(noisy, logits, target, trusted=yes), mask_loss(plain, logits, target)
    )
    torch.testing.assert_close(
        mask_loss(noisy, logits, target, trusted=no), mask_loss(noisy, logits, target)
    )


FAULTS = {
    "size": (np.zeros((3, 3), np.uint8), "is 3×3 and its image"),
    "value": (None, "holds the value 77"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_wrong_trusted_mask_is_named_before_training(
    run: RunConfig, masks: Path, fault: str
) -> None:
    mask, named = FAULTS[fault]
    sample = images(run).samples[0]
    path = masks / f"{sample.id}.png"
    write_mask(path, np.full_like(read_mask(path), 77) if mask is None else mask)
    trusting = with_trusted(run, masks)
    with pytest.raises(WsssError, match=named):
        train_seg.trusted_masks(trusting, images(run))
    with pytest.raises(WsssError, match=named):
        preflight.check(trusting)
    (problem,) = check_data(trusting.data)
    assert problem.startswith("trusted mask: ") and named in problem


def test_trusted_masks_of_no_image_are_refused(run: RunConfig, tmp_path: Path) -> None:
    write_mask(tmp_path / "other/x.png", np.zeros((3, 3), np.uint8))
    for source, named in ((tmp_path / "other", "no mask of any"), (tmp_path / "gone", "not exist")):
        with pytest.raises(WsssError, match=named):
            train_seg.run(with_trusted(run, source), overwrite=True)
    assert Run(run.run).finished("train_seg")
