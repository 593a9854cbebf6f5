"""Recorded attention: the weights that the forward pass used, and a forward pass left as it is."""

import pytest
import timm
import torch

import glmix
from glmix.attention import attention_modules, recorded_attention
from glmix.layers import SelfAttention


@pytest.fixture(scope="module")
def net() -> glmix.GLNet:
    torch.manual_seed(0)
    model = timm.create_model("glnet_nano", num_classes=0).eval()
    assert isinstance(model, glmix.GLNet)
    return model


def test_weights_are_those_of_the_forward_pass() -> None:
    torch.manual_seed(1)
    module = SelfAttention(12, 3)
    torch.nn.init.normal_(module.in_proj_weight)
    torch.nn.init.normal_(module.in_proj_bias)
    reference = torch.nn.MultiheadAttention(12, 3, batch_first=True)
    reference.load_state_dict(module.state_dict())
    x = torch.randn(2, 5, 12)
    expected, weights = reference(x, x, x)
    torch.testing.assert_close(module(x), expected, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(module.weights(x), weights, atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_every_block_is_recorded_and_nothing_changes(net: glmix.GLNet) -> None:
    x = torch.randn(2, 3, 64, 96)
    plain = net.forward_slots(x)
    with recorded_attention(net) as attention:
        recorded = net.forward_slots(x)
    for before, after in zip(plain[0], recorded[0], strict=True):
        assert torch.equal(before, after)
    slots = ["4.0", "8.0", "8.1", "16.0", "16.2", "16.4"]
    assert list(attention_modules(net, tokens=False)) == slots
    assert list(attention_modules(net, tokens=True)) == ["16.1", "16.3", "16.5", "32.0", "32.1"]
    assert list(attention) == list(attention_modules(net)) and len(attention) == 11
    for name, weights in attention.items():
        size = {"16": 24, "32": 6}[name.split(".")[0]] if name not in slots else 64
        assert weights.shape == (2, size, size)
        torch.testing.assert_close(weights.sum(-1), torch.ones(2, size))


@torch.no_grad()
def test_attention_of_some_images_is_that_of_their_batch(net: glmix.GLNet) -> None:
    with recorded_attention(net) as attention:
        net(torch.randn(4, 3, 64, 64))
    own = attention.of(slice(1, None, 2))
    for name, weights in attention.items():
        torch.testing.assert_close(own[name], weights[1::2])


@torch.no_grad()
def test_attention_recorded_in_half_the_bits_is_read_outside_of_autocast(net: glmix.GLNet) -> None:
    x = torch.randn(1, 3, 64, 64)
    with recorded_attention(net) as exact:
        net(x)
    with recorded_attention(net) as found, torch.autocast("cpu", torch.bfloat16):
        net(x)
    for name, weights in found.items():
        assert weights.dtype == torch.float32
        torch.testing.assert_close(weights, exact[name], atol=0.05, rtol=0.1)


@torch.no_grad()
def test_hooks_are_gone_afterwards(net: glmix.GLNet) -> None:
    with recorded_attention(net) as attention:
        net(torch.randn(1, 3, 32, 32))
    before = {name: weights.clone() for name, weights in attention.items()}
    net(torch.randn(1, 3, 32, 32))
    for name, weights in attention.items():
        assert torch.equal(weights, before[name])
    with pytest.raises(ValueError, match="outside"), recorded_attention(net):
        raise ValueError("outside")
    assert not any(module._forward_pre_hooks for module in net.modules())
