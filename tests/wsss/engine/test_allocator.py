"""Memory that is freed stays at hand."""

import ctypes
import os
import subprocess
import sys

import pytest

from wsss.engine.allocator import give_back, keep_freed_memory

GLIBC = hasattr(ctypes.CDLL(None), "gnu_get_libc_version")

CODE = """
import resource
import numpy as np
from wsss.engine.allocator import given_back, keep_freed_memory

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(10):
        np.ones(8 * 2**20)  # 64 MiB
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

print(faults())
keep_freed_memory()
faults()
print(faults())
with given_back():
    print(faults())
faults()
print(faults())
"""


@pytest.mark.skipif(not GLIBC, reason="the C library is not glibc")
def test_keep_freed_memory_spares_page_faults() -> None:
    # in a process of its own: the setting stays; huge pages, if there are any left, are few faults
    small_pages = {**os.environ, "NUMPY_MADVISE_HUGEPAGE": "0"}
    done = subprocess.run(
        [sys.executable, "-c", CODE], capture_output=True, text=True, check=True, env=small_pages
    )
    before, kept, back, kept_again = map(int, done.stdout.split())
    assert kept < before / 20 and kept_again < before / 20
    assert back > before / 2


def test_keep_freed_memory_leaves_other_libraries_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda _: object())
    assert not keep_freed_memory()


def test_give_back_needs_no_library_that_can(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda _: object())
    give_back()
