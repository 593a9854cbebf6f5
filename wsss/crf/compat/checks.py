"""What callers of pydensecrf's interface give, checked: each mistake gets one sentence."""

from collections.abc import Sequence
from enum import IntEnum
from numbers import Integral
from typing import Any

import numpy as np
import numpy.typing as npt

from wsss.crf.compat.errors import DenseCRFError

Matrix = npt.NDArray[np.float32]
TOLERANCE = 1e-3  # what sums of probabilities in float32 are off by
LARGEST_FEATURE = 1e5  # standard deviations: beyond it float32 no longer tells simplices apart


def count(what: str, value: object, least: int = 1) -> int:
    """A whole number of at least `least`."""
    if not isinstance(value, Integral) or value < least:
        raise DenseCRFError(f"the {what} is {value!r}: give a whole number, {least} or more")
    return int(value)


def member(what: str, value: object, kinds: type[IntEnum]) -> int:
    """A value of an enumeration."""
    if value not in list(kinds):
        names = ", ".join(kind.name for kind in kinds)
        raise DenseCRFError(f"there is no {what} {value!r}: take one of {names}")
    return int(value)  # type: ignore[call-overload]


def float_matrix(what: str, values: npt.ArrayLike, ndim: int = 2) -> Matrix:
    """A C-contiguous float32 array of so many dimensions."""
    array = np.asarray(values)
    if array.dtype != np.float32:
        raise DenseCRFError(f"{what} is {array.dtype}: give float32, as .astype(np.float32) makes")
    if array.ndim != ndim:
        hint = "; flatten an image's height and width by .reshape(labels, -1)" if ndim == 2 else ""
        raise DenseCRFError(
            f"{what} has the shape {array.shape}: give an array of {ndim} dimension"
            f"{'s' if ndim > 1 else ''}{hint}"
        )
    if not array.flags.c_contiguous:
        raise DenseCRFError(
            f"{what} is not C-contiguous, as after a transposition: if its shape {array.shape} is "
            "the one you mean, give np.ascontiguousarray of it"
        )
    return np.require(array, requirements="W")


def unary_shape(energy: Matrix, num_labels: int, num_points: int) -> None:
    """Refuses energies of another shape than (labels, points)."""
    if energy.shape == (num_labels, num_points):
        return
    swapped = energy.shape == (num_points, num_labels)
    hint = ": it is transposed, give np.ascontiguousarray(u.T)" if swapped else ""
    raise DenseCRFError(
        f"the unary energy has the shape {energy.shape}, not (labels, points) = "
        f"({num_labels}, {num_points}){hint}"
    )


def unary_values(energy: Matrix) -> None:
    """Refuses energies that no CRF has, or that are probabilities by mistake."""
    low, high = float(energy.min()), float(energy.max())
    if np.isnan(low) or low == -np.inf:
        raise DenseCRFError(
            "the unary energy holds NaN or -inf: give finite negative log probabilities, or inf "
            "for a label that is ruled out"
        )
    if high == np.inf and bool(np.isinf(energy).all(0).any()):
        raise DenseCRFError(
            "the unary energy is inf for all labels of a point: clip probabilities before their "
            "logarithm is taken, as utils.unary_from_softmax does"
        )
    if len(energy) == 1:
        return
    if low >= 0 and high <= 1 + TOLERANCE and _all_one(energy.sum(0)):
        raise DenseCRFError(
            "the unary energy sums to 1 over the labels of every point, as probabilities do: give "
            "-np.log of them, or utils.unary_from_softmax; if they are energies, build the CRF "
            "with check_values=False"
        )
    if high <= TOLERANCE and _all_one(np.exp(energy).sum(0)):
        raise DenseCRFError(
            "the unary energy is a log probability: its sign is wrong, give -np.log of the "
            "probabilities; if they are energies, build the CRF with check_values=False"
        )


def _all_one(sums: Matrix) -> bool:
    return bool(np.abs(sums - 1).max() < TOLERANCE)


def features(values: npt.ArrayLike, num_points: int) -> Matrix:
    """(d, N) finite float32 features."""
    array = float_matrix("the features", values)
    if array.shape[1] != num_points or len(array) == 0:
        swapped = array.shape[0] == num_points
        hint = ": they are transposed, give np.ascontiguousarray(features.T)" if swapped else ""
        raise DenseCRFError(
            f"the features have the shape {array.shape}, not (dimensions, points) = "
            f"(d, {num_points}){hint}"
        )
    largest = float(np.abs(array).max())
    if not largest <= LARGEST_FEATURE:  # NaN fails too
        raise DenseCRFError(
            f"the features reach {largest:g} standard deviations: give finite ones, divided by "
            f"their standard deviations, of at most {LARGEST_FEATURE:g}"
        )
    return array


def compatibility(costs: npt.ArrayLike, num_labels: int) -> Matrix:
    """(L,) or (L, L) float32 costs."""
    ndim = np.ndim(costs)
    if ndim not in (1, 2):
        raise DenseCRFError(
            f"the compatibility has {ndim} dimensions: give a number, a vector (labels,) or a "
            "matrix (labels, labels)"
        )
    array = float_matrix("the compatibility", costs, ndim)
    if any(size != num_labels for size in array.shape):
        raise DenseCRFError(
            f"the compatibility has the shape {array.shape} and there are {num_labels} labels: "
            "give a number, a vector (labels,) or a matrix (labels, labels)"
        )
    return array


def sigmas(what: str, values: float | Sequence[float], length: int) -> tuple[float, ...]:
    """So many positive standard deviations, of one number or as many."""
    given = [values] * length if isinstance(values, (int, float, np.number)) else list(values)
    numbers = [float(value) for value in given]
    if len(numbers) != length or not all(0 < value < float("inf") for value in numbers):
        raise DenseCRFError(f"{what} is {values!r}: give a positive number, or {length} of them")
    return tuple(numbers)


def image(values: npt.ArrayLike, width: int, height: int) -> npt.NDArray[np.uint8]:
    """(H, W, 3) uint8, C-contiguous."""
    array: npt.NDArray[Any] = np.asarray(values)
    wanted = f"(height, width, 3) = ({height}, {width}, 3)"
    if array.dtype != np.uint8:
        hint = "multiply an image of 0..1 by 255 and " if array.dtype.kind == "f" else ""
        raise DenseCRFError(
            f"the image is {array.dtype}: give uint8 of 0..255; {hint}use .astype(np.uint8)"
        )
    if array.shape != (height, width, 3):
        raise DenseCRFError(
            f"the image has the shape {array.shape}, not {wanted}: "
            + _layout_hint(array.shape, width, height)
        )
    if not array.flags.c_contiguous:
        raise DenseCRFError(
            "the image is not C-contiguous, as after a transposition or a slice: give "
            "np.ascontiguousarray of it"
        )
    return np.require(array, requirements="W")


def _layout_hint(shape: tuple[int, ...], width: int, height: int) -> str:
    if shape == (width, height, 3):
        return (
            "it is transposed, or DenseCRF2D got height and width in the wrong order: it takes "
            "DenseCRF2D(width, height, labels)"
        )
    if shape == (3, height, width):
        return "channels come last, give np.ascontiguousarray(image.transpose(1, 2, 0))"
    if shape[:2] == (height, width):
        return (
            "addPairwiseBilateral takes RGB; for other channels give "
            "utils.create_pairwise_bilateral's features to addPairwiseEnergy"
        )
    return "resize it to the CRF's size"


def marginals(values: object, num_labels: int, num_points: int) -> Matrix:
    """(L, N) float32 marginals, an array that can be written to."""
    if (
        not isinstance(values, np.ndarray)
        or values.dtype != np.float32
        or values.shape != (num_labels, num_points)
        or not values.flags.writeable
    ):
        raise DenseCRFError(
            f"Q is not a writable float32 array of shape (labels, points) = "
            f"({num_labels}, {num_points}): give what startInference returned"
        )
    return values
