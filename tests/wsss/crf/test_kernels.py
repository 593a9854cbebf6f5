"""Triton's kernels: by its interpreter on any machine, compiled where there is a GPU."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from glmix import gpu
from wsss.crf import segment_sums
from wsss.crf.segment_sums import PIECE, bag_sums, make_bags

on_gpu = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]


def test_kernels_compute_what_torch_does() -> None:
    pytest.importorskip("triton")
    script = Path(__file__).parent / "kernels_by_interpreter.py"
    paths = os.pathsep.join([str(Path(gpu.__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, str(script)], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    limits = {"float16": 2e-3, "bfloat16": 5e-2}
    gaps = json.loads(done.stdout)
    assert len(gaps) == 12
    assert all(gap < limits.get(case, 5e-5) for case, gap in gaps.items()), gaps


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
def test_a_gpu_without_triton_is_told_of_in_a_line() -> None:
    with pytest.warns(UserWarning, match="without Triton every new size of image takes") as network:
        assert not gpu.has_triton.__wrapped__(torch.device("cuda"), torch.float32)
    with pytest.warns(UserWarning, match="without Triton the CRF takes up to twenty") as crf:
        assert not segment_sums._kernels_work.__wrapped__(torch.device("cuda"), torch.float32)
    for (warning,) in (network, crf):
        assert "\n" not in str(warning.message)


def test_tensors_of_a_cpu_take_no_kernel() -> None:
    assert not segment_sums.has_kernels(torch.ones(2, 3))


class SaysGpu(torch.Tensor):
    """Says that it is on a GPU; its values are on the CPU."""

    is_cuda = True  # type: ignore[assignment]


def test_kernels_are_for_what_they_can_compute(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (gpu, segment_sums):
        monkeypatch.setattr(module, "Tensor", SaysGpu)
    monkeypatch.setattr(segment_sums, "_kernels_work", lambda _, dtype: dtype != torch.bfloat16)
    x = torch.ones(2, 3).as_subclass(SaysGpu)
    with torch.no_grad():
        for plain in (gpu._infers_plainly, segment_sums.has_kernels):
            assert plain(x) and plain(x.half()) and not plain(x.double())
            with monkeypatch.context() as traced:
                traced.setattr(torch.compiler, "is_compiling", lambda: True)
                assert not plain(x)
    assert not segment_sums.has_kernels(x.bfloat16())  # which old GPUs' Triton does not compile
    assert segment_sums.has_kernels(x) and not segment_sums.has_kernels(x.requires_grad_())
    with torch.no_grad():
        assert segment_sums.has_kernels(x)


def test_low_precision_without_triton_is_left_to_pytorch(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(gpu, "_infers_plainly", lambda _: True)
    monkeypatch.setattr(gpu, "has_triton", lambda *of: asked.append(of))
    x, weight = torch.randn(1, 2, 4, 5), torch.randn(2, 1, 3, 3)
    expected = x + F.conv2d(x, weight, padding=1, groups=2)
    torch.testing.assert_close(gpu.depthwise_conv2d(x, weight, None, residual=True), expected)
    assert asked == [(x.device, torch.float32)]


class TestOnAGpu:
    pytestmark = on_gpu

    def test_triton_works(self) -> None:
        for dtype in (torch.float32, torch.float16):
            assert gpu.has_triton(torch.device("cuda", 0), dtype)
            assert segment_sums.has_kernels(torch.ones(2, 3, device="cuda", dtype=dtype))

    @pytest.mark.parametrize("columns", [1, 3, 4, 21, 40])
    @pytest.mark.parametrize("dtype", [torch.float32, torch.float16], ids=str)
    def test_sums_equal_those_of_embedding_bag(self, columns: int, dtype: torch.dtype) -> None:
        counts = torch.tensor([0, 5, 3 * PIECE + 1, 1, 0, PIECE, 700])
        offsets = torch.cat([counts.new_zeros(1), counts.cumsum(0)]).int()
        table = torch.randn(50, columns).to(dtype)
        index = torch.randint(0, 50, (int(offsets[-1]),), dtype=torch.int32)
        weights = torch.rand(len(index)).to(dtype)
        expected = bag_sums(table.float(), index, weights.float(), offsets)
        there = [one.cuda() for one in (table, index, weights, offsets)]
        got = bag_sums(*there)
        assert got.dtype == dtype and torch.equal(got, bag_sums(*there))
        tolerance = 1e-4 if dtype == torch.float32 else 5e-2
        torch.testing.assert_close(got.cpu().float(), expected, rtol=1e-2, atol=tolerance)
        bags, out = make_bags(there[1], there[3]), torch.empty_like(got)
        assert bags.pieces is not None
        bags.sums(there[0], there[2], out)
        torch.testing.assert_close(out.cpu().float(), expected, rtol=1e-2, atol=10 * tolerance)

    @pytest.mark.parametrize("side", [3, 5, 7])
    @pytest.mark.parametrize("residual", [False, True])
    @pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
    def test_depthwise_convolution_equals_the_cpus(
        self, side: int, residual: bool, dtype: torch.dtype
    ) -> None:
        x, weight, bias = torch.randn(2, 70, 19, 33), torch.randn(70, 1, side, side), torch.ones(70)
        expected = F.conv2d(x, weight, bias, padding=side // 2, groups=70) + residual * x
        with torch.no_grad():
            got = gpu.depthwise_conv2d(
                x.cuda().to(dtype), weight.cuda(), bias.cuda(), residual=residual
            )
        assert got.dtype == dtype and got.is_contiguous(memory_format=torch.channels_last)
        tolerance = 1e-4 if dtype == torch.float32 else 0.2
        torch.testing.assert_close(got.cpu().float(), expected, rtol=2e-2, atol=tolerance)
