"""Which parameters learn how fast, and which decay."""

import pytest
from torch import nn

from wsss.engine.parameters import parameter_groups
from wsss.models.backbone import create_backbone


def test_groups_by_place_and_shape() -> None:
    backbone = nn.Conv2d(3, 2, 1)
    frozen = nn.Linear(2, 2)
    frozen.requires_grad_(False)
    model = nn.Sequential(backbone, nn.BatchNorm2d(2), nn.Linear(2, 5), frozen)
    groups = parameter_groups(model, backbone, lr=1.0, backbone_factor=0.1, weight_decay=0.05)
    found = {(g["lr"], g["weight_decay"]): [id(p) for p in g["params"]] for g in groups}
    assert found == {
        (0.1, 0.05): [id(backbone.weight)],
        (0.1, 0.0): [id(backbone.bias)],
        (1.0, 0.0): [id(model[1].weight), id(model[1].bias), id(model[2].bias)],
        (1.0, 0.05): [id(model[2].weight)],
    }


def test_layers_learn_slower_towards_the_picture() -> None:
    args = {"depths": [1, 2, 1, 1], "embed_dims": [32] * 4, "slot_grid": [2, 2]}
    backbone = create_backbone("glnet_nano", None, args)
    model = nn.Sequential(backbone, nn.Conv2d(32, 3, 1))
    groups = parameter_groups(model, backbone, 1.0, 0.5, 0.05, layer_decay=0.9)
    rates = {id(p): g["lr"] for g in groups for p in g["params"]}
    assert sum(len(g["params"]) for g in groups) == len(list(model.parameters()))
    named = dict(backbone.named_parameters())
    # the stem, then blocks one after the other, a transition with the first block after it
    expected = {
        "downsample_layers.0.": 5,
        "stages.0.blocks.0": 4,
        "downsample_layers.1.": 3,
        "stages.1.blocks.0": 3,
        "stages.1.blocks.1": 2,
        "stages.2.blocks.0": 1,
        "stages.3.blocks.0": 0,
        "norm.weight": 0,
    }
    for start, steps in expected.items():
        found = {rates[id(p)] for name, p in named.items() if name.startswith(start)}
        assert list(found) == [pytest.approx(0.5 * 0.9**steps)], start
    assert [rates[id(p)] for p in model[1].parameters()] == [1.0, 1.0]
