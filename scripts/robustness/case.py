"""A case: what was done to the valid inputs, and what a right answer to it is."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Literal

Means = Literal["same", "refuse", "either"]


@dataclass(frozen=True)
class Case:
    """What was done in the box.

    Attributes:
        what: was done, in a few words.
        reads: kinds of files that were touched: a command that reads one of them is called.
        means: `same` where the answer is that of the valid inputs or a sentence; `refuse` where
            any answer is wrong; `either` where nothing is known but that it has to be sound.
        places: other paths than the valid ones on the command line.
        options: further arguments.
        check: of an answer, for what `same` and sound files can't tell: what is wrong with it.
        only: the only commands that tell (their first words); all where empty.
    """

    what: str
    reads: frozenset[str]
    means: Means = "either"
    places: Mapping[str, str] = field(default_factory=dict)
    options: tuple[str, ...] = ()
    check: Callable[[Path], str | None] | None = None
    only: tuple[str, ...] = ()


Kind = Callable[[Random, Path], Case]
"""Damages the box by a generator of random numbers; the box is the working directory."""


def case(what: str, *reads: str, means: Means = "either", **more: object) -> Case:
    """A case by the kinds of files that it touches."""
    return Case(what, frozenset(reads), means, **more)  # type: ignore[arg-type]
