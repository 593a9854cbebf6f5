"""The CRF's loops as Triton kernels, for GPUs: many short sums side by side.

`torch.embedding_bag` gives a bag a warp and a column a thread, so that of three labels 29 of 32
threads have nothing to do. A program here adds up several rows at once, every sum in float32 and in
the order of its bag: the same bits in every run.
"""

import triton
import triton.language as tl
from torch import Tensor

SHORT = 128, 1  # values and warps of a program where rows differ in length
EVEN = 512, 4  # where all are alike


def bag_sums(
    table: Tensor, index: Tensor | None, weights: Tensor | None, offsets: Tensor, out: Tensor
) -> None:
    """Writes Σ weights[i] · table[index[i]] over offsets[r] ≤ i < offsets[r + 1] to row r.

    Args:
        table: (T, L).
        index: (M,) int32; None is 0 … M − 1.
        weights: (M,); None is all 1.
        offsets: (R + 1,) int32 or int64.
        out: (R, L).
    """
    grid, blocks = _programs(len(out), table.shape[1], SHORT)
    _bag_sums[grid](
        table,
        table if index is None else index,
        table if weights is None else weights,
        offsets,
        out,
        len(out),
        WIDTH=table.shape[1],
        INDEXED=index is not None,
        WEIGHTED=weights is not None,
        **blocks,
    )


def blur(values: Tensor, neighbours: Tensor, out: Tensor) -> None:
    """Writes values[r] + ½·(values[a] + values[b]) to row r for its neighbours a and b.

    Args:
        values: (V, L).
        neighbours: (3·V,) int32, of each row itself, a and b.
        out: (V, L).
    """
    grid, blocks = _programs(len(out), values.shape[1], EVEN)
    _blur[grid](values, neighbours, out, len(out), WIDTH=values.shape[1], **blocks)


def slice_and_normalise(
    values: Tensor, vertices: Tensor, weights: Tensor, unary: Tensor, out: Tensor
) -> None:
    """Writes softmax(unary + Σ weights · values[vertices]) to the points' rows.

    Args:
        values: (V, L).
        vertices: (N, K) int32.
        weights: (N, K).
        unary: (N, L).
        out: (N, L).
    """
    grid, blocks = _programs(len(out), values.shape[1], EVEN)
    _slice_and_normalise[grid](
        values,
        vertices,
        weights,
        unary,
        out,
        len(out),
        WIDTH=values.shape[1],
        CORNERS=vertices.shape[1],
        **blocks,
    )


def _programs(rows: int, width: int, size: tuple[int, int]) -> tuple[tuple[int], dict[str, int]]:
    columns = triton.next_power_of_2(width)
    block = max(1, size[0] // columns)
    return (triton.cdiv(rows, block),), {"ROWS": block, "COLUMNS": columns, "num_warps": size[1]}


@triton.jit(do_not_specialize=["rows"])
def _bag_sums(
    table,
    index,
    weights,
    offsets,
    out,
    rows,
    WIDTH: tl.constexpr,
    INDEXED: tl.constexpr,
    WEIGHTED: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    column = tl.arange(0, COLUMNS)
    real = (column < WIDTH)[None, :]
    start = tl.load(offsets + row, mask=row < rows, other=0)
    end = tl.load(offsets + row + 1, mask=row < rows, other=0)
    total = tl.zeros((ROWS, COLUMNS), tl.float32)
    for step in range(0, tl.max(end - start, 0)):
        member = start + step
        there = member < end
        source = member
        if INDEXED:
            source = tl.load(index + member, mask=there, other=0)
        at = table + source.to(tl.int64)[:, None] * WIDTH + column[None, :]
        value = tl.load(at, mask=there[:, None] & real, other=0.0).to(tl.float32)
        if WEIGHTED:
            value *= tl.load(weights + member, mask=there, other=0.0).to(tl.float32)[:, None]
        total += value
    at = out + row.to(tl.int64)[:, None] * WIDTH + column[None, :]
    tl.store(at, total.to(out.dtype.element_ty), mask=(row < rows)[:, None] & real)


@triton.jit(do_not_specialize=["rows"])
def _blur(
    values,
    neighbours,
    out,
    rows,
    WIDTH: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    column = tl.arange(0, COLUMNS)[None, :]
    inside = row < rows
    mask = inside[:, None] & (column < WIDTH)
    wide = row.to(tl.int64)
    first = tl.load(neighbours + 3 * wide + 1, mask=inside, other=0).to(tl.int64)
    second = tl.load(neighbours + 3 * wide + 2, mask=inside, other=0).to(tl.int64)
    here = wide[:, None] * WIDTH + column
    total = tl.load(values + here, mask=mask).to(tl.float32)
    total += 0.5 * tl.load(values + first[:, None] * WIDTH + column, mask=mask).to(tl.float32)
    total += 0.5 * tl.load(values + second[:, None] * WIDTH + column, mask=mask).to(tl.float32)
    tl.store(out + here, total.to(out.dtype.element_ty), mask=mask)


@triton.jit(do_not_specialize=["rows"])
def _slice_and_normalise(
    values,
    vertices,
    weights,
    unary,
    out,
    rows,
    WIDTH: tl.constexpr,
    CORNERS: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    column = tl.arange(0, COLUMNS)[None, :]
    inside = row < rows
    mask = inside[:, None] & (column < WIDTH)
    wide = row.to(tl.int64)
    here = wide[:, None] * WIDTH + column
    logits = tl.zeros((ROWS, COLUMNS), tl.float32)
    for corner in tl.static_range(CORNERS):
        vertex = tl.load(vertices + wide * CORNERS + corner, mask=inside, other=0).to(tl.int64)
        weight = tl.load(weights + wide * CORNERS + corner, mask=inside, other=0.0).to(tl.float32)
        at = values + vertex[:, None] * WIDTH + column
        logits += weight[:, None] * tl.load(at, mask=mask, other=0.0).to(tl.float32)
    logits += tl.load(unary + here, mask=mask, other=0.0).to(tl.float32)
    logits = tl.where(mask, logits, float("-inf"))
    highest = tl.where(inside, tl.max(logits, 1), 0.0)
    likely = tl.exp(logits - highest[:, None])
    total = tl.where(inside, tl.sum(likely, 1), 1.0)
    tl.store(out + here, (likely / total[:, None]).to(out.dtype.element_ty), mask=mask)
