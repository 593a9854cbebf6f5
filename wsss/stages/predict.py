"""Stage 4: images + segmenter → masks, no tags needed.

Reads `train_seg/model.safetensors` of a run and the classifier `train_cls/model.safetensors`, or a
model file without a run; writes `<out>/<name>.png` in the VOC palette, and `<out>/scores.csv`: how
uncertain each mask is.
"""

import sys
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

from torch import nn

from wsss.config import PredictionMode, RunConfig
from wsss.config.schema import PredictConfig
from wsss.data.find_images import describe_left_out, find_images, one_of_each_name, without_suffix
from wsss.data.image_header import IMAGE_SUFFIXES
from wsss.data.images import Sample, read_image
from wsss.data.mask_io import (
    read_mask,
    read_origin,
    refuse_other_class_names,
    refuse_to_replace,
    write_class_names,
    write_mask,
)
from wsss.data.open import open_tagged
from wsss.data.scores import refuse_other_scores, write_scores
from wsss.engine.inference import (
    Loaded,
    Steps,
    costly_first,
    dealt,
    load,
    network_autocast,
    process,
    to_device,
)
from wsss.engine.runtime import Runtime, join, start
from wsss.engine.team import Team
from wsss.errors import WsssError
from wsss.export.load import CARD_FILE, Card, model_files, open_network
from wsss.files import real_path, refuse_to_overwrite
from wsss.models.doubts import require_finite
from wsss.models.gate import GATE_FILE, Gate, gate_of, why_no_gate
from wsss.models.inference import Prediction, predict_images
from wsss.models.segmenter import build_segmenter
from wsss.models.start_from import PACKAGED, packaged_segmenter
from wsss.models.trained import load_segmenter
from wsss.report.overlay import is_overlay, write_overlay
from wsss.run.fingerprint import content_digest, origin_of
from wsss.run.state import Run

_OVERLAYS = "overlays/"


def run(
    config: RunConfig,
    images: Path | Sequence[Path],
    out: Path | None = None,
    overwrite: bool = False,
    model: Path | None = None,
    overlay: bool = False,
) -> Path:
    """Segment images or a folder of them; returns the folder of masks.

    Args:
        config: of the run; its `evaluate` part gives scales, flip, CRF, tiles and largest side.
        images: images, or a folder searched with its subfolders.
        out: folder of the masks; `predictions/<name of images>` of the run by default, by the
            folder of the first where there are several.
        overwrite: segment again what has a mask of this image, model and settings, and replace
            masks that were not made here; one of another image, model or settings is recomputed in
            any case.
        model: file or folder of a model, in place of the run's.
        overlay: also draw every mask over its image, in `overlays/<name>.jpg` of the folder.

    Raises:
        WsssError: no segmenter, no images, images that their masks would replace, or files that
            were not made here in the place of masks or overlays.
    """
    team = join()
    run = Run(config.run)
    if isinstance(images, Path) or len(images) == 1:
        named = images if isinstance(images, Path) else images[0]
    else:
        named = images[0].parent
    name = named.stem if named.is_file() else real_path(named).name
    folder = out or run.predictions(name)
    with team.together():
        samples, notes = find(images, folder)
        for sample in samples:
            refuse_to_overwrite(sample.path, folder / f"{sample.id}.png", "The mask", "images'")
            refuse_to_overwrite(sample.path, _overlay(folder, sample), "The overlay", "images'")
    team.require_equal(lambda: [sample.id for sample in samples], f"The list of images in {named}")
    if not overwrite:
        team.once(lambda: refuse_to_replace(folder / f"{sample.id}.png" for sample in samples))
    if overlay and not overwrite:
        drawn = [_overlay(folder, sample) for sample in samples]
        team.once(lambda: refuse_to_replace(drawn, is_overlay))
    for note in notes if team.is_main else ():
        print(f"predict  {note}", file=sys.stderr)
    weights = model or run.model("train_seg")
    with team.together():
        runtime = start(config.runtime, config.seed)
        network, card = open_network(weights, build_segmenter, runtime.device)
        names = card["class_names"]
        engine = _engine(config, runtime, network, model_files(weights), card, model)
    if not overwrite:
        team.once(lambda: refuse_other_class_names(folder, names))
        team.once(lambda: refuse_other_scores(folder))
    _predict(config, engine, samples, {config.evaluate.own: folder}, overwrite)
    team.once(lambda: write_class_names(folder, names))
    team.once(lambda: write_scores(folder, names))
    if overlay:
        _draw_overlays(team, samples, folder, names)
    return folder


def _overlay(folder: Path, sample: Sample) -> Path:
    return folder / _OVERLAYS / f"{sample.id}.jpg"


def _draw_overlays(
    team: Team, samples: Sequence[Sample], folder: Path, names: Sequence[str]
) -> None:
    """Draw what is missing, or older than its mask; what was left out has no mask."""
    pairs = [
        (sample.path, folder / f"{sample.id}.png", _overlay(folder, sample)) for sample in samples
    ]

    def missing() -> list[int]:
        return [
            i
            for i, (_, mask, path) in enumerate(pairs)
            if mask.is_file() and not _newer(path, mask)
        ]

    for i in dealt(team.once(missing), team, "overlays"):
        image, mask, path = pairs[i]
        write_overlay(path, read_image(image), read_mask(mask), names)
    team.gather(None)  # all are drawn


def _newer(path: Path, than: Path) -> bool:
    return path.is_file() and path.stat().st_mtime_ns >= than.stat().st_mtime_ns


def run_split(
    config: RunConfig, split: str | None = None, ids: Collection[str] | None = None
) -> Path:
    """Segment the images of a split into the run folder, in every column of the evaluation.

    Args:
        config: of the run.
        split: list of images; None takes `data.val_split`.
        ids: of the images in it that are segmented; None takes all.

    Returns:
        The folder of the masks that the config's own scales, flip and CRF make.
    """
    team = join()
    run = Run(config.run)
    team.once(lambda: run.require("train_seg"))
    split = split or config.data.val_split
    with team.together():
        data = open_tagged(config.data, split)
        if ids is not None:
            data = replace(data, samples=tuple(s for s in data.samples if s.id in ids))
    place = config.data.tags or config.data.root
    team.require_equal(data.digest, f"The split {split} of {place}")
    columns = config.evaluate.columns()
    paths = run.columns(config.evaluate, split)
    folders = {columns[name]: path for name, path in paths.items()}
    weights = run.model("train_seg")
    for folder in folders.values():
        team.once(partial(refuse_other_scores, folder))
        masks = [folder / f"{sample.id}.png" for sample in data.samples]
        team.once(partial(refuse_to_replace, masks))
    with team.together():
        runtime = start(config.runtime, config.seed)
        network, metadata = load_segmenter(weights, runtime.device, data.class_names)
        engine = _engine(config, runtime, network, [weights], metadata)
    _predict(config, engine, data.samples, folders, overwrite=False)
    for folder in folders.values():
        team.once(partial(write_class_names, folder, data.class_names))
        team.once(partial(write_scores, folder, data.class_names))
    return folders[config.evaluate.own]


def shipped_model() -> Path:
    """The model that comes with the package.

    Raises:
        WsssError: this copy of the package has none.
    """
    path = packaged_segmenter()
    if path is None:
        raise WsssError(
            f"No model was given, and this package comes without weights/{PACKAGED}: add --model "
            "with a model file, or name the folder of a run and give the images by --images."
        )
    return path


class _Engine(NamedTuple):
    """What makes masks.

    Attributes:
        runtime: where.
        network: the segmenter.
        gate: the classifier that says which classes may be there.
        digest: of both.
    """

    runtime: Runtime
    network: nn.Module
    gate: Gate | None
    digest: str


def _engine(
    config: RunConfig,
    runtime: Runtime,
    network: nn.Module,
    weights: Sequence[Path],
    card: Card,
    model: Path | None = None,
) -> _Engine:
    """A segmenter with the classifier of its run, or the one that lies beside its file."""
    classifier = Run.of_round(config, 1).model("train_cls")
    if model is not None:
        run = model.is_dir() and not (model / CARD_FILE).is_file()
        beside = model if model.is_dir() else model.parent
        classifier = Run(model).model("train_cls") if run else beside / GATE_FILE
    gate = gate_of(config, card, runtime.device, classifier)
    if gate is None and config.evaluate.gate and runtime.team.is_main:
        print(f"predict  {why_no_gate(classifier)}: any class may be found", file=sys.stderr)
    files = weights if gate is None else [*weights, classifier]
    return _Engine(runtime, network, gate, content_digest(files))


def _predict(
    config: RunConfig,
    engine: _Engine,
    samples: Sequence[Sample],
    folders: Mapping[PredictionMode, Path],
    overwrite: bool,
) -> None:
    """Make the masks that are missing, or were made of another image or model, or otherwise."""
    settings = config.evaluate.model_dump(mode="json", include=set(PredictConfig.model_fields))
    runtime, tile = engine.runtime, config.evaluate.tile

    def missing() -> dict[int, Targets]:
        found: dict[int, Targets] = {}
        for index, sample in enumerate(samples):
            wanted = {
                mode: (
                    folder / f"{sample.id}.png",
                    origin_of(
                        [sample.path], {**settings, **mode._asdict(), "model": engine.digest}
                    ),
                )
                for mode, folder in folders.items()
            }
            lacking = {
                mode: (path, origin)
                for mode, (path, origin) in wanted.items()
                if overwrite or read_origin(path) != origin
            }
            if lacking:
                found[index] = lacking
        order = costly_first(list(found), samples, config.evaluate.max_side, runtime.team)
        return {index: found[index] for index in order}

    todo = [_Wanted(samples[i], targets) for i, targets in runtime.team.once(missing).items()]
    for folder in folders.values():
        runtime.team.require_one_folder(folder)

    def compute(batch: list[_Read]) -> list[_Predicted]:
        pixels = to_device([one.loaded.image for one in batch], runtime.device)
        targets, sizes = batch[0].targets, [one.loaded.size for one in batch]
        autocast = network_autocast(runtime)
        found = predict_images(
            engine.network, pixels, list(targets), sizes, tile, autocast, engine.gate
        )
        return [_Predicted(one.targets, own) for one, own in zip(batch, found, strict=True)]

    steps: Steps[_Wanted, _Read, _Predicted] = Steps(
        lambda one: _Read(load(one.sample, config.evaluate.max_side), one.targets),
        lambda one: (one.loaded.image.shape, *one.targets),
        compute,
        _write,
    )
    usage, _ = process(todo, steps, runtime, "predict", config.data.skip_damaged)
    if usage.units and runtime.is_main:
        print(f"predict  {usage}", file=sys.stderr)


Targets = Mapping[PredictionMode, tuple[Path, str]]
"""Mode → the file of its mask and what the mask is made of."""


class _Wanted(NamedTuple):
    sample: Sample
    targets: Targets


class _Read(NamedTuple):
    loaded: Loaded
    targets: Targets


class _Predicted(NamedTuple):
    targets: Targets
    made: list[Prediction]


def _write(predicted: _Predicted) -> None:
    for (path, origin), made in zip(predicted.targets.values(), predicted.made, strict=True):
        require_finite(made.doubt, path)
        write_mask(path, made.mask, origin=origin, note=made.doubt.note())


def find(images: Path | Sequence[Path], masks: Path) -> tuple[list[Sample], list[str]]:
    """The images of a folder, their ids the paths within it; or those named, by their names.

    Args:
        images: images, or a folder searched with its subfolders, linked ones too.
        masks: folder of the masks; it may lie among the images, and what lies in it is none.

    Returns:
        The images, and a sentence for each kind of file in their folder that is left out.

    Raises:
        WsssError: there are none, or two whose masks would have one name.
    """
    if not isinstance(images, Path):
        if len(images) > 1:
            return _each(images), []
        (images,) = images
    if images.is_file():
        return [Sample(images.stem, images, ())], []
    if not images.is_dir():
        raise WsssError(f"No image or folder at {images}: give one that exists.")
    inside = real_path(masks) != real_path(images)
    paths, left_out = find_images(images, masks if inside else None)
    if not inside:  # drawn by an earlier start
        paths = tuple(p for p in paths if not (p.startswith(_OVERLAYS) and is_overlay(images / p)))
    found, beside = one_of_each_name(images, paths)
    others = describe_left_out(left_out)
    if not found:
        raise WsssError(
            f"{images} holds no images ({', '.join(IMAGE_SUFFIXES)})"
            f"{f', but {others}' if others else ''}: give a folder that does."
        )
    by_id = {without_suffix(path): images / path for path in found}
    if len(by_id) < len(found):
        lost = next(path for path in found if images / path not in by_id.values())
        raise WsssError(
            f"{images} holds {lost} and another image of that name, whose masks would have "
            "one name: rename one of them."
        )
    notes = [f"left out, no images: {others}"] if others else []
    if beside:
        notes.append(f"left out, masks beside their images: {len(beside)}, {beside[0]} first")
    return [Sample(name, path, ()) for name, path in by_id.items()], notes


def _each(images: Sequence[Path]) -> list[Sample]:
    """Images that were named one by one."""
    samples: dict[str, Sample] = {}
    for path in images:
        if not path.is_file():
            raise WsssError(f"No image at {path}: give images that exist, or one folder alone.")
        if path.stem in samples:
            raise WsssError(
                f"{samples[path.stem].path} and {path} would have masks of one name: predict them "
                "into two folders, with --out."
            )
        samples[path.stem] = Sample(path.stem, path, ())
    return list(samples.values())
