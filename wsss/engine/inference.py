"""The loop for everything made per image: read ahead, compute in batches, write behind.

On a CPU images are computed one at a time, in their order, so that answers are bit for bit those of
each image alone. On a device images of one shape are batched while threads decode ahead and write
behind. Several processes take their images from one deal.
"""

import sys
from collections import defaultdict, deque
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wsss.data.augment import limit_side
from wsss.data.images import Sample, read_image
from wsss.engine.progress import Tracker
from wsss.engine.runtime import Runtime
from wsss.engine.team import Team
from wsss.engine.usage import Usage
from wsss.errors import WsssError

Item = TypeVar("Item")
Input = TypeVar("Input")
Output = TypeVar("Output")

BATCH = 16
"""Images that a device computes at once."""


class Loaded(NamedTuple):
    """An image in memory.

    Attributes:
        sample: what it is.
        image: (H, W, 3) uint8 RGB, reduced to the largest side.
        size: rows and columns of the whole image.
    """

    sample: Sample
    image: NDArray[np.uint8]
    size: tuple[int, int]


def load(sample: Sample, max_side: int | None) -> Loaded:
    """Read an image, reduced to a long side of `max_side` if it is longer."""
    whole = read_image(sample.path)
    return Loaded(sample, limit_side(whole, max_side), (whole.shape[0], whole.shape[1]))


def to_device(images: Sequence[NDArray[np.uint8]], device: torch.device) -> Tensor:
    """Images (H, W, 3) of one shape → (B, 3, H, W) uint8, as bytes to the device."""
    stacked = torch.from_numpy(np.stack(images))
    if device.type != "cpu":
        stacked = stacked.pin_memory().to(device, non_blocking=True)
    return stacked.permute(0, 3, 1, 2).contiguous()


def from_device(tensors: Sequence[Tensor]) -> list[Tensor]:
    """Tensors of one type on the CPU, by one copy of all: each copy waits for the device."""
    whole = torch.cat([one.flatten() for one in tensors]).cpu()
    parts = whole.split([one.numel() for one in tensors])
    return [part.view(one.shape) for part, one in zip(parts, tensors, strict=True)]


Autocast = Callable[[], AbstractContextManager[Any]]
"""A new context in which a network runs."""


def network_autocast(runtime: Runtime) -> Autocast:
    """The run's precision on a device; on a CPU, where masks don't depend on it, none."""
    return nullcontext if runtime.device.type == "cpu" else runtime.autocast


@dataclass(frozen=True)
class Steps(Generic[Item, Input, Output]):
    """What is done for an image; reading and writing may run in threads, computing does not.

    Attributes:
        read: an item from disk.
        shape: only inputs of one shape are computed together.
        compute: inputs of one shape → outputs in their order.
        write: an output to disk.
    """

    read: Callable[[Item], Input]
    shape: Callable[[Input], Hashable]
    compute: Callable[[list[Input]], Iterable[Output]]
    write: Callable[[Output], None]


def batch_size(runtime: Runtime) -> int:
    """Images of one shape that are computed at once."""
    return 1 if runtime.device.type == "cpu" else BATCH


def process(
    items: Sequence[Item],
    steps: Steps[Item, Input, Output],
    runtime: Runtime,
    progress: str | Tracker,
    skip_damaged: bool = False,
) -> tuple[Usage, list[Item]]:
    """Read, compute and write every item, in one process or in all of the runtime's team.

    Args:
        items: what to make, equal in all processes; a killed loop leaves what it wrote whole.
        steps: what is done for an item.
        runtime: on a CPU batches are single images and, without workers, no threads are used.
        progress: its title, or that of a longer piece of work which the items are part of.
        skip_damaged: leave out items that can't be read, and say so, instead of stopping.

    Returns:
        Where the time went, and the items that were left out, of all processes.

    Raises:
        Exception: whatever reading, computing or writing an item raises; what was written stays.
    """
    batch = batch_size(runtime)
    usage, left_out = Usage(processes=runtime.team.world), list[Item]()
    if isinstance(progress, str):
        progress = Tracker(progress, len(items), quiet=not runtime.is_main)
    deal = runtime.team.deal(items)

    def read(item: Item) -> Input | None:
        try:
            return steps.read(item)
        except WsssError as error:
            if not skip_damaged:
                raise
            print(f"left out: {error}", file=sys.stderr)
            left_out.append(item)
            return None

    with (
        usage.on_device(runtime) as device,
        progress as tracker,
        _Threads(runtime.workers, ahead=2 * batch) as readers,
        _Threads(min(runtime.workers, 4), ahead=4 * batch) as writers,
    ):
        inputs = _timed(readers.map(read, deal), usage)
        for group in _batches(_present(inputs), steps.shape, batch):
            with usage.time("compute"), device():
                outputs = list(steps.compute(group))
            with usage.time("write"):
                for output in outputs:
                    writers.submit(steps.write, output)
            usage.units += len(group)
            tracker.advance(deal.finish(len(group)))
        with usage.time("write"):
            writers.finish()
    return _of_all(runtime.team, usage, left_out)


def _of_all(team: Team, usage: Usage, left_out: list[Item]) -> tuple[Usage, list[Item]]:
    (first, lost), *others = team.gather((usage, left_out))
    for other, also in others:
        first.merge(other)
        lost = lost + also
    return first, lost


def costly_first(
    todo: Sequence[int], samples: Sequence[Sample], max_side: int | None, team: Team
) -> list[int]:
    """The order in which images are dealt: the largest files first where nothing limits their cost.

    So none of them is left at the end to one process, for which the others would wait.

    Args:
        todo: indices of images.
        samples: that they are indices of.
        max_side: that images are reduced to, which makes their costs alike.
        team: whose processes share them.
    """
    if team.world == 1 or max_side is not None:
        return list(todo)
    return sorted(todo, key=lambda i: -_bytes(samples[i].path))


def _bytes(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:  # reported where it is read
        return 0


def dealt(items: Sequence[Item], team: Team, title: str) -> Iterator[Item]:
    """Items that this process gets of a team's, with the progress of all."""
    deal = team.deal(items)
    with Tracker(title, len(items), quiet=not team.is_main) as tracker:
        for item in deal:
            yield item
            tracker.advance(deal.finish(1))


def _present(inputs: Iterable[Input | None]) -> Iterator[Input]:
    return (one for one in inputs if one is not None)


def _timed(inputs: Iterator[Input], usage: Usage) -> Iterator[Input]:
    while True:
        with usage.time("read"):
            try:
                found = next(inputs)
            except StopIteration:
                return
        yield found


def _batches(
    inputs: Iterable[Input], shape: Callable[[Input], Hashable], size: int
) -> Iterator[list[Input]]:
    """Groups of one shape, of `size` where as many are at hand; every input once."""
    waiting: dict[Hashable, list[Input]] = defaultdict(list)
    held = 0
    for one in inputs:
        group = waiting[shape(one)]
        group.append(one)
        held += 1
        if len(group) < size and held >= 4 * size:
            # rare shapes don't pile up: the fullest group goes as it is
            group = max(waiting.values(), key=len)
        if len(group) >= size or held >= 4 * size:
            held -= len(group)
            yield waiting.pop(shape(group[0]))
    yield from waiting.values()


class _Threads:
    """A bounded number of calls ahead in threads; without threads, calls are made at once."""

    def __init__(self, threads: int, ahead: int) -> None:
        self._pool = ThreadPoolExecutor(threads) if threads else None
        self._ahead = ahead + threads
        self._pending: deque[Future[object]] = deque()

    def __enter__(self) -> "_Threads":
        return self

    def __exit__(self, *_: object) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)

    def map(self, call: Callable[[Item], Input], items: Iterable[Item]) -> Iterator[Input]:
        """Results in the order of the items."""
        if self._pool is None:
            yield from map(call, items)
            return
        pending: deque[Future[Input]] = deque()
        for item in items:
            pending.append(self._pool.submit(call, item))
            if len(pending) >= self._ahead:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()

    def submit(self, call: Callable[[Item], object], item: Item) -> None:
        """Call, now or later; waits where too many calls are pending."""
        if self._pool is None:
            call(item)
            return
        self._pending.append(self._pool.submit(call, item))
        while len(self._pending) >= self._ahead:
            self._pending.popleft().result()

    def finish(self) -> None:
        """Wait for every call."""
        while self._pending:
            self._pending.popleft().result()
