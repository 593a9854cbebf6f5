"""Dense CRF over anybody's masks or probability maps: files in, PNG masks out, no run folder.

Reads label PNGs or maps and the images of the same names; writes `<out>/<name>.png`, in subfolders
as the masks lie.
"""

import sys
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wsss.config import RuntimeConfig
from wsss.crf import DenseCRF, hard_label_probs
from wsss.crf.dense_crf import Backend
from wsss.data.find_images import (
    describe_left_out,
    find_images,
    likely_images,
    without_suffix,
)
from wsss.data.image_header import IMAGE_SUFFIXES, open_image
from wsss.data.images import read_image
from wsss.data.mask_io import read_mask, read_origin, refuse_to_replace, write_mask
from wsss.engine.inference import Steps, from_device, process, to_device
from wsss.engine.runtime import join, start
from wsss.errors import WsssError, first_line
from wsss.files import real_path, refuse_to_overwrite
from wsss.labels import IGNORE_INDEX
from wsss.run.fingerprint import origin_of
from wsss.seeding.indexing import best_channel

MAP_SUFFIXES = (".npy", ".npz")
MASK_SUFFIXES = (".png", *MAP_SUFFIXES)


def run(
    masks: Sequence[Path],
    images: Path,
    out: Path,
    *,
    preset: str = "irn",
    backend: str = "torch",
    gt_prob: float = 0.7,
    device: str = "cpu",
    downsample: int = 1,
    overwrite: bool = False,
) -> Path:
    """Refine masks by their images' edges; returns `out`.

    Only the labels that a mask holds (or that a map gives any probability) compete in its image:
    that is several times quicker, and no other label could win.

    Args:
        masks: files, or folders of them with their subfolders. A PNG (mode P or L) holds labels,
            255 where unsure: those pixels get a label too. A `.npy`, or an `.npz` with one array,
            holds probabilities (L, H, W), each pixel summing to 1; label k is channel k.
        images: folder of the images, searched with its subfolders; an image lies in it where its
            mask lies in its own folder, or anywhere by the mask's name; or one image. The masks may
            lie there too.
        out: folder to write to, made where missing.
        preset: the CRF's, by name.
        backend: the CRF's.
        gt_prob: how likely a PNG's labels are right, within (0, 1).
        device: where to compute, e.g. `cpu`; `auto` takes a GPU where there is one.
        downsample: 2 is half resolution.
        overwrite: refine again what was refined from the same files by the same settings, and
            replace masks that were not made here; those of other files or settings are refined
            again in any case.

    Raises:
        WsssError: no mask, a file in the place of a refined mask that was not made here, a mask
            without image, sizes that differ, values that are no probabilities, or a name, device
            or number that does not exist.
    """
    crf = DenseCRF(preset, backend=cast(Backend, backend), downsample=downsample)
    team = join()
    with team.together():
        runtime = start(RuntimeConfig(device=device), 0)
    settings = {
        "preset": preset,
        "backend": backend,
        "gt_prob": gt_prob,
        "downsample": downsample,
    }
    todo = team.once(
        lambda: _todo(_pair(_find_masks(masks, out), images), out, settings, overwrite)
    )
    team.require_one_folder(out)
    steps: Steps[_Wanted, _Read, _Refined] = Steps(
        partial(_read_both, gt_prob=gt_prob),
        lambda one: one.image.shape,
        partial(_refine, crf=crf, device=runtime.device),
        _write,
    )
    usage, _ = process(todo, steps, runtime, "refine")
    if usage.units and runtime.is_main:
        print(f"refine  {usage}", file=sys.stderr)
    return out


class _Wanted(NamedTuple):
    """A mask to refine.

    Attributes:
        mask: its file.
        image: of the same name.
        target: file of the refined mask.
        origin: what that is made of.
    """

    mask: Path
    image: Path
    target: Path
    origin: str


def _todo(
    pairs: Mapping[str, tuple[Path, Path]],
    out: Path,
    settings: Mapping[str, object],
    overwrite: bool,
) -> list[_Wanted]:
    """Those that aren't refined."""
    todo = []
    for name, (mask, image_path) in pairs.items():
        target = out / f"{name}.png"
        refuse_to_overwrite(mask, target, "The refined mask", "masks'")
        origin = origin_of([mask, image_path], settings)
        if overwrite or read_origin(target) != origin:
            todo.append(_Wanted(mask, image_path, target, origin))
    if not overwrite:
        refuse_to_replace(one.target for one in todo)
    _refuse_void_for_a_class([one.mask for one in todo])
    return todo


class _Read(NamedTuple):
    """A mask and its image in memory.

    Attributes:
        wanted: what is refined.
        image: (H, W, 3) uint8 RGB.
        probs: (L, H, W) of its own labels.
        labels: L of them; none where the mask is unsure everywhere.
    """

    wanted: _Wanted
    image: NDArray[np.uint8]
    probs: Tensor
    labels: list[int]


class _Refined(NamedTuple):
    wanted: _Wanted
    mask: NDArray[np.uint8]


def _read_both(wanted: _Wanted, gt_prob: float) -> _Read:
    image = read_image(wanted.image)
    probs, own = _read(wanted.mask, gt_prob)
    if probs.shape[1:] != image.shape[:2]:
        (height, width), (image_height, image_width) = probs.shape[1:], image.shape[:2]
        raise WsssError(
            f"The mask {wanted.mask} is {width}×{height} and its image {wanted.image} is "
            f"{image_width}×{image_height}; expected one size: resize the mask."
        )
    return _Read(wanted, image, probs, own)


def _refine(batch: Sequence[_Read], crf: DenseCRF, device: torch.device) -> list[_Refined]:
    """Refined masks, (H, W) uint8 labels; 255 only where a mask is unsure everywhere."""
    unsure = np.full(batch[0].image.shape[:2], IGNORE_INDEX, np.uint8)
    some = [one for one in batch if one.labels]
    if not some:
        return [_Refined(one.wanted, unsure) for one in batch]
    pixels = list(to_device([one.image for one in some], device))
    probs = [one.probs.to(device, non_blocking=True) for one in some]
    try:
        marginals = crf(pixels, probs)
    except WsssError as error:
        raise WsssError(f"The mask {some[0].wanted.mask} can't be refined: {error}") from error
    best = iter(from_device([best_channel(one) for one in marginals]))
    return [
        _Refined(one.wanted, np.array(one.labels, np.uint8)[next(best)] if one.labels else unsure)
        for one in batch
    ]


def _write(made: _Refined) -> None:
    write_mask(made.wanted.target, made.mask, _palette(made.wanted.mask), made.wanted.origin)


def _refuse_void_for_a_class(masks: Sequence[Path]) -> None:
    """Refuse masks of 0 and 255 alone: 255 means unsure, so that all would become 0."""
    labels: set[int] = set()
    for mask in masks:
        if mask.suffix.lower() in MAP_SUFFIXES:
            return
        labels |= set(np.unique(read_mask(mask)).tolist())
        if labels - {0, IGNORE_INDEX}:
            return
    if labels == {0, IGNORE_INDEX}:
        raise WsssError(
            f"The masks hold the values 0 and 255 alone, {masks[0]} first; expected labels, "
            "because 255 means unsure and would become 0 everywhere: write 1, or another label, "
            "in its place."
        )


def _find_masks(masks: Sequence[Path], out: Path) -> dict[str, Path]:
    """Masks by their names: paths in the folder they were found in, without suffix."""
    found: dict[str, Path] = {}
    others: Counter[str] = Counter()
    for given in masks:
        if not given.exists():
            raise WsssError(f"There is no {given}; expected masks or folders of them: check it.")
        folder = given if given.is_dir() else given.parent
        names: Sequence[str] = (given.name,)
        if given.is_dir():
            inside = real_path(out) != real_path(given)
            names, left_out = find_images(given, out if inside else None, MASK_SUFFIXES)
            others.update(left_out)
        elif given.suffix.lower() not in MASK_SUFFIXES:
            raise WsssError(
                f"{given} is not a mask; expected {', '.join(MASK_SUFFIXES)}: convert it."
            )
        for file in names:
            name = without_suffix(file)
            if name in found:
                raise WsssError(
                    f"{found[name]} and {folder / file} would both become {name}.png; expected "
                    "different names: refine them into different folders."
                )
            found[name] = folder / file
    if not found:
        raise WsssError(
            f"There is no mask in {', '.join(map(str, masks)) or 'no folder'}; expected "
            f"{', '.join(MASK_SUFFIXES)} files: give a folder that holds some."
        )
    if others:
        print(f"refine  left out, no masks: {describe_left_out(others)}", file=sys.stderr)
    return found


def _pair(masks: Mapping[str, Path], images: Path) -> dict[str, tuple[Path, Path]]:
    if not images.exists():
        raise WsssError(f"There is no {images}; expected the folder of the images: check it.")
    own = {real_path(mask) for mask in masks.values()}
    by_name: dict[str, list[Path]] = defaultdict(list)
    for path in find_images(images).paths if images.is_dir() else ():
        if real_path(images / path) not in own:
            # a mask in a subfolder finds its image in such a folder, which no other mask takes
            whole = without_suffix(path)
            for name in {whole} if whole in masks else {whole, Path(path).stem}:
                by_name[name].append(images / path)
    if images.is_file():
        by_name[images.stem].append(images)
    candidates = {name: by_name[name] or by_name[mask.stem] for name, mask in masks.items()}
    missing = [masks[name] for name, own_images in candidates.items() if not own_images]
    if missing:
        raise WsssError(
            f"{len(missing)} of {len(masks)} masks have no image in {images}, {missing[0]} "
            f"first; expected {missing[0].stem} with one of {', '.join(IMAGE_SUFFIXES)}: add it or "
            "leave the mask out."
        )
    return {name: (mask, _choose(mask, candidates[name], images)) for name, mask in masks.items()}


def _choose(mask: Path, candidates: list[Path], images: Path) -> Path:
    """The image of a mask: in the folder itself rather than below it, and no mask in its turn."""
    near = [path for path in candidates if path.parent == images] or candidates
    chosen = likely_images(near)
    if len(chosen) > 1:
        raise WsssError(
            f"The mask {mask} may be of {chosen[0]} or of {chosen[1]}; expected one image of its "
            "name: rename one of them, or give the image itself."
        )
    return chosen[0]


def _read(path: Path, gt_prob: float) -> tuple[Tensor, list[int]]:
    """(own labels, H, W) probabilities and the labels' numbers."""
    if path.suffix.lower() in MAP_SUFFIXES:
        return _read_map(path)
    mask = torch.from_numpy(read_mask(path))
    own = [int(label) for label in mask.unique() if label != IGNORE_INDEX]
    channel = torch.full((256,), IGNORE_INDEX, dtype=torch.uint8)
    channel[own] = torch.arange(len(own), dtype=torch.uint8)
    probs = hard_label_probs(channel[mask.long()], max(len(own), 1), gt_prob, zero_unsure=False)
    return probs, own


def _read_map(path: Path) -> tuple[Tensor, list[int]]:
    loaded = _load_array(path)
    if loaded.ndim != 3 or not np.issubdtype(loaded.dtype, np.floating) or loaded.size == 0:
        raise WsssError(
            f"The map {path} is {loaded.dtype} of shape {loaded.shape}; expected floats of shape "
            "(L, H, W) with labels first: convert it."
        )
    if len(loaded) > IGNORE_INDEX:
        raise WsssError(
            f"The map {path} has {len(loaded)} labels; expected {IGNORE_INDEX} at most, because "
            f"{IGNORE_INDEX} in a mask means unsure: leave out labels that it doesn't use."
        )
    probs = torch.from_numpy(np.ascontiguousarray(loaded, dtype=np.float32))
    own = [label for label, channel in enumerate(probs) if bool((channel != 0).any())]
    if not own:
        raise WsssError(
            f"The map {path} is zero everywhere; expected each pixel to sum to 1: write it again."
        )
    return probs[own], own


def _load_array(path: Path) -> NDArray[Any]:
    """The one array of a .npy or .npz."""
    try:
        with path.open("rb") as file:
            loaded: Any = np.load(file, allow_pickle=False)
            if not isinstance(loaded, np.lib.npyio.NpzFile):
                return np.asarray(loaded)
            if len(loaded.files) == 1:
                return np.asarray(loaded[loaded.files[0]])
            names = ", ".join(loaded.files)[:100]
    except Exception as error:  # a damaged archive makes its readers raise anything
        raise WsssError(
            f"The map {path} does not load ({first_line(error)[:120]}); expected an array of "
            "numbers as numpy.save writes it: write it again."
        ) from error
    raise WsssError(
        f"The map {path} holds {len(loaded.files)} arrays ({names}); expected one of shape "
        "(L, H, W): save the probabilities alone."
    )


def _palette(path: Path) -> NDArray[np.uint8] | None:
    """(256, 3) colours of an indexed PNG; None for everything else."""
    if path.suffix.lower() != ".png":
        return None
    with open_image(path, "mask") as file:
        colours = file.getpalette() if file.mode == "P" else None
    if colours is None:
        return None
    full = np.zeros(768, np.uint8)
    full[: len(colours)] = colours
    return full.reshape(256, 3)
