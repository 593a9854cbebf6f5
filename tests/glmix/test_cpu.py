"""The ways round slow kernels, taken by capability, give what the plain operations give."""

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from small import small
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from glmix import cpu
from glmix.cpu import Capability, attention, depthwise_conv2d, pointwise_conv2d, row_linear

CAPABILITIES = [Capability(products, low) for products in (False, True) for low in (False, True)]


@pytest.fixture(autouse=True)
def every_detour(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Capability:
    """All ways round are taken, on any machine; a test may name another capability."""
    given = getattr(request, "param", Capability(True, True))
    monkeypatch.setattr(cpu, "capability", lambda: given)
    return given


class Operations(TorchDispatchMode):
    """Counts the operations that reach the backend."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.seen[func.overloadpacket.__name__] += 1
        return func(*args, **(kwargs or {}))


def operations(call: Callable[[], Tensor], backward: bool = True) -> Counter[str]:
    with torch.set_grad_enabled(backward), Operations() as found:
        out = call()
        if backward:
            out.float().sum().backward()
    return found.seen


def leaf(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(shape, dtype=dtype).requires_grad_()


@pytest.mark.parametrize("every_detour", CAPABILITIES, indirect=True, ids=str)
def test_products_go_through_onednn_by_capability(every_detour: Capability) -> None:
    x, weight, bias = leaf(2, 16, 8), leaf(12, 8), leaf(12)
    grid, kernel = leaf(2, 8, 4, 4), leaf(12, 8, 1, 1)
    trained = operations(lambda: row_linear(x, weight, bias))
    inferred = operations(lambda: row_linear(x, weight, bias), backward=False)
    pointwise = operations(lambda: pointwise_conv2d(grid, kernel, bias), backward=False)
    expected = every_detour.onednn_products
    assert ("convolution" in trained) == expected
    assert ("_linear_pointwise" in inferred) == expected
    assert ("_linear_pointwise" in pointwise) == expected


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("every_detour", CAPABILITIES, indirect=True, ids=str)
def test_depthwise_gradient_goes_by_columns_by_capability(
    every_detour: Capability, dtype: torch.dtype
) -> None:
    x, weight, bias = (leaf(*shape, dtype=dtype) for shape in ((1, 4, 6, 6), (4, 1, 5, 5), (4,)))
    seen = operations(lambda: depthwise_conv2d(x, weight, bias))
    by_columns = dtype == torch.float32 or every_detour.native_bfloat16
    # one call for the input, one for each group of up to three columns; or one for all
    assert seen["convolution_backward"] == (3 if by_columns else 1)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("every_detour", CAPABILITIES, indirect=True, ids=str)
def test_attention_is_plain_in_native_bfloat16_alone(
    every_detour: Capability, dtype: torch.dtype
) -> None:
    q, k, v = (leaf(1, 2, 16, 8, dtype=dtype) for _ in range(3))
    seen = operations(lambda: attention(q, k, v))
    plain = dtype == torch.bfloat16 and every_detour.native_bfloat16
    assert any(name.startswith("_scaled_dot_product") for name in seen) != plain


@pytest.mark.parametrize("low", [False, True], ids=["float32", "bfloat16"])
def test_networks_answer_alike_at_every_capability(
    low: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    net, x = small("glnet_nano").eval(), torch.randn(2, 3, 64, 64)
    answers = []
    for given in CAPABILITIES:
        monkeypatch.setattr(cpu, "capability", lambda given=given: given)
        with torch.autocast("cpu", torch.bfloat16, enabled=low):
            trained = net(x)
            with torch.no_grad():
                inferred = net(x)
        gradients = torch.autograd.grad(trained.float().square().sum(), list(net.parameters()))
        answers.append([trained.float(), inferred.float(), *gradients])
    for answer in answers[1:]:
        for got, expected in zip(answer, answers[0], strict=True):
            gap = (got - expected).abs().max() / expected.abs().max().clamp_min(1e-6)
            assert gap < (0.1 if low else 1e-3)


def test_capability_of_this_machine_is_what_torch_reports(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.undo()
    cpu.capability.cache_clear()
    found = cpu.capability()
    wide = torch.backends.cpu.get_cpu_capability() in {"AVX512", "AVX512_VNNI"}
    assert found.onednn_products == wide
    assert found.native_bfloat16 == torch.ops.mkldnn._is_mkldnn_bf16_supported()
    for reported, expected in (("AVX512", True), ("AVX2", False), ("DEFAULT", False)):
        monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda r=reported: r)
        cpu.capability.cache_clear()
        assert cpu.capability().onednn_products is expected
    monkeypatch.undo()
    cpu.capability.cache_clear()


def gradients(out: Tensor, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    weight = torch.linspace(-1, 1, out.numel()).reshape(out.shape).to(out.dtype)
    return torch.autograd.grad((out * weight).sum(), inputs)


@pytest.mark.parametrize("side", [3, 5, 7, 9])
@pytest.mark.parametrize("size", [(6, 11), (2, 1)], ids=str)
def test_depthwise_gradients(side: int, size: tuple[int, int]) -> None:
    x = torch.randn(3, 4, *size, dtype=torch.double).requires_grad_()
    weight = torch.randn(4, 1, side, side, dtype=torch.double).requires_grad_()
    bias = torch.randn(4, dtype=torch.double).requires_grad_()
    out = depthwise_conv2d(x, weight, bias)
    plain = F.conv2d(x, weight, bias, padding=side // 2, groups=4)
    assert torch.equal(out, plain)
    for got, expected in zip(
        gradients(out, (x, weight, bias)), gradients(plain, (x, weight, bias)), strict=True
    ):
        torch.testing.assert_close(got, expected)


def test_depthwise_gradients_of_frozen_input() -> None:
    weight = torch.randn(4, 1, 5, 5, requires_grad=True)
    bias = torch.randn(4, requires_grad=True)
    depthwise_conv2d(torch.randn(1, 4, 6, 6), weight, bias).sum().backward()
    assert bias.grad is not None and bias.grad.tolist() == [36.0] * 4


def test_depthwise_under_autocast_computes_low_and_returns_full_gradients() -> None:
    x = torch.randn(1, 4, 6, 6)
    weight = torch.randn(4, 1, 5, 5, requires_grad=True)
    bias = torch.randn(4, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16):
        out = depthwise_conv2d(x, weight, bias)
    assert out.dtype == torch.bfloat16
    out.float().sum().backward()
    assert weight.grad is not None and weight.grad.dtype == torch.float32
    torch.testing.assert_close(weight.grad[:, 0, 2, 2], x.sum((0, 2, 3)), rtol=0.02, atol=0.1)


@pytest.mark.parametrize("shape", [(17, 5, 8), (2, 5, 8), (4, 20, 8)], ids=str)
def test_row_linear_is_linear(shape: tuple[int, ...]) -> None:
    x = torch.randn(shape, requires_grad=True)
    weight = torch.randn(12, 8, requires_grad=True)
    bias = torch.randn(12, requires_grad=True)
    out, plain = row_linear(x, weight, bias), F.linear(x, weight, bias)
    torch.testing.assert_close(out, plain)
    for got, expected in zip(
        gradients(out, (x, weight, bias)), gradients(plain, (x, weight, bias)), strict=True
    ):
        torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("shape", [(17, 8, 3, 5), (2, 8, 3, 5), (2, 8, 6, 4)], ids=str)
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last], ids=str)
def test_pointwise_convolution_is_one(shape: tuple[int, ...], layout: torch.memory_format) -> None:
    x = torch.randn(shape).contiguous(memory_format=layout).requires_grad_()
    weight = torch.randn(12, 8, 1, 1, requires_grad=True)
    bias = torch.randn(12, requires_grad=True)
    out, plain = pointwise_conv2d(x, weight, bias), F.conv2d(x, weight, bias)
    torch.testing.assert_close(out, plain)
    for got, expected in zip(
        gradients(out, (x, weight, bias)), gradients(plain, (x, weight, bias)), strict=True
    ):
        torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-4)


def test_inference_products_equal_the_plain_ones() -> None:
    rows, grid = torch.randn(1, 30, 8), torch.randn(2, 8, 5, 6)
    weight, bias = torch.randn(12, 8), torch.randn(12)
    with torch.no_grad():
        torch.testing.assert_close(row_linear(rows, weight, bias), F.linear(rows, weight, bias))
        kernel = weight[:, :, None, None]
        torch.testing.assert_close(
            pointwise_conv2d(grid, kernel, bias), F.conv2d(grid, kernel, bias)
        )
