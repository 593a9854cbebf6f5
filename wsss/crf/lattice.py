"""The permutohedral lattice of points as index tensors, built by one sort."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from wsss.crf.embedding import KeySpace, embed
from wsss.crf.segment_sums import Bags, bag_sums, chunk_rows, is_host, make_bags

TABLE_LIMIT = 256  # cells of the table of lines, for each vertex


@dataclass(frozen=True)
class Lattice:
    """A Gaussian filter over N points: splat to V vertices, blur along d + 1 axes, slice back.

    Tables of vertex values have V + 1 rows: the last is zero, for neighbours that do not exist.

    Attributes:
        vertices: (N, d + 1) int32, each point's rows in the table.
        weights: (N, d + 1) float32, its barycentric weights.
        order: (N·(d + 1),) int64, the entries of `vertices` sorted by vertex, stably.
        members: the bags of points at each vertex (V + 1 of them).
        neighbours: (d + 1, 3·(V + 1)) int32, for each axis and vertex itself and two neighbours.
    """

    vertices: Tensor
    weights: Tensor
    order: Tensor
    members: Bags
    neighbours: Tensor

    @property
    def num_rows(self) -> int:
        """V + 1."""
        return len(self.members.offsets) - 1

    @property
    def gain(self) -> float:
        """What the blur's (½, 1, ½) multiply a constant by too little: 1/(1 + 2^−d)."""
        return 1 / (1 + 2.0 ** (1 - len(self.neighbours)))

    def splat_order(self, weights: Tensor) -> Tensor:
        """(N, d + 1) weights in the order of `members`."""
        return weights.reshape(-1).index_select(0, self.order)


def build_lattice(
    features: list[Tensor], space: KeySpace, image_index: Tensor | None, num_images: int
) -> Lattice:
    """The lattice around points; arguments as `embed`'s."""
    keys, weights = embed(features, space, image_index, num_images)
    num_points, n = keys.shape
    ordered, order = keys.view(-1).sort(stable=True)
    vertex_keys, inverse, counts = torch.unique_consecutive(
        ordered, return_inverse=True, return_counts=True
    )
    vertices = torch.empty_like(inverse, dtype=torch.int32)
    vertices.scatter_(0, order, inverse.int())
    ends = counts.cumsum(0, dtype=torch.int32)
    offsets = torch.cat([ends.new_zeros(1), ends, ends[-1:]])  # the zero row's bag is empty
    # the quotient in double precision: integer division is several times slower, this is exact
    points = ((order.double() + 0.5) * (1 / n)).int()
    return Lattice(
        vertices=vertices.view(num_points, n),
        weights=weights,
        order=order,
        members=make_bags(points, offsets),
        neighbours=_find_neighbours(vertex_keys, space),
    )


def _find_neighbours(keys: Tensor, space: KeySpace) -> Tensor:
    """(d + 1, 3·(V + 1)) int32: rows of the vertex itself, key + step and key − step."""
    num, n = len(keys), len(space.steps)
    rows = torch.arange(num, dtype=torch.int32, device=keys.device)
    result = torch.full((n, num + 1, 3), num, dtype=torch.int32, device=keys.device)
    result[:, :num, 0] = rows
    # elsewhere a search among all keys is quick, and the number of lines one more thing to wait for
    lines = space.columns > 0 and is_host(keys.device)
    find = _line_finder(keys, space) if lines else None
    for axis, step in enumerate(space.steps):
        plus = find(step) if find else _find_keys(keys, step)
        result[axis, :num, 1] = plus.int()
        # who has me as plus, I have as minus; those without one write to the zero row
        minus = torch.full((num + 1,), num, dtype=torch.int32, device=keys.device)
        minus.scatter_(0, plus, rows)
        result[axis, :num, 2] = minus[:num]
    return result.view(n, -1)


def _line_finder(keys: Tensor, space: KeySpace) -> Callable[[int], Tensor] | None:
    """A function from a step to the rows of key + step, quicker than a search among all keys.

    Keys that share all but the last coordinate form a line. Lines find their neighbour lines by
    binary search; a table (lines, columns) of each vertex's position within its line, 0 where
    there is no vertex, finds the vertices: lines are several times fewer than vertices.

    Returns:
        None where vertices are so far apart that the table would be larger than all else.
    """
    num, columns = len(keys), space.columns
    line_keys = keys.div(columns, rounding_mode="floor")
    column = (keys - line_keys * columns).long()
    line_keys, line, counts = torch.unique_consecutive(
        line_keys, return_inverse=True, return_counts=True
    )
    cells = (len(line_keys) + 1) * columns  # one more line, empty, for lines without a neighbour
    if cells > TABLE_LIMIT * num:
        return None
    ends = counts.cumsum(0)
    starts = torch.cat([ends - counts, ends[-1:]])
    position = torch.arange(num, device=keys.device) - starts.index_select(0, line) + 1
    table = torch.zeros(cells, dtype=_position_dtype(columns), device=keys.device)
    table.scatter_(0, line * columns + column, position.to(table.dtype))

    def find(step: int) -> Tensor:
        line_step = (step + 1) // columns  # steps are k·columns, 1 − columns, or −1
        other = line  # the last axis runs along the lines
        if line_step:
            other = _find_keys(line_keys, line_step).index_select(0, line)
        cell = other * columns + (column + (step - line_step * columns))
        position = table.index_select(0, cell)
        found = starts.index_select(0, other) + position - 1
        return torch.where(position > 0, found, num)

    return find


def _find_keys(keys: Tensor, step: int) -> Tensor:
    """(R,) int64: where keys + step is among the R sorted keys, R where it is not."""
    wanted = keys + step
    position = torch.searchsorted(keys, wanted)
    there = keys.index_select(0, position.clamp_max(len(keys) - 1)) == wanted
    return torch.where(there, position, len(keys))


def _position_dtype(columns: int) -> torch.dtype:
    return torch.uint8 if columns < 2**8 else torch.int16 if columns < 2**15 else torch.int32


def blur(values: Tensor, spare: Tensor, neighbours: Tensor, reverse: bool = False) -> None:
    """Blurs vertex values by (½, 1, ½) along every axis in turn.

    Args:
        values: (V + 1, L), the last row zero; holds the result if the axes are even in number.
        spare: (V + 1, L), overwritten; holds the result if they are odd.
        neighbours: (d + 1, 3·(V + 1)), as the lattice's.
        reverse: from the last axis to the first, which is the transposed operation.
    """
    num_rows, width = values.shape
    rows = min(num_rows, chunk_rows(num_rows, width, values.device))
    offsets = torch.arange(0, 3 * rows + 1, 3, dtype=torch.int32, device=values.device)
    weights = values.new_ones(rows, 3)
    weights[:, 1:] = 0.5
    weights = weights.view(-1)
    for index in reversed(neighbours.unbind()) if reverse else neighbours:
        for start in range(0, num_rows, rows):
            stop = min(num_rows, start + rows)
            count = stop - start
            spare[start:stop] = bag_sums(
                values, index[3 * start : 3 * stop], weights[: 3 * count], offsets[: count + 1]
            )
        values, spare = spare, values
