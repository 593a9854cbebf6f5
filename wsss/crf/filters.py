"""Normalised Gaussian filters on lattices, several as one linear operator."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from wsss.crf.lattice import Lattice, blur
from wsss.crf.segment_sums import bag_sums, chunk_rows


@dataclass(frozen=True)
class Filters:
    """x ↦ Σ_k S_k·B_k·A_kᵀ·x for lattices k: splat with weights A, blur B, slice with weights S.

    Attributes:
        lattices: over the same N points.
        splat_weights: for each lattice (M_k,), in the order of its `members`.
        vertices: (N, K) int32, each point's rows among all lattices' rows.
        slice_weights: (N, K).
        transposed: whether the axes are blurred from the last to the first.
    """

    lattices: tuple[Lattice, ...]
    splat_weights: tuple[Tensor, ...]
    vertices: Tensor
    slice_weights: Tensor
    transposed: bool = False

    @property
    def num_rows(self) -> int:
        """Rows of the vertex table, every lattice's zero row included."""
        return sum(lattice.num_rows for lattice in self.lattices)

    def vertex_values(self, x: Tensor, tables: tuple[Tensor, Tensor] | None = None) -> Tensor:
        """(rows, L) blurred values at the vertices of (N, L) values at the points.

        `tables`, if given, are two (rows, L) tensors to work in.
        """
        if tables is None:
            table = x.new_empty(self.num_rows, x.shape[1])
            tables = table, torch.empty_like(table)
        start = 0
        for lattice, weights in zip(self.lattices, self.splat_weights, strict=True):
            part = slice(start, start + lattice.num_rows)
            result, spare = tables[0][part], tables[1][part]
            if len(lattice.neighbours) % 2:  # so that the last axis writes to the first table
                result, spare = spare, result
            lattice.members.sums(x, weights, result)
            blur(result, spare, lattice.neighbours, self.transposed)
            start = part.stop
        return tables[0]

    def slice_rows(self, values: Tensor, offsets: Tensor, start: int, stop: int) -> Tensor:
        """(stop − start, L) values at some points, of values at the vertices."""
        index = self.vertices[start:stop].view(-1)
        weights = self.slice_weights[start:stop].view(-1)
        return bag_sums(values, index, weights, offsets[: stop - start + 1])

    def slice_offsets(self, rows: int) -> Tensor:
        """Offsets of so many points' bags."""
        k = self.vertices.shape[1]
        end = k * rows + 1
        return torch.arange(0, end, k, dtype=torch.int32, device=self.vertices.device)

    def apply(self, x: Tensor) -> Tensor:
        """(N, L) filtered values of (N, L) values; no gradient."""
        num = len(x)
        values = self.vertex_values(x)
        rows = min(num, chunk_rows(num, x.shape[1], x.device))
        offsets = self.slice_offsets(rows)
        result = torch.empty_like(x)
        for start in range(0, num, rows):
            stop = min(num, start + rows)
            result[start:stop] = self.slice_rows(values, offsets, start, stop)
        return result


def join(
    lattices: Sequence[Lattice],
    splat_scales: Sequence[Tensor],
    slice_scales: Sequence[Tensor],
    dtype: torch.dtype,
    transposed: bool = False,
) -> Filters:
    """One operator of lattices, their weights scaled at each point.

    Args:
        lattices: one or several over the same N points.
        splat_scales: for each (N,), what comes in is multiplied with.
        slice_scales: for each (N,), what goes out is multiplied with; the lattice's gain comes on
            top.
        dtype: of the values it will filter.
        transposed: whether to blur from the last axis to the first.
    """
    first = lattices[0]
    num_points, width = len(first.vertices), sum(len(lattice.neighbours) for lattice in lattices)
    vertices = first.vertices.new_empty(num_points, width)
    slices = first.weights.new_empty(num_points, width, dtype=dtype)
    splats = []
    rows = start = 0
    for lattice, into, out in zip(lattices, splat_scales, slice_scales, strict=True):
        part = slice(start, start + len(lattice.neighbours))
        torch.add(lattice.vertices, rows, out=vertices[:, part])
        slices[:, part] = lattice.weights * (out * lattice.gain)[:, None]
        splats.append(lattice.splat_order((lattice.weights * into[:, None]).to(dtype)))
        rows += lattice.num_rows
        start = part.stop
    return Filters(tuple(lattices), tuple(splats), vertices, slices, transposed)


def row_sums(lattice: Lattice) -> Tensor:
    """(N,) float32: K·1, the kernel's sum over all points for each."""
    one = torch.ones(len(lattice.vertices), dtype=torch.float32, device=lattice.weights.device)
    plain = join([lattice], [one], [one], torch.float32)
    return plain.apply(one[:, None])[:, 0]


def symmetric_scale(lattice: Lattice) -> Tensor:
    """(N,) float32: (K·1)^(−½), which on both sides normalises the kernel K symmetrically."""
    return (row_sums(lattice) + 1e-20).rsqrt()


class DifferentiableFilter:
    """One lattice's normalised filter, with a gradient with respect to what it filters."""

    def __init__(self, lattice: Lattice, scale: Tensor, dtype: torch.dtype) -> None:
        self.forward = join([lattice], [scale], [scale], dtype)
        self.backward = join([lattice], [scale], [scale], dtype, transposed=True)

    def __call__(self, x: Tensor) -> Tensor:
        """(N, L) filtered values of (N, L) values."""
        return _Apply.apply(x, self.forward, self.backward)


class _Apply(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, filters: Filters, transposed: Filters) -> Tensor:
        ctx.filters, ctx.transposed = filters, transposed
        return filters.apply(x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        # linear, so its own derivative: differentiable again by the operator's two roles swapped
        return _Apply.apply(grad.contiguous(), ctx.transposed, ctx.filters), None, None
