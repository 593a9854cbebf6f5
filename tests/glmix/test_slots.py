"""Every GLMix block shows its slots, at any image size, in training and evaluation."""

from typing import Any

import pytest
import timm
import torch
from torch.utils._python_dispatch import TorchDispatchMode

import glmix
from glmix import blocks

SIZES = [(64, 64), (97, 130), (33, 200), (17, 21)]


@pytest.mark.parametrize("training", [False, True], ids=["eval", "train"])
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_slots_at_any_size(size: tuple[int, int], training: bool) -> None:
    model = timm.create_model("glnet_nano").train(training)
    assert isinstance(model, glmix.GLNet)
    features, assignments = model.forward_slots(torch.randn(2, 3, *size))
    assert [a.name for a in assignments] == ["4.0", "8.0", "8.1", "16.0", "16.2", "16.4"]
    for assignment in assignments:
        h, w = assignment.grid
        assert features[assignment.stage].shape[-2:] == (h, w)
        assert assignment.logits.shape == (2, 64, h * w)


def test_features_equal_those_of_the_plain_forward() -> None:
    model = timm.create_model("glnet_nano").eval()
    x = torch.randn(1, 3, 70, 90)
    features, _ = model.forward_slots(x)
    torch.testing.assert_close(features, model.forward_intermediates(x, intermediates_only=True))


def test_slots_carry_gradients_to_the_scale() -> None:
    model = timm.create_model("glnet_nano", slot_scale=8.0)
    _, assignments = model.forward_slots(torch.randn(1, 3, 64, 64))
    assignments[0].logits.square().mean().backward()
    scale = model.get_parameter("stages.0.blocks.0.slot_scale")
    assert scale.item() == 8.0
    assert scale.grad is not None and scale.grad.abs() > 0


class Shapes(TorchDispatchMode):
    """Collects the shapes of whatever an operation returns."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: set[tuple[int, ...]] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for tensor in out if isinstance(out, tuple | list) else [out]:
            if isinstance(tensor, torch.Tensor):
                self.seen.add(tuple(tensor.shape))
        return out

    def holds(self, *dims: int) -> bool:
        return any(set(dims) <= set(shape) for shape in self.seen)


@pytest.mark.parametrize("training", [False, True], ids=["eval", "train"])
def test_large_assignments_are_stored_only_when_asked_for(training: bool) -> None:
    block = blocks.GLMixBlock(
        32, 1, mlp_ratio=1, mlp_depthwise=False, pos_conv=False, drop_path=0, layer_scale=None
    )
    x = torch.randn(1, 32, 64, 64)
    with torch.set_grad_enabled(training):
        with Shapes() as unasked:
            out = block(x)
            if training:
                out.sum().backward()
        with Shapes() as asked:
            expected, logits = block.forward_slots(x)
    assert not unasked.holds(64, 4096)
    assert asked.holds(64, 4096) and logits.shape == (1, 64, 4096)
    torch.testing.assert_close(out, expected, rtol=1e-4, atol=1e-5)
