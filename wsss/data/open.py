"""The images that a config names: a split of a VOC or COCO folder, or one's own with tags."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from wsss.config import DataConfig
from wsss.data.images import TaggedDataset
from wsss.errors import WsssError
from wsss.formats.coco_layout import coco_ids, is_coco, read_coco
from wsss.formats.own_images import read_folder
from wsss.formats.voc import read_voc, split_ids
from wsss.run.fingerprint import path_digest


def open_tagged(data: DataConfig, split: str) -> TaggedDataset:
    """Images with tags.

    Args:
        data: where they are.
        split: of a VOC or COCO folder; one's own images have no splits, all are taken.

    Raises:
        WsssError: the folder, the list, an image or a tag is missing or wrong.
    """
    if data.images is not None and data.tags is not None:
        return read_folder(data.images, data.tags, data.class_names, data.tags_format)
    assert data.root is not None  # DataConfig has one source
    if not data.root.is_dir():
        raise WsssError(
            f"No folder at data.root={data.root}: give a folder in VOC layout "
            "(wsss fetch-voc downloads VOC 2012) or in COCO's (wsss fetch-coco)."
        )
    return read_coco(data.root, split) if is_coco(data.root) else read_voc(data.root, split)


def list_ids(root: Path, split: str) -> tuple[str, ...]:
    """Ids of the images of a split, in its order.

    Args:
        root: folder in VOC's or COCO's layout.
        split: of it.

    Raises:
        WsssError: there is no such list, or it is wrong.
    """
    return coco_ids(root, split) if is_coco(root) else split_ids(root, split)


def open_stage(data: DataConfig, seed: int, stage: str) -> tuple[TaggedDataset, dict[str, str]]:
    """The images that a stage is made from, and what tells whether they have changed since.

    Args:
        data: where they are.
        seed: as `choose_masked` takes it.
        stage: `train_cls`, `pseudo_masks` or `train_seg`.

    Returns:
        The images, and stage → digest, of all stages that are made from the list that was read.
    """
    split = data.train_split if stage == "train_cls" else data.mask_split
    listed = open_tagged(data, split)
    masked, digests = listed, {}
    if data.root is None or split == data.train_split:
        digests["train_cls"] = listed.digest()
    if data.root is None or split == data.mask_split:
        masked = choose_masked(data, seed, listed)
        digests |= dict.fromkeys(("pseudo_masks", "train_seg"), masked.digest())
    if data.trusted is not None and "train_seg" in digests:
        if not data.trusted.exists():
            raise WsssError(
                f"The trusted masks {data.trusted} do not exist; expected a file or folder: check "
                "data.trusted."
            )
        digests["train_seg"] += f"+{path_digest(data.trusted)}"
    return listed if stage == "train_cls" else masked, digests


def choose_masked(data: DataConfig, seed: int, tagged: TaggedDataset) -> TaggedDataset:
    """Images that get pseudo-masks: all of `mask_split`, or as many as `mask_images` says.

    Args:
        data: where they are.
        seed: of the draw among those that aren't in `score_split`.
        tagged: all of `mask_split`.
    """
    if data.mask_images is None or data.mask_images >= len(tagged):
        return tagged
    scored = set(list_ids(data.root, data.score_split)) if data.root else set()
    drawn = np.random.default_rng(seed).permutation(len(tagged))
    # stable: the drawn order stays among those that are scored, and among the others
    order = sorted(drawn, key=lambda i: tagged.samples[i].id not in scored)
    chosen = sorted(order[: data.mask_images])
    return replace(tagged, samples=tuple(tagged.samples[i] for i in chosen))
