"""Masks over their images, for people who only want to look."""

import io
from collections.abc import Iterable

from wsss.data.images import read_image
from wsss.formats.mask_list import MaskToWrite, Writing
from wsss.formats.png_masks import kept_pixels
from wsss.formats.target import Target
from wsss.report.overlay import overlay


def write_masks(masks: Iterable[MaskToWrite], how: Writing, to: Target) -> None:
    """Writes `<id>.jpg` with outlines, names and a legend.

    Raises:
        WsssError: an image isn't known, or can't be read.
    """
    for one in masks:
        mask, drawn = kept_pixels(one.mask, how), io.BytesIO()
        overlay(read_image(one.known_image()), mask, how.classes).save(drawn, "JPEG", quality=90)
        to.put(f"{one.id}.jpg", drawn.getvalue())
