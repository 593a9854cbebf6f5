"""The images that people look at now: their pixels, and the engine that makes masks of clicks."""

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from wsss.data.augment import limit_side, resize_mask
from wsss.data.images import Sample, read_image
from wsss.data.mask_io import read_mask
from wsss.errors import WsssError
from wsss.labels import IGNORE_INDEX
from wsss.review.edits import Edits, painted
from wsss.seeding.clicks import Click

Pixels = NDArray[np.uint8]
SHOWN_SIDE = 2048
"""Long side that images and masks are shown at, at most."""
THUMBNAIL_SIDE = 112
OPEN_IMAGES = 4
"""Images that are kept, with all that their masks need: the one that is open, those beside it."""
THREADS = 2
"""In which masks are made: each brings threads of its own from torch."""


class Engine(Protocol):
    """Makes masks of one image; `wsss.models.clicks.OpenImage` is one."""

    def mask(
        self,
        clicks: Sequence[Click] = ...,
        levels: Mapping[int, float] = ...,
        tags: Sequence[int] | None = ...,
        *,
        start: NDArray[np.uint8] | None = ...,
    ) -> NDArray[np.uint8]:
        """(H, W) of the full-size image; of a start, only what was said since changes."""


OpenEngine = Callable[[Pixels, Sequence[int]], Engine]
"""An image (H, W, 3) uint8 RGB and its tags → the engine of its masks."""


@dataclass
class Opened:
    """An image in memory.

    Attributes:
        sample: what it is.
        image: (H, W, 3) uint8 RGB, upright.
        open_engine: makes the engine, when it is first needed.
    """

    sample: Sample
    image: Pixels
    open_engine: OpenEngine
    _lock: Lock = field(default_factory=Lock)
    _last: tuple[tuple[Edits, bytes | None], NDArray[np.uint8]] | None = None

    @property
    def size(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.image.shape[0], self.image.shape[1]

    @property
    def shown_size(self) -> tuple[int, int]:
        """Rows and columns that it is shown at."""
        return self._shown.shape[0], self._shown.shape[1]

    @cached_property
    def _shown(self) -> Pixels:
        return limit_side(self.image, SHOWN_SIDE)

    @cached_property
    def jpeg(self) -> bytes:
        """As it is shown."""
        return encode_jpeg(self._shown, 92)

    @cached_property
    def _engine(self) -> Engine:
        return self.open_engine(self.image, self.sample.tags)

    def ready(self, start: Path | None) -> None:
        """Make everything that a click needs."""
        _ = self.jpeg
        with self._lock:
            self._engine.mask(start=self.read_start(start))

    def read_start(self, start: Path | None) -> NDArray[np.uint8] | None:
        """The mask before any edit; None where it is missing or of another size."""
        if start is None or not start.is_file():
            return None
        mask = read_mask(start)
        return mask if mask.shape == self.size else None

    def regrow(self, edits: Edits, start: NDArray[np.uint8] | None) -> NDArray[np.uint8]:
        """(H, W) mask by the engine, before paint; one is made at a time, the last one is kept."""
        asked = edits._replace(paint=()), None if start is None else start.tobytes()
        with self._lock:
            if self._last is None or self._last[0] != asked:
                mask = self._engine.mask(edits.clicks, edits.levels, edits.tags, start=start)
                self._last = asked, mask
            return self._last[1]


class Desk:
    """Opens images, keeps those that were used last, and makes their masks.

    Attributes:
        samples: id → image of the run: what isn't in here doesn't exist.
    """

    def __init__(self, samples: Sequence[Sample], open_engine: OpenEngine) -> None:
        self.open_engine = open_engine
        self.samples = {sample.id: sample for sample in samples}
        self._opened: OrderedDict[str, Future[Opened]] = OrderedDict()
        self._lock = Lock()
        self._engines = ThreadPoolExecutor(THREADS, "engine")
        # one ahead of the person: more would take the cores from the image that is open
        self._ahead = ThreadPoolExecutor(1, "ahead")

    def open(self, image_id: str) -> Opened:
        """An image of the run.

        Raises:
            WsssError: it can't be read.
        """
        with self._lock:
            known = self._opened.get(image_id)
            mine: Future[Opened] | None = None
            if known is None:
                known = mine = self._opened[image_id] = Future()
            self._opened.move_to_end(image_id)
            while len(self._opened) > OPEN_IMAGES:
                self._opened.popitem(last=False)
        if mine is not None:
            try:
                sample = self.samples[image_id]
                mine.set_result(Opened(sample, read_image(sample.path), self.open_engine))
            except BaseException as error:
                with self._lock:
                    self._opened.pop(image_id, None)
                mine.set_exception(error)
        return known.result()

    def renew(self, open_engine: OpenEngine) -> None:
        """Make masks by another recipe from now on."""
        with self._lock:
            self.open_engine = open_engine
            self._opened.clear()

    def prepare(self, image_id: str, start: Path | None) -> None:
        """Open an image in the background, because it will be asked for.

        Args:
            image_id: of an image of the run.
            start: the mask before any edit.
        """

        def ready() -> None:
            with suppress(WsssError):  # said when it is asked for
                self.open(image_id).ready(start)

        self._ahead.submit(ready)

    def mask(self, image_id: str, edits: Edits, start: Path | None) -> NDArray[np.uint8]:
        """The mask that a person's edits come to; paint changes what it covers and nothing else.

        Args:
            image_id: of an image of the run.
            edits: what the actions come to.
            start: the mask before them; where it is missing or of another size, the engine makes
                one.

        Returns:
            (H, W) uint8 of the full-size image.
        """
        opened = self.open(image_id)
        paint, unsure = painted(edits.paint, opened.size)
        mask = opened.read_start(start)
        if mask is None or edits.regrown:
            mask = self._engines.submit(opened.regrow, edits, mask).result()
        return _over(mask, paint, unsure)

    def shown(self, image_id: str, mask: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """A mask at the size that its image is shown at."""
        return resize_mask(mask, self.open(image_id).shown_size)

    def thumbnail(self, image_id: str, mask: Path, colours: NDArray[np.uint8]) -> bytes:
        """A small JPEG of an image with a mask over it, without keeping it open.

        Args:
            image_id: of an image of the run.
            mask: the mask, which may be missing.
            colours: (256, 3) uint8 RGB of mask values.
        """
        with self._lock:
            known = self._opened.get(image_id)
        if known is not None and known.done() and known.exception() is None:
            image = known.result().image
        else:
            image = read_image(self.samples[image_id].path, at_least=THUMBNAIL_SIDE)
        small = limit_side(image, THUMBNAIL_SIDE)
        if mask.is_file():
            labels = resize_mask(read_mask(mask), (small.shape[0], small.shape[1]))
            shown = (labels != 0) & (labels != IGNORE_INDEX)
            small = np.where(shown[..., None], small // 2 + colours[labels] // 2, small)
        return encode_jpeg(small, 80)

    def close(self) -> None:
        """Start nothing more."""
        for threads in (self._ahead, self._engines):
            threads.shutdown(wait=False, cancel_futures=True)


def _over(
    mask: NDArray[np.uint8], paint: NDArray[np.uint8], unsure: NDArray[np.bool_]
) -> NDArray[np.uint8]:
    mask = np.where(paint != IGNORE_INDEX, paint, mask)
    mask[unsure] = IGNORE_INDEX
    return mask


def encode_jpeg(image: Pixels, quality: int) -> bytes:
    """(H, W, 3) uint8 RGB as JPEG."""
    whole, data = cv2.imencode(
        ".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality]
    )
    assert whole
    return data.tobytes()
