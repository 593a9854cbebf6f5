"""`pydensecrf.utils`: unary energies and features from arrays."""

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from wsss.crf.compat.checks import Matrix
from wsss.crf.compat.errors import DenseCRFError

Array = npt.NDArray[Any]


def unary_from_labels(
    labels: Array, n_labels: int, gt_prob: float, zero_unsure: bool = True
) -> Matrix:
    """Energies of labels that are right with probability `gt_prob`.

    Args:
        labels: integers of any shape.
        n_labels: L, not counting 0 if `zero_unsure`.
        gt_prob: within (0, 1).
        zero_unsure: if true, 0 could be any label and label k is row k − 1; if false, label k is
            row k.

    Returns:
        (L, N) float32.

    Raises:
        DenseCRFError: for another `gt_prob`, fewer than two labels, or labels beyond `n_labels`.
    """
    if not 0 < gt_prob < 1:
        raise DenseCRFError(f"gt_prob is {gt_prob}: give a number between 0 and 1, both excluded")
    if n_labels < 2:
        raise DenseCRFError(f"n_labels is {n_labels}: give 2 or more")
    flat = np.asarray(labels).flatten()
    if flat.dtype.kind not in "iu":
        raise DenseCRFError(f"the labels are {flat.dtype}: give integers")
    rows = flat.astype(np.int64) - int(zero_unsure)
    known = rows >= 0 if zero_unsure else np.ones(len(rows), bool)
    strange = known & ((rows < 0) | (rows >= n_labels)) | (rows < -int(zero_unsure))
    if strange.any():
        last = n_labels - 1 + int(zero_unsure)
        raise DenseCRFError(
            f"the labels hold {flat[strange][0]}, and {n_labels} labels with zero_unsure="
            f"{zero_unsure} go up to {last}: give the right n_labels, and no 255 or negative label"
        )
    energy = np.full((n_labels, len(rows)), -np.log((1 - gt_prob) / (n_labels - 1)), np.float32)
    energy[rows, np.arange(len(rows))] = -np.log(gt_prob)
    if zero_unsure:
        energy[:, ~known] = -np.log(1 / n_labels)
    return energy


def compute_unary(labels: Array, M: int, GT_PROB: float = 0.5) -> Matrix:
    """`unary_from_labels` by its former name."""
    _deprecated("compute_unary", "unary_from_labels")
    return unary_from_labels(labels, M, GT_PROB)


def unary_from_softmax(sm: Array, scale: float | None = None, clip: float | None = 1e-5) -> Matrix:
    """Energies of probabilities.

    Args:
        sm: (L, …) probabilities.
        scale: within (0, 1], the probability that 1 becomes; 0 becomes uniform.
        clip: what smaller probabilities become before their logarithm.

    Returns:
        (L, N) float32, −log of the probabilities.

    Raises:
        DenseCRFError: for a `scale` outside (0, 1].
    """
    if scale is not None:
        if not 0 < scale <= 1:
            raise DenseCRFError(f"scale is {scale}: give a number above 0, at most 1")
        sm = scale * sm + (1 - scale) * (np.ones(sm.shape) / len(sm))
    if clip is not None:
        sm = np.clip(sm, clip, 1.0)
    return np.ascontiguousarray(-np.log(sm).reshape(len(sm), -1), dtype=np.float32)


def softmax_to_unary(sm: Array, GT_PROB: float = 1) -> Matrix:
    """`unary_from_softmax` by its former name, which does not clip."""
    _deprecated("softmax_to_unary", "unary_from_softmax")
    return unary_from_softmax(sm, None if GT_PROB == 1 else GT_PROB, clip=None)


def create_pairwise_gaussian(sdims: Sequence[float], shape: Sequence[int]) -> Matrix:
    """Locations of a grid of any dimension, as features.

    Args:
        sdims: d standard deviations, in the order of the axes.
        shape: the grid's d lengths.

    Returns:
        (d, N) float32.
    """
    return _locations(sdims, shape).reshape(len(sdims), -1)


def create_pairwise_bilateral(
    sdims: Sequence[float], schan: float | Sequence[float], img: Array, chdim: int = -1
) -> Matrix:
    """Locations and channels of an image of any dimension, as features.

    Args:
        sdims: standard deviations of the locations, in the order of the axes without the channels'.
        schan: standard deviations of the channels; one number for all.
        img: channels and locations.
        chdim: the channels' axis; −1 for an image that has none.

    Returns:
        (dimensions + channels, N) float32.
    """
    channels = img[np.newaxis] if chdim == -1 else np.moveaxis(img, chdim, 0)
    values = channels.astype(np.float32)
    sigmas = [schan] * len(values) if isinstance(schan, (int, float, np.number)) else list(schan)
    for channel, sigma in zip(values, sigmas, strict=False):
        channel /= sigma
    stacked = np.concatenate([_locations(sdims, values.shape[1:]), values])
    return stacked.reshape(len(stacked), -1)


def _locations(sdims: Sequence[float], shape: Sequence[int]) -> Matrix:
    if len(sdims) != len(shape):
        raise DenseCRFError(
            f"sdims has {len(sdims)} standard deviations and the locations {len(shape)} "
            "dimensions: give one for each, and chdim where an axis holds channels"
        )
    mesh = np.array(np.meshgrid(*map(range, shape), indexing="ij"), dtype=np.float32)
    for axis, sigma in zip(mesh, sdims, strict=True):
        axis /= sigma
    return mesh


def _deprecated(old: str, new: str) -> None:
    warnings.warn(f"{old} is pydensecrf's former name: use {new}", FutureWarning, stacklevel=3)
