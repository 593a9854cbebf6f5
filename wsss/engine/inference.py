"""Pseudo-masks image by image: finished ones are kept, and shards share the work."""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from wsss.data.images import Sample
from wsss.engine.profile import Stopwatch
from wsss.engine.progress import track
from wsss.errors import WsssError
from wsss.run.state import Work


def make_masks(
    work: Work,
    samples: Sequence[Sample],
    make: Callable[[Sample], None],
    beside: Sequence[Callable[[str], Path]],
    shard: tuple[int, int],
    watch: Stopwatch,
) -> None:
    """Make the missing masks of a shard; the stage is finished when none is missing.

    Args:
        work: the stage, begun.
        samples: all of them, whatever the shard.
        make: writes the files of one image, its pseudo-mask last.
        beside: id → file that a finished image has beside its pseudo-mask.
        overwrite: recompute the shard's masks.
        shard: (i, n) takes every n-th image, from the i-th.
        watch: what `make` counts its parts by; reported at the end.
    """

    def made(sample: Sample) -> bool:
        return all(of(sample.id).is_file() for of in (work.run.pseudo_mask, *beside))

    share = samples[shard[0] :: shard[1]]
    for sample in share if work.overwrite else ():
        # now, not one by one: if this start is cut short, the next may not keep an old mask
        work.run.pseudo_mask(sample.id).unlink(missing_ok=True)
    todo = [sample for sample in share if not made(sample)]
    for sample in track(todo, "generate-pseudo-masks", len(todo)):
        make(sample)
    time = {"timed_images": len(todo), "ms_per_image": watch.per_unit(len(todo))}
    if todo and watch.seconds:
        parts = ", ".join(f"{part} {ms:.1f}" for part, ms in watch.per_unit(len(todo)).items())
        print(f"generate-pseudo-masks  ms per image: {parts}", file=sys.stderr)
    if all(made(sample) for sample in samples):
        work.finish({"images": len(samples), **time})


def parse_shard(text: str) -> tuple[int, int]:
    """`i/n` → (i, n).

    Raises:
        WsssError: it isn't of that form, or i is not a shard of n.
    """
    first, _, count = text.partition("/")
    if not (first.isdigit() and count.isdigit() and int(first) < int(count)):
        raise WsssError(f"--shard is {text!r}: expected i/n with 0 ≤ i < n, such as 0/2.")
    return int(first), int(count)
