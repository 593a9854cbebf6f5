"""Tracers that timm's users rely on (torch.fx, compile, export, ONNX) see the same network."""

from typing import Any

import pytest
import torch
from small import ALL, EACH, FAST, NANO, small
from timm.models._features_fx import create_feature_extractor


def traced(net: Any) -> Any:
    """The whole network as one torch.fx graph that answers as the network does."""
    return create_feature_extractor(net, ["head"] if net.tklb_aux_head is None else ["add"])


@pytest.mark.parametrize("training", [False, True], ids=["eval", "train"])
@pytest.mark.parametrize("name", EACH)
def test_fx_graph_answers_alike(name: str, training: bool) -> None:
    net, x = small(name).train(training), torch.randn(2, 3, 70, 64)
    graph = traced(net)
    with torch.inference_mode(not training):
        (got,) = graph(x).values()
        expected = net(x)
    assert torch.equal(got, expected)


def test_fx_graph_takes_other_sizes_than_it_was_traced_for() -> None:
    # 66² tokens at stride 4 are not stored, 16² are
    net = small("glnet_nano").eval()
    graph = traced(net)
    with torch.inference_mode():
        for size in (64, 264):
            x = torch.randn(1, 3, size, size)
            assert torch.equal(graph(x)["head"], net(x))


@pytest.mark.parametrize("name", NANO)
def test_fx_graph_trains_every_parameter(name: str) -> None:
    net, x = small(name), torch.randn(2, 3, 64, 64)
    graph = traced(net)
    (out,) = graph(x).values()
    got = torch.autograd.grad(out.square().sum(), list(net.parameters()))
    expected = torch.autograd.grad(net(x).square().sum(), list(net.parameters()))
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-4)


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
