"""Memory that stays with the process: a training on a CPU asks for the same blocks every step."""

import ctypes

# mallopt's numbers of glibc's settings, from <malloc.h>
_TRIM_THRESHOLD, _MMAP_MAX = -1, -4
_KEPT = 1 << 30


def keep_freed_memory() -> bool:
    """Let glibc keep what is freed, up to 1 GiB at the top of the heap, for the next step.

    By default it maps every tensor of more than 32 MiB anew and gives free memory back to the
    system at once, which then clears it page by page: a fifth of a segmenter's step.

    Returns:
        Whether the C library is glibc and took it.
    """
    libc = ctypes.CDLL(None)
    if not hasattr(libc, "gnu_get_libc_version"):
        return False
    return bool(libc.mallopt(_MMAP_MAX, 0) and libc.mallopt(_TRIM_THRESHOLD, _KEPT))
