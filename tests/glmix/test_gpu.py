"""GLNets on CUDA: what is decided for it, shown on any machine, and answers, shown on a GPU.

Without a GPU, fake tensors that say they are on CUDA run the same Python; they have shapes, strides
and precisions, no values.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import timm
import torch
import torch.nn.functional as F
from reference import fill, golden, needs_reference
from small import EACH, small
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

import glmix
from glmix.blocks import Block
from glmix.layers import ChannelNorm, low_layer_norm
from glmix.plain import plain_forward

on_gpu = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]


@pytest.fixture
def exact() -> Iterator[None]:
    """Products in float32 as such, without TF32."""
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    yield
    torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before


class Results(TorchDispatchMode):
    """Keeps what every operation returns: its name, and the tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[str, Tensor]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        first = out[0] if isinstance(out, tuple | list) else out
        if isinstance(first, Tensor):
            self.seen.append((func.overloadpacket.__name__, first))
        return out


@contextmanager
def bfloat16_on_cuda(enabled: bool) -> Iterator[None]:
    """`torch.autocast` switches itself off where there is no CUDA device."""
    torch.set_autocast_enabled("cuda", enabled)
    torch.set_autocast_dtype("cuda", torch.bfloat16)
    try:
        yield
    finally:
        torch.set_autocast_enabled("cuda", False)
        torch.clear_autocast_cache()


def on_fake_cuda(net: Any, size: int, low: bool) -> list[tuple[str, Tensor]]:
    """What every operation of a forward pass over (2, 3, size, size) returns."""
    # functional_call looks at the parameters that it replaces
    with FakeTensorMode(allow_non_fake_inputs=True):
        state = {k: torch.empty_like(v, device="cuda") for k, v in net.state_dict().items()}
        x = torch.empty(2, 3, size, size, device="cuda")
        with bfloat16_on_cuda(low), Results() as results:
            torch.func.functional_call(net, state, (x,))
    return results.seen


@pytest.mark.usefixtures("fake_cuda")
@pytest.mark.parametrize("low", [False, True], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("name", ["glnet_nano", "glnet_stl"])
def test_cuda_keeps_norms_in_the_precision_of_the_grid(name: str, low: bool) -> None:
    net = small(name).eval()
    seen = on_fake_cuda(net, 64, low)
    norms = [out.dtype for op, out in seen if op == "native_layer_norm"]
    assert len(norms) == sum(isinstance(m, ChannelNorm) for m in net.modules())
    assert set(norms) == {torch.bfloat16 if low else torch.float32}
    # heads of the unfused attention of fake tensors apart, only the image is converted
    copies = [t.shape for op, t in seen if op == "_to_copy" and t.ndim == 4 and len(t) == 2]
    assert {tuple(shape) for shape in copies if shape[1] > 2} <= {(2, 3, 64, 64)}


def block_grids(net: Any) -> list[Tensor]:
    """Inputs and answers of all blocks, filled in as the network runs."""
    grids: list[Tensor] = []
    for block in (m for m in net.modules() if isinstance(m, Block)):
        block.register_forward_hook(lambda _, args, out: grids.extend([*args, out]))
    return grids


def are_channels_last(grids: list[Tensor]) -> bool:
    return all(grid.is_contiguous(memory_format=torch.channels_last) for grid in grids)


@pytest.mark.usefixtures("fake_cuda")
@pytest.mark.parametrize("name", EACH)
def test_cuda_grids_stay_channels_last(name: str) -> None:
    # in float32: fake convolutions in bfloat16 fall back to channels first where cuDNN is absent
    net = small(name).eval()
    grids = block_grids(net)
    on_fake_cuda(net, 128, low=False)
    assert len(grids) == 10 and are_channels_last(grids)


@pytest.mark.usefixtures("fake_cuda")
def test_cuda_fuses_dispatching_and_gathers_by_products(monkeypatch: pytest.MonkeyPatch) -> None:
    shapes, fused = [], F.scaled_dot_product_attention

    def spy(q: Tensor, k: Tensor, v: Tensor, **kwargs: Any) -> Tensor:
        shapes.append((q.shape[-2], k.shape[-2]))
        return fused(q, k, v, **kwargs)

    monkeypatch.setattr(F, "scaled_dot_product_attention", spy)
    net = small("glnet_nano").eval()
    on_fake_cuda(net, 256, low=False)
    assert (4096, 64) in shapes and (64, 4096) not in shapes
    shapes.clear()
    with torch.no_grad():
        net(torch.randn(1, 3, 256, 256))
    assert (4096, 64) in shapes and (64, 4096) in shapes


def test_low_layer_norm_equals_the_wide_one_within_rounding() -> None:
    rows = (3 * torch.randn(4, 7, 96) + 1).bfloat16()
    weight, bias = torch.randn(96), torch.randn(96)
    expected = F.layer_norm(rows.float(), (96,), weight, bias, 1e-6)
    got = low_layer_norm(rows, weight, bias, 1e-6)
    assert got.dtype == torch.bfloat16
    torch.testing.assert_close(got.float(), expected, rtol=2**-6, atol=2**-6)


class TestOnAGpu:
    """Numbers of a real device."""

    pytestmark = on_gpu

    @needs_reference
    @pytest.mark.parametrize("name", ["glnet_stl", "glnet_4g", "glnet_16g"])
    def test_answers_equal_the_released_ones(self, name: str, exact: None) -> None:
        reference, expected = fill(), golden(name)
        model = timm.create_model(name).eval()
        assert isinstance(model, glmix.GLNet)
        model.load_state_dict(reference.fill_state_dict(name))
        batch, _, height, width = expected["shape"]
        images = reference.fill_images(batch, height, width, int(expected["seed"])).cuda()
        with torch.no_grad():
            logits = model.cuda()(images).cpu().numpy()
            _, assignments = model.forward_slots(images)
        gap = np.abs(logits - expected["logits"]).max()
        assert gap < 1e-3 * np.abs(expected["logits"]).max()
        for i, assignment in enumerate(assignments):
            winner = assignment.logits.argmax(1).cpu().numpy()
            assert (winner == expected[f"slot_argmax_{i}"]).mean() >= 0.999, assignment.name

    @needs_reference
    @pytest.mark.parametrize(
        "name", ["glnet_stl_paramslot", "glnet_9g", "glnet_4g_tklb", "glnet_9g_tklb"]
    )
    def test_the_other_released_models_equal_the_plain_formulation(
        self, name: str, exact: None
    ) -> None:
        model = timm.create_model(name).eval()
        assert isinstance(model, glmix.GLNet)
        model.load_state_dict(fill().fill_state_dict(name))
        x = fill().fill_images(1, 224, 224, seed=3)
        with torch.no_grad():
            expected, _ = plain_forward(model, x)
            got = model.cuda()(x.cuda()).cpu()
        assert (got - expected).abs().max() < 1e-3 * expected.abs().max()

    @pytest.mark.parametrize("size", [(64, 64), (97, 130), (264, 256)], ids=str)
    @pytest.mark.parametrize("name", EACH)
    def test_forward_and_backward_equal_the_cpu(
        self, name: str, size: tuple[int, int], exact: None
    ) -> None:
        net, x = small(name).eval(), torch.randn(2, 3, *size)
        names, here = zip(*net.named_parameters(), strict=True)
        expected = net(x)
        expected_gradients = torch.autograd.grad(expected.square().sum(), here)
        net.cuda()
        got = net(x.cuda())
        torch.testing.assert_close(got.cpu(), expected, rtol=1e-3, atol=1e-4)
        gradients = torch.autograd.grad(got.square().sum(), list(net.parameters()))
        for key, ours, theirs in zip(names, gradients, expected_gradients, strict=True):
            scale = theirs.abs().max().clamp_min(1e-6)
            assert ((ours.cpu() - theirs).abs().max() / scale) < 1e-2, key

    @pytest.mark.parametrize("name", EACH)
    def test_bfloat16_autocast_is_near_float32(self, name: str, exact: None) -> None:
        net, x = small(name).eval().cuda(), torch.randn(2, 3, 128, 128, device="cuda")
        expected = net(x)
        grids = block_grids(net)
        with torch.autocast("cuda", torch.bfloat16):
            got = net(x)
        assert len(grids) == 10 and are_channels_last(grids)
        torch.testing.assert_close(got.float(), expected, rtol=0.05, atol=0.05)
        got.float().square().mean().backward()
        assert all(p.grad.isfinite().all() for p in net.parameters())

    def test_channel_norm_under_autocast_equals_float32_within_rounding(self) -> None:
        norm = ChannelNorm(96, eps=1e-6).cuda()
        x = torch.randn(2, 96, 9, 11, device="cuda").bfloat16()
        expected = norm(x.float())
        with torch.autocast("cuda", torch.bfloat16):
            got = norm(x)
        assert got.dtype == torch.bfloat16
        torch.testing.assert_close(got.float(), expected, rtol=2**-6, atol=2**-6)
