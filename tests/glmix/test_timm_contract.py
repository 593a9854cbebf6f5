"""What timm promises of a backbone, held by every registered variant.

Fast tests build each variant shallow and narrow: the same code, small. Slow ones take it as it is.
"""

from typing import Any

import pytest
import timm
import torch
from timm.optim import param_groups_layer_decay
from torch import nn

import glmix
from glmix.variants import VARIANTS

SMALL: dict[str, Any] = {"depths": (1, 1, 2, 1), "embed_dims": (32, 64, 64, 64)}
ALL = sorted(VARIANTS)
# one of each structure in the fast suite, the others in the slow one
FAST = {
    "glnet_nano",
    "glnet_stl_paramslot",
    "glnet_4g_tklb",
    "glnet_stl_window",
    "glnet_stl_hard",
    "glnet_stl_global_local",
}
EACH = [n if n in FAST else pytest.param(n, marks=pytest.mark.slow) for n in ALL]
NANO = [n if n == "glnet_nano" else pytest.param(n, marks=pytest.mark.slow) for n in ALL]


def small(name: str, **kwargs: Any) -> Any:
    torch.manual_seed(0)
    return timm.create_model(name, **{**SMALL, "num_classes": 7, **kwargs})


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
        first = net.forward_intermediates(x, indices=[0], stop_early=True, intermediates_only=True)
        torch.testing.assert_close(first, features[:1])
    with pytest.raises(ValueError, match="NLC"):
        net.forward_intermediates(x, output_fmt="NLC")


def test_prune_keeps_the_stages_taken() -> None:
    net = small("glnet_nano")
    assert net.prune_intermediate_layers([0, 1], prune_norm=True) == [0, 1]
    assert len(net.stages) == 2 and isinstance(net.norm, nn.Identity)
    assert net.forward_intermediates(torch.randn(1, 3, 32, 32))[0].shape == (1, 64, 4, 4)


@pytest.mark.parametrize("name", EACH)
def test_classifier(name: str) -> None:
    net = small(name).eval()
    x = torch.randn(1, 3, 64, 64)
    assert net.get_classifier().out_features == 7
    net.reset_classifier(5)
    assert net(x).shape == (1, 5)
    net.reset_classifier(0)
    assert isinstance(net.get_classifier(), nn.Identity)
    assert net(x).shape == (1, 64)
    assert small(name, num_classes=0)(torch.randn(2, 3, 64, 64)).shape == (2, 64)


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


# patches of 4, 2, 2 and 2 pixels leave nothing of a smaller picture
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


@pytest.mark.parametrize("name", NANO)
def test_compiles_to_one_graph(name: str) -> None:
    torch.compiler.reset()
    net, x = small(name).eval(), torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        compiled = torch.compile(net, fullgraph=True, backend="eager")
        torch.testing.assert_close(compiled(x), net(x), rtol=1e-4, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("name", ALL)
def test_training_compiles_to_one_graph(name: str) -> None:
    torch.compiler.reset()
    net = small(name, drop_path_rate=0.1)
    torch.compile(net, fullgraph=True, backend="eager")(torch.randn(2, 3, 64, 64)).sum().backward()
    assert all(p.grad is not None for p in net.parameters())


@pytest.mark.parametrize("name", NANO)
def test_exports(name: str) -> None:
    net, x = small(name).eval(), torch.randn(2, 3, 60, 72)
    program = torch.export.export(net, (x,))
    with torch.no_grad():
        torch.testing.assert_close(program.module()(x), net(x), rtol=1e-4, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(FAST))
def test_compiled_code_answers_alike(name: str) -> None:
    torch.compiler.reset()
    net, x = small(name, depths=(1, 1, 1, 1)).eval(), torch.randn(1, 3, 96, 96)
    with torch.no_grad():
        compiled = torch.compile(net, fullgraph=True)
        torch.testing.assert_close(compiled(x), net(x), rtol=1e-3, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("name", ALL)
def test_onnx_answers_alike(name: str, tmp_path: Any) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    net, x = small(name).eval(), torch.randn(1, 3, 112, 80)
    path = tmp_path / "net.onnx"
    torch.onnx.export(net, (x,), path, dynamo=True, verbose=False)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (answer,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
    with torch.no_grad():
        torch.testing.assert_close(torch.from_numpy(answer), net(x), rtol=1e-3, atol=1e-4)


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
