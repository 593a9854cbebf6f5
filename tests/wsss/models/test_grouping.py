"""Terms by weight: each acts, none leaves a trace, the other view is what it says."""

from typing import Any

import pytest
import torch
from torch import Tensor

from wsss.cam import resize
from wsss.config import GroupingConfig
from wsss.models.backbone import create_backbone
from wsss.models.classifier import TagClassifier
from wsss.models.grouping import grouping_loss, other_view

TERMS = [name for name in GroupingConfig.model_fields if name != "blocks"]
TINY: dict[str, Any] = {"depths": [1, 1, 2, 1], "embed_dims": [32, 32, 64, 64], "slot_grid": [3, 3]}


def classifier() -> TagClassifier:
    torch.manual_seed(0)
    return TagClassifier(create_backbone("glnet_nano", None, TINY), 4, "16.0", 2, "lse").train()


def pictures() -> Tensor:
    return torch.randn(2, 3, 96, 64, generator=torch.Generator().manual_seed(1))


TAGS = torch.tensor([[1.0, 0, 0, 1], [0, 1, 0, 0]])


def test_the_other_view_is_smaller_mirrored_and_leaves_no_trace() -> None:
    model, images = classifier(), pictures()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    seen = other_view(model, images)
    assert model.training and not seen.cam.requires_grad
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert seen.cam.shape == (2, 4, 4, 2)
    with torch.no_grad():
        expected = model.eval()(resize(images.flip(-1), (64, 32))).cam
    torch.testing.assert_close(seen.cam, expected)


@pytest.mark.parametrize("term", TERMS)
def test_each_term_by_its_weight_reaches_the_slots(term: str) -> None:
    model, images = classifier(), pictures()
    torch.nn.init.constant_(model.bias, 1.0)  # slots speak, for `contrast`
    output = model(images)
    values = []
    for weight in (1.0, 2.0):
        settings = GroupingConfig(blocks=("8.0", "16.0"), **{term: weight})
        assert settings.active
        loss, figures = grouping_loss(settings, model, images, output, TAGS)
        assert list(figures) == [term]
        values.append(loss)
    assert values[0].item() == pytest.approx(figures[term]) and figures[term] != 0
    assert values[1].item() == pytest.approx(2 * figures[term])
    values[0].backward()
    scales = [p.grad for n, p in model.named_parameters() if n.endswith("slot_scale")]
    assert all(grad is not None for grad in scales[:3])
    assert any(bool(grad) for grad in scales if grad is not None)


def test_terms_add_up_and_bf16_does_not_reach_them() -> None:
    model, images = classifier(), pictures()
    settings = GroupingConfig.model_validate({"blocks": ("16.0",), **dict.fromkeys(TERMS, 0.5)})
    with torch.autocast("cpu", torch.bfloat16):
        loss, figures = grouping_loss(settings, model, images, model(images), TAGS)
    assert set(figures) == set(TERMS)
    assert loss.item() == pytest.approx(0.5 * sum(figures.values()))
    assert loss.dtype == torch.float32


def test_nothing_is_asked_by_default() -> None:
    assert not GroupingConfig().active
    assert not GroupingConfig(blocks=("16.0",)).active
