"""The processes that share the work of a command: those that torchrun started, or one alone.

Decisions are the first process's, work goes to whichever process is free, counts are added up.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from socket import gethostname
from typing import Any, Generic, Protocol, TypeVar
from uuid import uuid4

import torch
import torch.distributed as dist
from numpy.typing import NDArray
from torch import Tensor

from wsss.errors import WsssError
from wsss.files import make_folder

Item = TypeVar("Item")
Value = TypeVar("Value")

PATIENCE = 60.0
"""Seconds until a file that another machine wrote has to be seen."""


class Store(Protocol):
    """Where processes meet, as torch has it: keys that all of them see."""

    def add(self, key: str, amount: int, /) -> int:
        """Add to a number, 0 at first; returns the sum."""

    def set(self, key: str, value: str, /) -> None:
        """Write a value."""

    def get(self, key: str, /) -> bytes:
        """Read a value; waits until there is one."""

    def check(self, keys: list[str], /) -> bool:
        """Whether all of these are there."""


@dataclass(frozen=True)
class Links:
    """What connects the processes of a team.

    Attributes:
        group: of them all, on their CPUs, that waits as long as it takes.
        store: that they met at.
    """

    group: dist.ProcessGroup
    store: Store


@dataclass(frozen=True)
class Team:
    """Processes that work together. All of them call each method, and in the same order.

    Attributes:
        rank: index of this process, from 0.
        world: how many there are.
        links: to the others; None where there are none.
    """

    rank: int = 0
    world: int = 1
    links: Links | None = field(default=None, compare=False)

    @property
    def is_main(self) -> bool:
        """Whether this process decides, and writes what is written once."""
        return self.rank == 0

    def once(self, call: Callable[[], Value]) -> Value:
        """What the first process's call returns, made when all have arrived.

        Raises:
            Exception: what the call raised, in the first process.
            SystemExit: in the others, which have nothing to add.
        """
        if self.links is None:
            return call()
        dist.barrier(self.links.group)
        outcome: list[Any] = [None, False]
        failure: Exception | None = None
        if self.is_main:
            try:
                outcome = [call(), True]
            except Exception as error:
                failure = error
        dist.broadcast_object_list(outcome, 0, self.links.group)
        if failure is not None:
            raise failure
        if not outcome[1]:
            raise SystemExit(2)
        value: Value = outcome[0]
        return value

    @contextmanager
    def together(self) -> Iterator[None]:
        """What every process does for itself: where it fails in one, all end and one says why.

        Raises:
            Exception: what was raised within, in the first process in which something was.
            SystemExit: in the others.
        """
        failure: BaseException | None = None
        try:
            yield
        except (Exception, SystemExit) as error:
            failure = error
        said = failure is not None and not isinstance(failure, SystemExit)
        failed = self.gather(None if failure is None else said)
        speakers = [rank for rank, found in enumerate(failed) if found]
        if failure is not None and (not speakers or speakers[0] == self.rank):
            raise failure
        if any(found is not None for found in failed):
            raise SystemExit(2)

    def gather(self, value: Value) -> list[Value]:
        """Every process's value, in the order of ranks, in all of them."""
        if self.links is None:
            return [value]
        values: list[Any] = [None] * self.world
        dist.all_gather_object(values, value, self.links.group)
        return values

    def others(self, value: Value) -> list[Value]:
        """The value of every other process."""
        values = self.gather(value)
        return [*values[: self.rank], *values[self.rank + 1 :]]

    def add_up(self, *counts: NDArray[Any]) -> None:
        """Replace arrays of counts by their sums over all processes."""
        if self.links is None:
            return
        for array in counts:
            dist.all_reduce(torch.from_numpy(array), group=self.links.group)

    def total(self, count: Tensor) -> Tensor:
        """The sum of a tensor over all processes, without gradient, on the device."""
        if self.links is None:
            return count
        found = count.detach().clone()
        dist.all_reduce(found)
        return found

    def deal(self, items: Sequence[Item]) -> "Deal[Item]":
        """Items, equal in all processes, dealt one at a time to whichever process asks next."""
        return Deal(self, items, self.once(lambda: uuid4().hex))

    def require_one_folder(self, folder: Path) -> None:
        """Refuse a folder that is another one elsewhere; several processes make it where missing.

        Raises:
            WsssError: a process doesn't see what the first one writes there.
        """
        if self.links is None:
            return
        mark = folder / self.once(lambda: _mark(folder))
        try:
            with self.together():
                if not _seen(mark):
                    raise WsssError(
                        f"{folder} on {gethostname()} (process {self.rank} of {self.world}) is not "
                        "the folder that process 0 writes to; expected one that all machines "
                        "share: put it on a shared file system, or start each machine by itself "
                        "(--shard)."
                    )
        finally:
            if self.is_main:
                mark.unlink(missing_ok=True)

    def require_equal(self, value: Callable[[], object], what: str) -> None:
        """Refuse processes that have read other things than the first.

        Args:
            value: gives what has to be equal.
            what: it is of, with its place, for the error.

        Raises:
            WsssError: it differs; in one process that has another than the first.
        """
        if self.links is None:
            return
        values = self.gather(value())
        with self.together():
            if values[self.rank] != values[0]:
                raise WsssError(
                    f"{what} on {gethostname()} (process {self.rank} of {self.world}) differs "
                    "from what process 0 reads; expected the same on all machines: copy it anew."
                )


ALONE = Team()
"""One process."""


class Deal(Generic[Item]):
    """Items, each of which goes to one process of a team, and how many are done."""

    def __init__(self, team: Team, items: Sequence[Item], name: str) -> None:
        self._team, self._items, self._name = team, items, name
        self._known = 0

    def __len__(self) -> int:
        return len(self._items)

    def __iter__(self) -> Iterator[Item]:
        links = self._team.links
        if links is None:
            yield from self._items
            return
        while (index := links.store.add(f"{self._name}/dealt", 1) - 1) < len(self._items):
            yield self._items[index]

    def finish(self, count: int) -> int:
        """Note that so many are done; returns how many all have done since the last call."""
        links = self._team.links
        if links is None:
            return count
        done = links.store.add(f"{self._name}/done", count)
        new, self._known = done - self._known, done
        return new


def agree(store: Store, rank: int, world: int) -> str:
    """A name that only these processes know, although others have met at the store before them.

    torchrun keeps its store when it starts processes again, with the addresses of the dead in it.
    Every process asks the first with a word of its own; the first answers until all have heard.
    """
    own = uuid4().hex
    if rank > 0:
        store.set(f"ask/{rank}", own)
        name = store.get(f"answer/{own}").decode()
        store.add(f"heard/{name}", 1)
        return name
    answered: set[str] = set()
    while store.add(f"heard/{own}", 0) < world - 1:
        asked = [key for n in range(1, world) if store.check([key := f"ask/{n}"])]
        for word in {store.get(key).decode() for key in asked} - answered:
            store.set(f"answer/{word}", own)
            answered.add(word)
        time.sleep(0.02)
    return own


def _mark(folder: Path) -> str:
    name = f".team-{uuid4().hex}"
    make_folder(folder)
    (folder / name).touch()
    return name


def _seen(path: Path) -> bool:
    """Whether a file is there, or comes: network file systems show it late."""
    until = time.monotonic() + PATIENCE
    while not path.is_file():
        if time.monotonic() > until:
            return False
        time.sleep(0.2)
    return True
