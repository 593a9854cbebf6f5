"""Which parameters learn how fast, and which decay."""

from torch import nn

from wsss.engine.parameter_groups import freeze, parameter_groups, to_training


def test_parameter_groups_by_module_and_shape() -> None:
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


def test_to_training_leaves_what_is_frozen() -> None:
    backbone = nn.Sequential(nn.Conv2d(3, 2, 1), nn.BatchNorm2d(2), nn.Dropout(0.5))
    model = nn.Sequential(backbone, nn.BatchNorm2d(2), nn.Dropout(0.5)).eval()
    freeze(backbone)
    assert to_training(model) is model
    assert [part.training for part in model] == [False, True, True]
    assert not any(part.training for part in backbone)
