"""Nothing leaves the device between what goes in and what comes out.

Without a GPU this is shown on fake tensors: they have a device and shapes but no values, so any
read by the host, and any operation between devices, is an error. `NoHops` refuses both by name as
well, and does so on real tensors where there is a GPU. How many vertices a lattice has is the one
thing only values tell: the fake has as many as it can have. (On a real device `unique_consecutive`
waits for that count, once a lattice, to size its output; the tests count these waits.)
"""

from collections.abc import Iterator
from contextlib import nullcontext
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from wsss.crf import DenseCRF, DenseCRFLoss, mean_field, segment_sums, spatial_cache
from wsss.crf.compat import densecrf
from wsss.crf.embedding import _axis_orders, _steps
from wsss.crf.inputs import Problem
from wsss.crf.mean_field import lattice_of
from wsss.crf.spatial_cache import SpatialCache

from .synthetic import draw

CUDA = torch.device("cuda", 0)


class NoHops(TorchDispatchMode):
    """Refuses host reads and tensors that leave for the CPU; constants may come from there."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0
        self.waits = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        name = str(func)
        self.waits += func is torch.ops.aten.unique_consecutive.default
        if func is torch.ops.aten.unique_consecutive.default and isinstance(args[0], FakeTensor):
            return [torch.empty_like(args[0], dtype=d) for d in (args[0].dtype, *2 * [torch.int64])]
        assert "_local_scalar_dense" not in name, f"{name} reads a value"
        out = func(*args, **(kwargs or {}))
        came = [t for t in tree_leaves((args, kwargs)) if isinstance(t, Tensor)]
        left = [t for t in tree_leaves(out) if isinstance(t, Tensor)]
        if any(t.device.type == "cuda" for t in came):
            assert all(t.device.type == "cuda" for t in left), f"{name} leaves the device"
            self.calls += 1
        return out


def solve_and_lose(image: Tensor, probs: Tensor, **options: Any) -> list[Tensor]:
    refined = DenseCRF("irn", iterations=2, **options)([image, image], [probs, probs])
    return [*refined, DenseCRFLoss()(image[None], probs[None])]


OPTIONS = [
    {},
    {"downsample": 2},
    {"storage": "fp16"},
    {"backend": "par"},
    {"backend": "brute"},
]


@pytest.fixture
def _nothing_kept(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Fake tensors neither meet tensors that are kept between calls nor are kept themselves."""
    monkeypatch.setattr(spatial_cache, "SHARED", SpatialCache())
    for kept in (_axis_orders, _steps):
        kept.cache_clear()
    yield
    for kept in (_axis_orders, _steps):
        kept.cache_clear()


@pytest.mark.usefixtures("fake_cuda", "_nothing_kept")
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_fake_tensors_stay_on_their_device(options: dict[str, Any]) -> None:
    with FakeTensorMode(), NoHops() as hops:
        image = torch.empty(3, 20, 30, dtype=torch.uint8, device=CUDA)
        probs = torch.empty(3, 20, 30, device=CUDA)
        outcome = solve_and_lose(image, probs, **options)
    assert all(t.device == CUDA for t in outcome)
    assert hops.calls > 50
    lattices = 1 if "backend" in options else 3
    assert hops.waits == lattices  # for the number of vertices


@pytest.mark.usefixtures("fake_cuda", "_nothing_kept")
def test_fused_launches_wait_for_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("triton")
    from wsss.crf import fused

    launched: list[str] = []
    for name in ("bag_sums", "blur", "slice_and_normalise"):
        launch = partial(lambda name, *_: launched.append(name), name)
        monkeypatch.setattr(fused.kernels, name, launch)
    monkeypatch.setattr(mean_field, "has_kernels", lambda _: True)
    monkeypatch.setattr(torch.cuda, "device", lambda _: nullcontext())
    with FakeTensorMode(), NoHops() as hops:
        image = torch.empty(3, 20, 30, dtype=torch.uint8, device=CUDA)
        probs = torch.empty(3, 20, 30, device=CUDA)
        outcome = DenseCRF("irn", iterations=2)([image, image], [probs, probs])
    assert all(t.device == CUDA for t in outcome) and hops.waits == 2
    one = ["bag_sums", "bag_sums", *["blur"] * 6, "slice_and_normalise"]
    assert launched == [*one, *one]


def test_the_proof_can_fail() -> None:
    image_size = (3, 20, 30)
    for escape in (lambda t: t.cpu(), lambda t: t.sum().item(), lambda t: t.tolist()):
        with (
            pytest.raises((AssertionError, RuntimeError, NotImplementedError)),
            FakeTensorMode(),
            NoHops(),
        ):
            escape(torch.empty(image_size, device=CUDA))


@pytest.mark.parametrize(
    "options", [*OPTIONS[:3], {"preset": "psa"}, {"preset": "deeplab"}], ids=str
)
def test_the_devices_path_equals_the_cpus(
    options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """On the CPU: two-level bags, one lattice for the batch, a search among all keys."""
    pairs = [draw(60, 80, 9), draw(41, 52, 3, seed=1)]
    images, probs = [p[0] for p in pairs], [p[1] for p in pairs]
    expected = DenseCRF(**options)(images, probs, [[0, 3, 8], [2, 0]])
    monkeypatch.setattr(segment_sums, "HOST_TYPES", ())
    monkeypatch.setattr(spatial_cache, "SHARED", SpatialCache())
    found = DenseCRF(**options)(images, probs, [[0, 3, 8], [2, 0]])
    tolerance = 2e-2 if options.get("storage") else 3e-5
    for a, b in zip(expected, found, strict=True):
        torch.testing.assert_close(a, b, atol=tolerance, rtol=0)


def test_large_images_do_not_share_a_lattice(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a batch of photographs fits the memory of a device."""
    image = torch.zeros(3, 4, 5, dtype=torch.uint8)
    problems = [Problem(image, torch.zeros(2, 4, 5)) for _ in range(5)]
    assert [len(group) for group in mean_field._groups(problems)] == [1] * 5  # on a CPU
    monkeypatch.setattr(mean_field, "is_host", lambda _: False)
    assert [len(group) for group in mean_field._groups(problems)] == [5]
    for pixels, sizes in ((59, [2, 2, 1]), (40, [2, 2, 1]), (10, [1] * 5)):
        monkeypatch.setattr(mean_field, "LATTICE_PIXELS", pixels)
        assert [len(group) for group in mean_field._groups(problems)] == sizes


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_gpu_lattice_equals_the_cpus() -> None:
    image, _ = draw(40, 50, 3)
    cpu, gpu = (lattice_of([i], 80, 13) for i in (image, image.to(CUDA)))
    assert torch.equal(gpu.vertices.cpu(), cpu.vertices)
    assert torch.equal(gpu.weights.cpu(), cpu.weights)
    assert torch.equal(gpu.neighbours.cpu(), cpu.neighbours)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("compat", [3.0, np.eye(3, dtype=np.float32)], ids=["number", "matrix"])
def test_gpu_drop_in_equals_the_cpus(compat: Any) -> None:
    image, probs = draw(40, 50, 3)
    found = []
    for device in ("cpu", CUDA):
        crf = densecrf.DenseCRF2D(50, 40, 3, device=device)
        crf.setUnaryEnergy(-probs.log().reshape(3, -1).numpy())
        crf.addPairwiseGaussian(3, compat)
        crf.addPairwiseBilateral(80, 13, image.permute(1, 2, 0).contiguous().numpy(), compat)
        found.append(crf.inference(5))
    np.testing.assert_allclose(*found, atol=1e-3)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_gpu_stays_and_equals_the_cpu(options: dict[str, Any]) -> None:
    image, probs = draw(40, 50, 3)
    expected = solve_and_lose(image, probs, **options)
    with NoHops():
        found = solve_and_lose(image.to(CUDA), probs.to(CUDA), **options)
        again = solve_and_lose(image.to(CUDA), probs.to(CUDA), **options)
    tolerance = 2e-2 if options.get("storage") else 1e-3
    for a, b, c in zip(expected, found, again, strict=True):
        assert torch.equal(b, c)
        torch.testing.assert_close(b.cpu(), a, atol=tolerance, rtol=0)
