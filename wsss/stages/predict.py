"""Stage 4: pictures + segmenter → masks, no tags needed.

Reads `train_seg/model.safetensors` of a run; writes `<out>/<name>.png` in the VOC palette.
"""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from wsss.config import EvaluateConfig, RunConfig
from wsss.crf import DenseCRF
from wsss.data.sources import open_tagged
from wsss.data.tags import IMAGE_SUFFIXES, Picture, read_image
from wsss.data.transforms import normalise
from wsss.engine.checkpoint import load_trained
from wsss.engine.runtime import Runtime, start
from wsss.engine.tracking import track
from wsss.errors import WsssError
from wsss.models.segmenter import Segmenter, build_segmenter, predict_probs
from wsss.run_dir import RunDir, write_json
from wsss.voc import write_mask


def run(
    config: RunConfig,
    images: Path,
    out: Path | None = None,
    overwrite: bool = False,
) -> Path:
    """Segment a picture or a folder of pictures; returns the folder of masks.

    Args:
        config: of the run; its `evaluate` part gives scales, flip and CRF.
        images: picture, or folder searched with its subfolders.
        out: folder of the masks; `predictions/<name of images>` of the run by default.
        overwrite: segment again what has a mask.

    Raises:
        WsssError: no segmenter, no pictures, or pictures that their masks would replace.
    """
    run_dir = RunDir(config.run)
    name = images.stem if images.is_file() else images.resolve().name
    folder = out or run_dir.root / "predictions" / name
    pictures = _find(images, folder)
    for picture in pictures:
        if (folder / f"{picture.id}.png").resolve() == picture.path.resolve():
            raise WsssError(
                f"The mask of {picture.path} would replace it: give an --out that is not the "
                "pictures' own folder."
            )
    weights = run_dir.model("train_seg")
    if out is None and weights.is_file():
        _forget_others(config, pictures, folder, weights)
    _predict(config, pictures, folder, weights, overwrite)
    return folder


def run_split(config: RunConfig, split: str | None = None) -> Path:
    """Segment the pictures of a split into the run folder; returns the folder of masks."""
    run_dir = RunDir(config.run)
    run_dir.require("train_seg", "train-seg")
    split = split or config.data.val_split
    data = open_tagged(config.data, split)
    pictures = data.pictures
    folder = run_dir.prediction(split, "any").parent
    weights = run_dir.model("train_seg")
    _forget_others(config, pictures, folder, weights)
    _predict(config, pictures, folder, weights, overwrite=False, class_names=data.class_names)
    return folder


def _forget_others(
    config: RunConfig, pictures: Sequence[Picture], folder: Path, weights: Path
) -> None:
    """Drop masks of other scales, or of an earlier segmenter: they are made again."""
    settings = folder / "settings.json"
    wanted = config.evaluate.model_dump(mode="json", include={"scales", "flip", "crf"})
    wanted["segmenter"] = weights.stat().st_mtime_ns
    if not settings.is_file() or json.loads(settings.read_text()) != wanted:
        for picture in pictures:
            (folder / f"{picture.id}.png").unlink(missing_ok=True)
        write_json(settings, wanted)


def _predict(
    config: RunConfig,
    pictures: Sequence[Picture],
    folder: Path,
    weights: Path,
    overwrite: bool,
    class_names: Sequence[str] | None = None,
) -> None:
    runtime = start(config.runtime, config.seed)
    model, _ = load_trained(weights, "segmenter", build_segmenter, runtime.device, class_names)
    crf = None if config.evaluate.crf == "none" else DenseCRF(config.evaluate.crf)
    targets = [(picture, folder / f"{picture.id}.png") for picture in pictures]
    todo = [(p, path) for p, path in targets if overwrite or not path.is_file()]
    for picture, path in track(todo, "predict", len(todo)):
        mask = predict_mask(model, read_image(picture.path), config.evaluate, runtime, crf)
        write_mask(path, mask)


def predict_mask(
    model: Segmenter,
    image: NDArray[np.uint8],
    settings: EvaluateConfig,
    runtime: Runtime,
    crf: DenseCRF | None = None,
) -> NDArray[np.uint8]:
    """Segment one picture: (H, W, 3) uint8 RGB → (H, W) uint8 class indices."""
    tensor = normalise(image)[None].to(runtime.device)
    probs = predict_probs(model, tensor, settings.scales, settings.flip)
    if crf is not None:
        pixels = torch.from_numpy(image).permute(2, 0, 1)[None].to(runtime.device)
        probs = crf(pixels, probs[None])[0]
    return probs.argmax(dim=0).cpu().numpy().astype(np.uint8)


def _find(images: Path, masks: Path) -> list[Picture]:
    """The pictures; `masks` may lie among them, and what lies in it is none."""
    if images.is_file():
        return [Picture(images.stem, images, ())]
    if not images.is_dir():
        raise WsssError(f"No picture or folder at {images}: give one that exists.")
    inside = masks.resolve() != images.resolve()
    found = sorted(
        path
        for path in images.rglob("*")
        if path.suffix.lower() in IMAGE_SUFFIXES
        and not path.name.startswith(".")  # what macOS and half-written copies leave
        and not (inside and path.resolve().is_relative_to(masks.resolve()))
    )
    if not found:
        raise WsssError(
            f"{images} holds no pictures ({', '.join(IMAGE_SUFFIXES)}): give a folder that does."
        )
    pictures = {str(p.relative_to(images).with_suffix("")): p for p in found}
    if len(pictures) < len(found):
        lost = next(p for p in found if p not in pictures.values())
        raise WsssError(
            f"{images} holds {lost.name} and another picture of that name, whose masks would have "
            "one name: rename one of them."
        )
    return [Picture(name, path, ()) for name, path in pictures.items()]
