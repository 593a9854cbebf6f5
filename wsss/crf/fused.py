"""Mean field by few launches: the loop of `mean_field.iterate` for Potts models on a GPU.

An iteration is a splat in two levels, a blur for each axis and a slice with its softmax, nine
launches for both kernels of an image's CRF together; torch's own operations are about forty.
"""

from dataclasses import dataclass
from itertools import accumulate

import torch
from torch import Tensor

from wsss.crf import kernels
from wsss.crf.filters import Filters
from wsss.crf.segment_sums import Pieces, cut_into_pieces


@dataclass(frozen=True)
class Plan:
    """All lattices' rows in one table, twice: axes are blurred from one half to the other.

    Attributes:
        index: (M,) int32, points that are added up, lattice after lattice.
        weights: (M,), theirs.
        pieces: the bags of the table's R rows, in two levels.
        blurs: for each axis (first row, neighbours (3·rows,) counted from there) of the rows that
            have so many axes.
        vertices: (N, K) int32, rows of the two halves in which each lattice's values end up.
        slice_weights: (N, K).
        num_rows: R.
    """

    index: Tensor
    weights: Tensor
    pieces: Pieces
    blurs: list[list[tuple[int, Tensor]]]
    vertices: Tensor
    slice_weights: Tensor
    num_rows: int

    def iterate(self, unary: Tensor, marginals: Tensor, iterations: int) -> None:
        """Steps of mean field from and to `marginals` (N, L), overwritten.

        Args:
            unary: (N, L) float32, log probabilities.
            marginals: (N, L), in the dtype that values are kept in.
            iterations: how many steps.
        """
        width, rows = unary.shape[1], self.num_rows
        both = marginals.new_empty(2 * rows, width)
        halves = both[:rows], both[rows:]
        parts = marginals.new_empty(len(self.pieces.numbers), width)
        with torch.cuda.device(unary.device):
            for _ in range(iterations):
                kernels.bag_sums(marginals, self.index, self.weights, self.pieces.offsets, parts)
                kernels.bag_sums(parts, None, None, self.pieces.first, halves[0])
                for axis, blurs in enumerate(self.blurs):
                    source, target = halves[axis % 2], halves[1 - axis % 2]
                    for first, neighbours in blurs:
                        part = slice(first, first + len(neighbours) // 3)
                        kernels.blur(source[part], neighbours, target[part])
                kernels.slice_and_normalise(
                    both, self.vertices, self.slice_weights, unary, marginals
                )


def plan(filters: Filters) -> Plan:
    """The same sums as the filters', for `Plan.iterate`; they are not the transposed ones."""
    *starts, rows = accumulate((one.num_rows for one in filters.lattices), initial=0)
    members = [lattice.members for lattice in filters.lattices]
    counts = [len(one.index) for one in members]
    *before, total = accumulate(counts, initial=0)
    ends = [one.offsets[1:] + shift for one, shift in zip(members, before, strict=True)]
    offsets = torch.cat([members[0].offsets[:1], *ends])
    vertices, column = filters.vertices.clone(), 0
    blurs: list[list[tuple[int, Tensor]]] = []
    for lattice, first in zip(filters.lattices, starts, strict=True):
        axes = len(lattice.neighbours)
        if axes % 2:
            vertices[:, column : column + axes] += rows
        column += axes
        blurs.extend([] for _ in range(axes - len(blurs)))
        for run, neighbours in zip(blurs, lattice.neighbours, strict=False):
            _append(run, first, neighbours)
    return Plan(
        index=torch.cat([one.index for one in members]),
        weights=torch.cat(filters.splat_weights),
        pieces=cut_into_pieces(offsets, total),
        blurs=blurs,
        vertices=vertices,
        slice_weights=filters.slice_weights,
        num_rows=rows,
    )


def _append(run: list[tuple[int, Tensor]], first: int, neighbours: Tensor) -> None:
    """Adds rows to those to blur, to the last ones where they follow upon them."""
    if run and run[-1][0] + len(run[-1][1]) // 3 == first:
        start, before = run.pop()
        first, neighbours = start, torch.cat([before, neighbours + (first - start)])
    run.append((first, neighbours))
