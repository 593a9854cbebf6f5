"""Spatial kernels are kept between calls, as many as the budget holds."""

import pytest
import torch

from wsss.crf import DenseCRF, spatial_cache
from wsss.crf.filters import symmetric_scale
from wsss.crf.mean_field import lattice_of
from wsss.crf.spatial_cache import Kernel, SpatialCache

from .synthetic import draw


def kernel(width: int) -> Kernel:
    lattice = lattice_of([torch.zeros(3, 6, width, dtype=torch.uint8)], 3)
    return lattice, symmetric_scale(lattice)


def test_spatial_cache_drops_the_kernel_used_longest_ago() -> None:
    size = spatial_cache._num_bytes(kernel(20))
    cache = SpatialCache(cpu_bytes=2 * size)
    first = cache.get("first", lambda: kernel(20))
    cache.get("second", lambda: kernel(20))
    assert cache.get("first", lambda: kernel(20)) is first
    cache.get("third", lambda: kernel(20))
    assert list(cache._kernels) == ["first", "third"]


def test_spatial_cache_keeps_no_kernel_larger_than_its_budget() -> None:
    cache = SpatialCache(cpu_bytes=100)
    lattice, _ = cache.get("large", lambda: kernel(20))
    assert len(cache) == 0 and lattice.num_rows > 1


def test_spatial_cache_is_shared_by_all_crfs(monkeypatch: pytest.MonkeyPatch) -> None:
    cache = SpatialCache()
    monkeypatch.setattr(spatial_cache, "SHARED", cache)
    image, probs = draw(20, 30, 2)
    first, again = (DenseCRF("psa")([image], [probs])[0] for _ in range(2))
    assert torch.equal(first, again) and len(cache) == 1
    DenseCRF("irn")([image], [probs])  # the same spatial sigma
    assert len(cache) == 1
    DenseCRF("deeplab")([image], [probs])
    assert len(cache) == 2
