"""Pseudo-masks picture by picture: what is made stays made, and shards share the work."""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from wsss.data.pictures import Picture
from wsss.engine.timing import Stopwatch
from wsss.engine.tracking import track
from wsss.errors import WsssError
from wsss.run_dir import RunDir


def make_masks(
    run_dir: RunDir,
    pictures: Sequence[Picture],
    make: Callable[[Picture], None],
    beside: Sequence[Callable[[str], Path]],
    overwrite: bool,
    shard: tuple[int, int],
    watch: Stopwatch,
) -> None:
    """Make the masks of a shard that are missing; the stage is finished when none is.

    Args:
        run_dir: of the run.
        pictures: all of them, whatever the shard.
        make: writes the files of one picture, its pseudo-mask last.
        beside: id → file that belongs to a made picture beside its pseudo-mask.
        overwrite: make the shard's masks anew.
        shard: (i, n) takes every n-th picture, from the i-th.
        watch: what `make` counts its parts by; told at the end.
    """

    def made(picture: Picture) -> bool:
        return all(of(picture.id).is_file() for of in (run_dir.pseudo_mask, *beside))

    share = pictures[shard[0] :: shard[1]]
    for picture in share if overwrite else ():
        # now, not one by one: if this start is cut short, the next may not keep an old mask
        run_dir.pseudo_mask(picture.id).unlink(missing_ok=True)
    todo = [picture for picture in share if not made(picture)]
    for picture in track(todo, "generate-pseudo-masks", len(todo)):
        make(picture)
    time = {"timed_pictures": len(todo), "ms_per_picture": watch.per_unit(len(todo))}
    if todo and watch.seconds:
        parts = ", ".join(f"{part} {ms:.1f}" for part, ms in watch.per_unit(len(todo)).items())
        print(f"generate-pseudo-masks  ms a picture: {parts}", file=sys.stderr)
    if all(made(picture) for picture in pictures):
        run_dir.finish("pseudo_masks", {"pictures": len(pictures), **time})


def parse_shard(text: str) -> tuple[int, int]:
    """`i/n` → (i, n).

    Raises:
        WsssError: it isn't of that form, or i is no shard of n.
    """
    first, _, count = text.partition("/")
    if not (first.isdigit() and count.isdigit() and int(first) < int(count)):
        raise WsssError(f"--shard is {text!r}: expected i/n with 0 ≤ i < n, such as 0/2.")
    return int(first), int(count)
