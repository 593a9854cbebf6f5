"""The fast forward and backward passes against the plain formulation."""

import pytest
import timm
import torch

import glmix
from glmix.plain import plain_forward

SIZES = [(64, 64), (97, 130), (33, 200)]


def model_and_image(size: tuple[int, int]) -> tuple[glmix.GLNet, torch.Tensor]:
    torch.manual_seed(0)
    model = timm.create_model("glnet_nano", slot_scale=8.0)
    assert isinstance(model, glmix.GLNet)
    return model, torch.randn(2, 3, *size)


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_answers_equal_the_plain_ones(size: tuple[int, int]) -> None:
    model, x = model_and_image(size)
    model.eval()
    with torch.no_grad():
        expected, expected_logits = plain_forward(model, x)
        _, assignments = model.forward_slots(x)
        torch.testing.assert_close(model(x), expected, rtol=1e-4, atol=1e-5)
    for assignment, logits in zip(assignments, expected_logits, strict=True):
        torch.testing.assert_close(assignment.logits, logits, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_gradients_equal_the_plain_ones(size: tuple[int, int]) -> None:
    # double precision: the question is the formula, not the rounding
    model, x = model_and_image(size)
    model, x = model.double().eval(), x.double()
    names, parameters = zip(*model.named_parameters(), strict=True)
    ours = torch.autograd.grad(model(x).square().sum(), parameters)
    plain = torch.autograd.grad(plain_forward(model, x)[0].square().sum(), parameters)
    for name, got, expected in zip(names, ours, plain, strict=True):
        scale = expected.abs().max()
        assert scale > 0, name
        torch.testing.assert_close(got / scale, expected / scale, rtol=0, atol=1e-8, msg=name)
