"""Scoring: masks of a run against true masks, one confusion matrix over a whole split.

The one stage beside the pictures of `visualize` that opens true masks. Reads seeds, pseudo-masks or
predictions of a run; writes `evaluation/<of>_<split>.json`.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from wsss import seeds
from wsss.cam import resize
from wsss.config import RunConfig
from wsss.data.masks import mask_path, read_pair, true_masks
from wsss.data.sources import open_tagged
from wsss.data.tags import Picture, TaggedPictures
from wsss.engine.runtime import start
from wsss.engine.tracking import track
from wsss.errors import WsssError
from wsss.metrics import ConfusionMatrix
from wsss.run_dir import RunDir, write_json
from wsss.voc import read_mask

Mask = NDArray[np.uint8]
Kind = Literal["cam", "seeds", "pseudo-masks", "predictions"]
KINDS: tuple[Kind, ...] = ("cam", "seeds", "pseudo-masks", "predictions")
SWEEP = np.round(np.arange(0.05, 1.0, 0.05), 2)


def run(config: RunConfig, of: Kind, split: str | None = None) -> Path:
    """Score one kind of mask; returns the path of the scores.

    Args:
        config: of the run.
        of: `cam` (class activation alone), `seeds` (through the slots), `pseudo-masks` or
            `predictions`.
        split: list of pictures; by default `data.val_split` for predictions, else
            `data.score_split`.
    """
    root = true_masks(config.data)
    split = split or (config.data.val_split if of == "predictions" else config.data.score_split)
    run_dir = RunDir(config.run)
    start(config.runtime, config.seed)
    pictures = open_tagged(config.data, split)
    if of in ("cam", "seeds"):
        scores = _score_seeds(config, run_dir, pictures, root, "cam" if of == "cam" else "seed")
    elif of == "pseudo-masks":
        scores = _score_masks(config, pictures, root, run_dir.pseudo_mask)
    else:
        scores = _score_masks(config, pictures, root, lambda i: run_dir.prediction(split, i))
    path = run_dir.evaluation(of, split)
    write_json(
        path,
        {"of": of, "split": split, **scores, "protocol": _protocol(config, of)},
    )
    return path


def kind(name: str) -> Kind:
    """A kind of mask by its name.

    Raises:
        WsssError: there is none of that name.
    """
    for known in KINDS:
        if name == known:
            return known
    raise WsssError(f"--of is {name!r}: expected one of {', '.join(KINDS)}.")


def _score_masks(
    config: RunConfig, pictures: TaggedPictures, root: Path, mask_of: Callable[[str], Path]
) -> dict[str, Any]:
    confusion = _confusion(config, pictures)
    _require([mask_of(p.id) for p in pictures.pictures])
    for picture in track(pictures.pictures, "evaluate", len(pictures)):
        target = read_pair(picture.path, mask_path(root, picture.id))[1]
        confusion.update(target, read_mask(mask_of(picture.id)))
    return _summary(confusion, pictures)


def _score_seeds(
    config: RunConfig, run_dir: RunDir, pictures: TaggedPictures, root: Path, key: str
) -> dict[str, Any]:
    rule = config.pseudo_masks.background
    _require([run_dir.seed(p.id) for p in pictures.pictures])
    confusion = _confusion(config, pictures)
    sweep = [_confusion(config, pictures) for _ in SWEEP]
    for picture in track(pictures.pictures, "evaluate", len(pictures)):
        target = read_pair(picture.path, mask_path(root, picture.id))[1]
        scores, labels = _soft(run_dir, picture, key)
        margins = seeds.margins(scores, rule, target.shape)
        confusion.update(target, seeds.seed_mask(margins, labels))
        full = resize(scores[None], (target.shape[0], target.shape[1]))[0]
        for threshold, matrix in zip(SWEEP, sweep, strict=True):
            matrix.update(target, seeds.seed_mask(full - float(threshold), labels))
    means = [matrix.compute().miou for matrix in sweep]
    best = int(np.nanargmax(means))
    return {
        **_summary(confusion, pictures),
        "oracle": {"threshold": float(SWEEP[best]), "miou": means[best]},
    }


def _soft(run_dir: RunDir, picture: Picture, key: str) -> tuple[torch.Tensor, torch.Tensor]:
    with np.load(run_dir.seed(picture.id)) as soft:
        return torch.from_numpy(soft[key]).float(), torch.from_numpy(soft["labels"])


def _confusion(config: RunConfig, pictures: TaggedPictures) -> ConfusionMatrix:
    return ConfusionMatrix(len(pictures.class_names) + 1, unsure=config.evaluate.unsure)


def _summary(confusion: ConfusionMatrix, pictures: TaggedPictures) -> dict[str, Any]:
    scores = confusion.compute()
    names = ("background", *pictures.class_names)
    iou = {n: None if np.isnan(v) else float(v) for n, v in zip(names, scores.iou, strict=True)}
    return {
        "miou": scores.miou,
        "iou": iou,
        "pixel_accuracy": scores.pixel_accuracy,
        "images": len(pictures),
    }


def _require(paths: list[Path]) -> None:
    missing = [path for path in paths if not path.is_file()]
    if missing:
        raise WsssError(
            f"{len(missing)} of {len(paths)} files to score are missing, the first {missing[0]}: "
            "run the stage that makes them, on a split that holds these pictures."
        )


def _protocol(config: RunConfig, of: Kind) -> dict[str, Any]:
    """What a reader has to know beside the figure."""
    common = {"ignored": 255, "resolution": "original", "seed": config.seed}
    if of == "pseudo-masks" and config.round > 1:
        later = config.self_training.model_dump(mode="json", exclude={"rounds", "start"})
        later |= {"round": config.round, "tags": "given", "unsure": config.evaluate.unsure}
        return {**common, **later}
    masks = config.pseudo_masks
    made = {
        "tags": "given",
        "scales": masks.scales,
        "flip": masks.flip,
        "background": masks.background,
    }
    if of == "cam":
        return {**common, **made, "crf": "none"}
    made["walks"] = [walk.model_dump(exclude_defaults=True) for walk in masks.walks]
    if of == "seeds":
        return {**common, **made, "crf": "none"}
    if of == "pseudo-masks":
        refined = {"crf": masks.crf, "crf_backend": masks.crf_backend}
        unsure = {"confidence": masks.confidence, "unsure": config.evaluate.unsure}
        return {**common, **made, **refined, **unsure}
    settings = config.evaluate
    return {
        **common,
        **({"round": config.round} if config.round > 1 else {}),
        "tags": "not given",
        "scales": settings.scales,
        "flip": settings.flip,
        "crf": settings.crf,
    }
