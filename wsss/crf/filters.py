"""Symmetrically normalised Gaussian filters on lattices, several as one linear operator."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from wsss.crf.bags import Bags, bag_sums, chunk_rows
from wsss.crf.lattice import Lattice, blur


@dataclass(frozen=True)
class Filters:
    """x ↦ Σ_k S_k·B_k·A_kᵀ·x for lattices k: splat with weights A, blur B, slice with weights S.

    Attributes:
        members: the bags of points at each of all the lattices' vertices.
        splat_weights: (M,), in the order of `members`.
        vertices: (N, K) int32, each point's rows among all lattices' rows.
        slice_weights: (N, K).
        neighbours: for each lattice what `Lattice.neighbours` is.
        transposed: whether the axes are blurred from the last to the first.
    """

    members: Bags
    splat_weights: Tensor
    vertices: Tensor
    slice_weights: Tensor
    neighbours: tuple[Tensor, ...]
    transposed: bool = False

    @property
    def num_rows(self) -> int:
        """Rows of the vertex table, every lattice's zero row included."""
        return len(self.members.offsets) - 1

    def vertex_values(self, x: Tensor, tables: tuple[Tensor, Tensor] | None = None) -> Tensor:
        """(rows, L) blurred values at the vertices of (N, L) values at the points.

        `tables`, if given, are two (rows, L) tensors to work in.
        """
        if tables is None:
            table = x.new_empty(self.num_rows, x.shape[1])
            tables = table, torch.empty_like(table)
        values, spare = tables
        self.members.sums(x, self.splat_weights, values)
        start = 0
        for neighbours in self.neighbours:
            part = slice(start, start + neighbours.shape[1] // 3)
            blurred = blur(values[part], spare[part], neighbours, self.transposed)
            if blurred.data_ptr() != values[part].data_ptr():
                values[part] = blurred
            start = part.stop
        return values

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
    vertices, slices, points, splats, offsets = [], [], [], [], []
    rows = entries = 0
    for lattice, into, out in zip(lattices, splat_scales, slice_scales, strict=True):
        vertices.append(lattice.vertices + rows)
        slices.append((lattice.weights * (out * lattice.gain)[:, None]).to(dtype))
        points.append(lattice.members.index)
        splats.append(lattice.splat_order((lattice.weights * into[:, None]).to(dtype)))
        offsets.append(lattice.members.offsets[:-1] + entries)
        rows += lattice.num_rows
        entries += len(lattice.members.index)
    end = offsets[0].new_full((1,), entries)
    return Filters(
        members=Bags(torch.cat(points), torch.cat([*offsets, end])),
        splat_weights=torch.cat(splats),
        vertices=torch.cat(vertices, 1),
        slice_weights=torch.cat(slices, 1),
        neighbours=tuple(lattice.neighbours for lattice in lattices),
        transposed=transposed,
    )


def symmetric_scale(lattice: Lattice) -> Tensor:
    """(N,) float32: (K·1)^(−½), which on both sides normalises the kernel K symmetrically."""
    one = torch.ones(len(lattice.vertices), dtype=torch.float32, device=lattice.weights.device)
    plain = join([lattice], [one], [one], torch.float32)
    return (plain.apply(one[:, None])[:, 0] + 1e-20).rsqrt()


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
