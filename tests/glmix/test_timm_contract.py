"""What timm promises of a backbone, held by every registered variant.

Fast tests build each variant shallow and narrow: the same code, small. Slow ones take it as it is.
"""

import pytest
import timm
import torch
from small import ALL, EACH, NANO, small
from timm.optim import param_groups_layer_decay
from torch import nn

import glmix


def test_every_registered_glnet_is_a_variant() -> None:
    assert sorted(timm.list_models("glnet_*")) == ALL


@pytest.mark.parametrize("name", EACH)
def test_features_only(name: str) -> None:
    net = small(name, features_only=True, out_indices=(1, 3))
    assert net.feature_info.reduction() == [8, 32]
    features = net(torch.randn(1, 3, 64, 96))
    assert [tuple(f.shape) for f in features] == [(1, 64, 8, 12), (1, 64, 2, 3)]
    assert net.feature_info.channels() == [64, 64]
    full = small(name, features_only=True)
    assert full.feature_info.reduction() == [4, 8, 16, 32]


@pytest.mark.parametrize("feature_cls", ["getter", "fx", "hook"])
@pytest.mark.parametrize("name", NANO)
def test_feature_extractors_of_each_kind_answer_alike(name: str, feature_cls: str) -> None:
    net, x = small(name).eval(), torch.randn(1, 3, 64, 64)
    extractor = small(name, features_only=True, feature_cls=feature_cls).eval()
    with torch.no_grad():
        expected = net.forward_intermediates(x, intermediates_only=True)
        torch.testing.assert_close(extractor(x), expected, rtol=0, atol=0)


def test_feature_cfg_is_taken_beside_the_default() -> None:
    net = small("glnet_nano", features_only=True, feature_cfg={"out_indices": (2,)})
    assert net.feature_info.reduction() == [16]


@pytest.mark.parametrize("name", EACH)
def test_forward_intermediates(name: str) -> None:
    net = small(name).eval()
    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        last, features = net.forward_intermediates(x)
        assert [f.shape[-1] for f in features] == [16, 8, 4, 2]
        torch.testing.assert_close(last, net.forward_features(x))
        normed = net.forward_intermediates(x, indices=1, norm=True, intermediates_only=True)
        torch.testing.assert_close(normed, [last])
        early, first = net.forward_intermediates(x, indices=[0], stop_early=True)
        torch.testing.assert_close(first, features[:1])
        torch.testing.assert_close(early, features[0])
    with pytest.raises(ValueError, match="NLC"):
        net.forward_intermediates(x, output_fmt="NLC")


@pytest.mark.parametrize("name", NANO)
def test_prune_intermediate_layers_keeps_the_stages_taken(name: str) -> None:
    net, x = small(name).eval(), torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        expected = net.forward_intermediates(x, indices=[0, 1], intermediates_only=True)
        assert net.prune_intermediate_layers([0, 1]) == [0, 1]
        last, features = net.forward_intermediates(x)
        torch.testing.assert_close(features, expected)
        torch.testing.assert_close(last, expected[-1])
        assert net(x).shape == (1, 64, 8, 8)
    assert len(net.stages) == 2 and net.num_classes == 0
    assert isinstance(net.norm, nn.Identity) and net.num_features == 64


def test_prune_intermediate_layers_keeps_norm_and_head_when_asked() -> None:
    net = small("glnet_nano").eval()
    x = torch.randn(1, 3, 32, 32)
    expected = net(x)
    assert net.prune_intermediate_layers(1, prune_head=False) == [3]
    torch.testing.assert_close(net(x), expected)
    net.prune_intermediate_layers(1, prune_norm=True)
    assert isinstance(net.norm, nn.Identity) and net(x).shape == (1, 64, 1, 1)


@pytest.mark.parametrize("name", EACH)
def test_reset_classifier_changes_head_and_pooling(name: str) -> None:
    net, x = small(name).eval(), torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        grid = net.forward_features(x)
        pooled = net.forward_head(grid, pre_logits=True)
        assert net.get_classifier().out_features == 7
        net.reset_classifier(5)
        assert net(x).shape == (1, 5)
        net.reset_classifier(0)
        assert isinstance(net.get_classifier(), nn.Identity) and net.num_classes == 0
        assert net.head_hidden_size == 64
        torch.testing.assert_close(net(x), pooled)
        net.reset_classifier(0, "")
        torch.testing.assert_close(net(x), grid)
        assert grid.shape == (1, 64, 2, 3)
        net.reset_classifier(3, "avg")
        assert net(x).shape == (1, 3)


@pytest.mark.parametrize("name", NANO)
def test_models_without_classes_answer_features(name: str) -> None:
    x = torch.randn(2, 3, 64, 64)
    assert small(name, num_classes=0)(x).shape == (2, 64)
    assert small(name, num_classes=0, global_pool="")(x).shape == (2, 64, 2, 2)
    both = small(name, global_pool="catavgmax").eval()
    assert both.head_hidden_size == 128 and both(x).shape == (2, 7)


def test_a_head_without_pooling_is_refused() -> None:
    with pytest.raises(ValueError, match="global_pool is ''"):
        small("glnet_nano", global_pool="")
    net = small("glnet_nano", num_classes=0, global_pool="")
    with pytest.raises(ValueError, match="global_pool is ''"):
        net.reset_classifier(7)


@pytest.mark.parametrize("name", EACH)
def test_device_and_dtype_are_those_of_every_parameter(name: str) -> None:
    net = small(name, device="meta", dtype=torch.bfloat16)
    held = [*net.parameters(), *(b for b in net.buffers() if b.is_floating_point())]
    assert {(t.device.type, t.dtype) for t in held} == {("meta", torch.bfloat16)}
    net.reset_classifier(3)
    assert (net.head.weight.device.type, net.head.weight.dtype) == ("meta", torch.bfloat16)
    assert net(torch.empty(1, 3, 64, 64, device="meta", dtype=torch.bfloat16)).shape == (1, 3)


@pytest.mark.parametrize(
    ("shape", "wrong"),
    [
        ((3, 64, 64), r"shape \(3, 64, 64\); a GLNet takes \(B, 3, H, W\)"),
        ((1, 64, 64, 3), r"64 channels; this GLNet takes 3"),
        ((1, 3, 20, 64), r"20×64 pixels; .* from 32×32"),
    ],
    ids=["unbatched", "channels last", "too small"],
)
def test_inputs_of_wrong_shape_are_told(shape: tuple[int, ...], wrong: str) -> None:
    with pytest.raises(ValueError, match=wrong):
        small("glnet_stl")(torch.randn(shape))


@pytest.mark.parametrize("name", EACH)
def test_every_parameter_receives_a_gradient(name: str) -> None:
    net = small(name, drop_path_rate=0.1)
    net(torch.randn(4, 3, 64, 64)).square().sum().backward()
    missing = [n for n, p in net.named_parameters() if p.grad is None]
    assert not missing


@pytest.mark.parametrize("name", EACH)
def test_grad_checkpointing_changes_no_gradient(name: str) -> None:
    net, x = small(name).double(), torch.randn(2, 3, 64, 64).double()
    plain = torch.autograd.grad(net(x).sum(), list(net.parameters()))
    net.set_grad_checkpointing()
    again = torch.autograd.grad(net(x).sum(), list(net.parameters()))
    torch.testing.assert_close(again, plain)


@pytest.mark.parametrize("name", EACH)
def test_layer_decay_orders_the_layers(name: str) -> None:
    net = small(name)
    groups = param_groups_layer_decay(
        net, weight_decay=0.05, no_weight_decay_list=net.no_weight_decay(), layer_decay=0.5
    )
    scale_of = {id(p): group["lr_scale"] for group in groups for p in group["params"]}
    decay_of = {id(p): group["weight_decay"] for group in groups for p in group["params"]}
    named = dict(net.named_parameters())
    assert set(scale_of) == {id(p) for p in named.values()}
    # stem; 1 + 1 + 2 + 1 blocks, a transition going with the block after it; norm and head
    chain = [
        "downsample_layers.0",
        "stages.0.blocks.0",
        "stages.1.blocks.0",
        "stages.2.blocks.0",
        "stages.2.blocks.1",
        "stages.3.blocks.0",
        "head",
    ]
    for rank, prefix in enumerate(chain):
        scales = {scale_of[id(p)] for n, p in named.items() if n.startswith(prefix + ".")}
        assert scales == {0.5 ** (len(chain) - 1 - rank)}, prefix
    for parameter in (n for n in named if n.endswith(("slot_scale", "init_slots"))):
        assert decay_of[id(named[parameter])] == 0


@pytest.mark.parametrize("name", EACH)
def test_in_chans_and_drop_path(name: str) -> None:
    net = small(name, in_chans=5, drop_path_rate=0.3)
    assert net(torch.randn(2, 5, 64, 64)).shape == (2, 7)
    rates = [m.drop_prob for m in net.modules() if type(m).__name__ == "DropPath"]
    assert rates == sorted(rates) and max(rates) == pytest.approx(0.3)


def test_unknown_arguments_are_refused() -> None:
    with pytest.raises(TypeError, match="slot_gird"):
        small("glnet_nano", slot_gird=(4, 4))


@pytest.mark.parametrize("argument", ["slot_init", "clustering", "branches", "local_mixer"])
def test_unknown_choices_are_refused_with_the_known_ones(argument: str) -> None:
    with pytest.raises(ValueError, match=f"{argument} is 'spiral'; choose one of "):
        small("glnet_nano", **{argument: "spiral"})


@pytest.mark.parametrize("name", EACH)
def test_construction_on_meta_as_released(name: str) -> None:
    with torch.device("meta"):
        net = timm.create_model(name)
    assert {p.device.type for p in net.parameters()} == {"meta"}
    assert net(torch.empty(2, 3, 224, 224, device="meta")).shape == (2, 1000)


# patches of 4, 2, 2 and 2 pixels leave nothing of a smaller image
@pytest.mark.parametrize("size", [(32, 32), (33, 47), (61, 128)], ids=str)
@pytest.mark.parametrize("name", EACH)
def test_odd_and_tiny_sizes(name: str, size: tuple[int, int]) -> None:
    net = small(name).eval()
    with torch.no_grad():
        assert net(torch.randn(1, 3, *size)).isfinite().all()


@pytest.mark.parametrize("size", [(1, 1), (5, 2)], ids=str)
def test_overlapping_stems_take_single_pixels(size: tuple[int, int]) -> None:
    assert small("glnet_nano").eval()(torch.randn(1, 3, *size)).isfinite().all()


@pytest.mark.parametrize("name", EACH)
def test_bfloat16_autocast(name: str) -> None:
    net, x = small(name), torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        exact = net.eval()(x)
        with torch.autocast("cpu", torch.bfloat16):
            torch.testing.assert_close(net(x).float(), exact, rtol=0.05, atol=0.05)
    with torch.autocast("cpu", torch.bfloat16):
        loss = net.train()(x).float().square().mean()
    loss.backward()
    assert all(p.grad.isfinite().all() for p in net.parameters())


@pytest.mark.slow
@pytest.mark.parametrize("name", ALL)
def test_released_size_trains_a_step_and_shows_slots(name: str) -> None:
    torch.manual_seed(0)
    net = timm.create_model(name, num_classes=3)
    assert isinstance(net, glmix.GLNet)
    optimiser = torch.optim.AdamW(net.parameters(), 1e-4)
    x, target = torch.randn(2, 3, 64, 64), torch.tensor([0, 2])
    before = nn.functional.cross_entropy(net(x), target)
    before.backward()
    assert all(p.grad is not None for p in net.parameters())
    optimiser.step()
    assert nn.functional.cross_entropy(net(x), target) < before
    _, assignments = net.forward_slots(x)
    assert bool(assignments) == (name != "glnet_stl_local")
