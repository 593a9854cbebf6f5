"""Weighted sums of table rows: the one operation that splats, blurs and slices.

`torch.embedding_bag` adds up the rows of each bag in order, without atomics: the same bits in every
run, on CPU and GPU.
"""

import warnings
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

CHUNK_VALUES = 400_000  # values a CPU makes at a time: they stay in its cache, and no fresh memory
# has to be mapped for results of tens of megabytes, which takes longer than to compute them
PIECE = 64  # members of a piece: a device adds up a bag one after the other, by a single thread
SHORT_BAGS = 4  # members of a bag, on average, below which pieces are not worth another pass
HOST_TYPES = ("cpu",)  # devices whose caches, not launches, decide what is quick


def is_host(device: torch.device) -> bool:
    """Whether to work in chunks that stay in a cache, rather than in few launches."""
    return device.type in HOST_TYPES


def has_kernels(table: Tensor) -> bool:
    """Whether `kernels.py` can sum a table's rows: on a GPU, without a gradient or a trace."""
    if torch.compiler.is_compiling() or torch.jit.is_tracing():  # type: ignore[attr-defined]
        return False
    wanted = torch.is_grad_enabled() and table.requires_grad
    plain = table.is_cuda and type(table) is Tensor and table.dtype != torch.float64
    return plain and not wanted and _kernels_work(table.device, table.dtype)


@cache
def _kernels_work(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether Triton compiles and runs on a GPU; where it doesn't, a warning says so once.

    It comes with PyTorch's builds for Linux and needs a C compiler, Python's headers, and a GPU of
    2017 or later; for bfloat16 older versions need one of 2020 or later.
    """
    try:
        from wsss.crf import kernels

        offsets = torch.arange(0, 4, 2, dtype=torch.int32, device=device)
        table = torch.ones(2, 3, device=device, dtype=dtype)
        total = torch.empty_like(table[:1])
        with torch.cuda.device(device):
            kernels.bag_sums(table, None, None, offsets, total)  # a look at it would be waited for
        return True
    except Exception as error:  # each cause raises its own
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        warnings.warn(
            f"without Triton the CRF takes up to twenty times as long on this GPU: {reason}",
            stacklevel=2,
        )
        return False


def chunk_rows(num_rows: int, width: int, device: torch.device) -> int:
    """Rows of so many values to make at a time: all of them where launches are what costs."""
    return max(1, CHUNK_VALUES // width) if is_host(device) else max(1, num_rows)


def bag_sums(table: Tensor, index: Tensor, weights: Tensor | None, offsets: Tensor) -> Tensor:
    """Row r = Σ weights[i] · table[index[i]] over offsets[r] ≤ i < offsets[r + 1].

    Args:
        table: (T, L).
        index: (M,) int32 or int64.
        weights: (M,), the table's dtype; None is all 1.
        offsets: (R + 1,), index's dtype, rising from 0 to M.

    Returns:
        (R, L).
    """
    if has_kernels(table):
        from wsss.crf import kernels

        out = table.new_empty(len(offsets) - 1, table.shape[1])
        with torch.cuda.device(table.device):
            kernels.bag_sums(table, index, weights, offsets, out)
        return out
    return torch.embedding_bag(
        table, index, offsets, False, 0, False, weights, include_last_offset=True
    )[0]


@dataclass(frozen=True)
class Pieces:
    """Bags cut into pieces of at most 64 members, which many threads add up side by side.

    There are as many pieces as there can be at most, so that the host need not wait for their
    number; the spare ones are empty and belong to no bag.

    Attributes:
        offsets: (P + 1,) where the pieces start among the members.
        numbers: (P,) 0 … P − 1.
        first: (R + 1,) where each bag starts among the pieces.
    """

    offsets: Tensor
    numbers: Tensor
    first: Tensor


def cut_into_pieces(offsets: Tensor, num_members: int) -> Pieces:
    """The pieces of bags that start at `offsets`, (R + 1,)."""
    counts = offsets.diff()
    first = torch.zeros_like(offsets)
    torch.cumsum((counts + (PIECE - 1)) // PIECE, 0, out=first[1:])
    numbers = torch.arange(
        num_members // PIECE + len(counts), dtype=offsets.dtype, device=offsets.device
    )
    bag = torch.searchsorted(first[1:], numbers, right=True).clamp_max(len(counts) - 1)
    starts = offsets[bag] + PIECE * (numbers - first[bag])
    ends = torch.full_like(starts[:1], num_members)
    return Pieces(torch.cat([starts.clamp_max(num_members), ends]), numbers, first)


@dataclass(frozen=True)
class Bags:
    """Bags of any sizes, over all the rows of a result.

    Attributes:
        index: (M,) rows of the table, bag after bag.
        offsets: (R + 1,) where the bags start, from 0 to M.
        pieces: the same bags in two levels, or None to add up each at once.
    """

    index: Tensor
    offsets: Tensor
    pieces: Pieces | None = None

    def sums(self, table: Tensor, weights: Tensor, out: Tensor) -> None:
        """Writes the (R, L) weighted sums over the (T, L) table's rows to `out`."""
        num_rows = len(out)
        rows = chunk_rows(num_rows, table.shape[1], table.device)
        if self.pieces is not None:
            parts = bag_sums(table, self.index, weights, self.pieces.offsets)
            out.copy_(bag_sums(parts, self.pieces.numbers, None, self.pieces.first))
            return
        if rows >= num_rows:
            out.copy_(bag_sums(table, self.index, weights, self.offsets))
            return
        marks = [*range(0, num_rows, rows), num_rows]
        starts = self.offsets[marks].tolist()  # CPU alone comes here: nothing is waited for
        for a, z, first, last in zip(marks, marks[1:], starts, starts[1:], strict=False):
            offsets = self.offsets[a : z + 1] - first
            part = slice(first, last)
            out[a:z] = bag_sums(table, self.index[part], weights[part], offsets)


def make_bags(index: Tensor, offsets: Tensor) -> Bags:
    """Bags, in pieces where a device would add up long ones by a single thread each."""
    if is_host(index.device) or len(index) < SHORT_BAGS * len(offsets):
        return Bags(index, offsets)
    return Bags(index, offsets, cut_into_pieces(offsets, len(index)))
