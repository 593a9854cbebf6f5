"""Memory that stays with the process: a training on a CPU asks for the same blocks every step."""

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager

# mallopt's numbers of glibc's settings, from <malloc.h>, and their defaults
_TRIM_THRESHOLD, _MMAP_MAX = -1, -4
_DEFAULTS = (128 << 10, 65536)
_KEPT = (1 << 30, 0)

_kept = False


def keep_freed_memory() -> bool:
    """Let glibc keep what is freed, up to 1 GiB at the top of the heap, for the next step.

    By default it maps every tensor of more than 32 MiB anew and gives free memory back to the
    system at once, which then clears it page by page: a fifth of a segmenter's step.

    Returns:
        Whether the C library is glibc and took it.
    """
    global _kept
    _kept = _set(_KEPT)
    return _kept


def give_back() -> None:
    """Give back what is free now, where the C library can."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


@contextmanager
def given_back() -> Iterator[None]:
    """Freed memory goes back to the system within, so that what is held can be measured."""
    if not _kept:
        yield
        return
    _set(_DEFAULTS)
    try:
        yield
    finally:
        _set(_KEPT)


def _set(values: tuple[int, int]) -> bool:
    libc = ctypes.CDLL(None)
    if not hasattr(libc, "gnu_get_libc_version"):
        return False
    trim, maps = values
    return bool(libc.mallopt(_TRIM_THRESHOLD, trim) and libc.mallopt(_MMAP_MAX, maps))
