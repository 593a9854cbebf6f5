"""The detours round slow kernels give the gradients of the plain operations."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from glmix.cpu import depthwise_conv2d, pointwise_conv2d, row_linear


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
