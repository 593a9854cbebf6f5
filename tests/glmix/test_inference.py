"""A folded model answers as the model it was made of, and leaves that one alone."""

import pytest
import timm
import torch
from torch import nn

import glmix
from glmix.inference import fold
from glmix.layers import LayerScale, ResidualDepthwiseConv
from glmix.variants import VARIANTS


def trained_looking(name: str, **kwargs: float) -> glmix.GLNet:
    """A small model whose norms, scales and biases are not those of a fresh one."""
    torch.manual_seed(0)
    model = timm.create_model(
        name, depths=(1, 1, 2, 1), embed_dims=(32, 64, 64, 64), num_classes=7, **kwargs
    )
    assert isinstance(model, glmix.GLNet)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean)
            nn.init.uniform_(module.running_var, 0.5, 2)
            nn.init.uniform_(module.weight, 0.5, 2)
        if isinstance(module, LayerScale):
            nn.init.uniform_(module.gamma, 0.5, 2)
        if getattr(module, "bias", None) is not None:
            nn.init.uniform_(module.bias, -0.5, 0.5)
    return model.eval()


@pytest.mark.parametrize("name", sorted(VARIANTS))
def test_folded_models_answer_alike(name: str) -> None:
    model, x = trained_looking(name, layer_scale=1.0), torch.randn(2, 3, 65, 90)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    folded = fold(model)
    with torch.no_grad():
        torch.testing.assert_close(folded(x), model(x), rtol=1e-4, atol=1e-4)
        for got, expected in zip(
            folded.forward_slots(x)[1], model.forward_slots(x)[1], strict=True
        ):
            torch.testing.assert_close(got.logits, expected.logits, rtol=1e-4, atol=1e-4)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    kept = [type(m) for m in folded.modules()]
    assert ResidualDepthwiseConv not in kept
    assert kept.count(nn.BatchNorm2d) == 1  # the last one's answer is a feature
    sequential = model.stages[0].get_submodule("blocks.0").branches in {
        "global-local",
        "local-global",
    }
    assert (LayerScale in kept) == sequential
