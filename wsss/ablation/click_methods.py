"""What a click does: through slots, and in the ways it is compared with.

All start from the same mask of stage 2, given the tags; a method is how clicks change it.
"""

from collections.abc import Callable, Sequence
from importlib.util import find_spec

import cv2
import numpy as np
from numpy.typing import NDArray

from wsss.errors import WsssError
from wsss.models.clicks import OpenImage
from wsss.seeding.clicks import Click, certain

Mask = NDArray[np.uint8]
Answer = Callable[[Sequence[Click]], Mask]
"""Clicks → mask."""

SUPERPIXELS = 100
"""Regions that SLIC is asked for."""


def by_slots(opened: OpenImage, image: NDArray[np.uint8]) -> Answer:
    """As `wsss.models.clicks` has it."""
    return opened.mask


def by_crf(opened: OpenImage, image: NDArray[np.uint8]) -> Answer:
    """The discs around clicks are certain in the CRF of the seeds, and nothing else changes."""
    return lambda clicks: opened.mask(painted=_discs(clicks, opened))


def by_superpixels(opened: OpenImage, image: NDArray[np.uint8]) -> Answer:
    """A click labels its region of SLIC (Achanta et al. 2012), in scikit-image's version."""
    from skimage.segmentation import slic

    first = opened.mask()
    regions = slic(image, n_segments=SUPERPIXELS, compactness=10, start_label=0)

    def answer(clicks: Sequence[Click]) -> Mask:
        mask = first.copy()
        for click in clicks:
            mask[regions == regions[click.y, click.x]] = click.label
        return mask

    return answer


def by_grabcut(opened: OpenImage, image: NDArray[np.uint8]) -> Answer:
    """GrabCut (Rother et al. 2004) of every label against the rest, in OpenCV's version.

    The mask without clicks says what is probable, discs around clicks what is certain. A pixel
    that no label claims is background; one that several claim keeps its label.
    """
    first = opened.mask()

    def answer(clicks: Sequence[Click]) -> Mask:
        if not clicks:
            return first
        known = _discs(clicks, opened)
        labels = sorted({*np.unique(first).tolist(), *(click.label for click in clicks)} - {0, 255})
        claims = [
            _cut(image, first == label, known == label, (known != 255) & (known != label))
            for label in labels
        ]
        mask = first.copy()
        if claims:
            several = np.sum(claims, axis=0)
            mask[several == 0] = 0
            for label, claim in zip(labels, claims, strict=True):
                mask[claim & (several == 1)] = label
        return np.where(known != 255, known, mask)

    return answer


def _discs(clicks: Sequence[Click], opened: OpenImage) -> Mask:
    """(H, W) labels around clicks, 255 elsewhere."""
    radius = opened.rules.radius * min(opened.size)
    return np.asarray(certain(clicks, opened.size, radius).numpy(), np.uint8)


def _cut(
    image: NDArray[np.uint8],
    probable: NDArray[np.bool_],
    inside: NDArray[np.bool_],
    outside: NDArray[np.bool_],
) -> NDArray[np.bool_]:
    """(H, W) bool: what GrabCut takes for the object."""
    mask = np.where(probable, cv2.GC_PR_FGD, cv2.GC_PR_BGD).astype(np.uint8)
    mask[inside], mask[outside] = cv2.GC_FGD, cv2.GC_BGD
    sides = np.isin(mask, (cv2.GC_FGD, cv2.GC_PR_FGD))
    if sides.all() or not sides.any():  # it needs colours of both
        return sides
    cv2.setRNGSeed(0)
    models = np.zeros((1, 65)), np.zeros((1, 65))
    cv2.grabCut(image[..., ::-1].copy(), mask, None, *models, 5, cv2.GC_INIT_WITH_MASK)
    return np.isin(mask, (cv2.GC_FGD, cv2.GC_PR_FGD))


METHODS: dict[str, Callable[[OpenImage, NDArray[np.uint8]], Answer]] = {
    "slots": by_slots,
    "superpixels": by_superpixels,
    "grabcut": by_grabcut,
    "crf": by_crf,
}
"""Name → what opens an image to clicks."""


def choose_methods(names: str) -> list[str]:
    """Names of methods between semicolons.

    Raises:
        WsssError: one doesn't exist, or its library isn't installed.
    """
    chosen = list(dict.fromkeys(part.strip() for part in names.split(";") if part.strip()))
    for name in chosen or [names]:
        if name not in METHODS:
            raise WsssError(
                f"--methods {name!r} is no way to take clicks: choose among {', '.join(METHODS)}."
            )
    if "superpixels" in chosen and find_spec("skimage") is None:
        raise WsssError(
            "--methods superpixels needs scikit-image, which isn't installed: pip install "
            "scikit-image, or leave it out."
        )
    return chosen
