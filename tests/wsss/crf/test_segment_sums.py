"""Sums over bags: all at once, in chunks, and in two levels."""

import pytest
import torch

from wsss.crf import segment_sums
from wsss.crf.segment_sums import PIECE, Bags, cut_into_pieces, make_bags


def test_cut_into_pieces_of_hand_sized_bags() -> None:
    counts = [0, 1, PIECE, PIECE + 1, 3 * PIECE, 0]
    offsets = torch.tensor([0, *counts]).cumsum(0).int()
    pieces = cut_into_pieces(offsets, int(offsets[-1]))
    assert pieces.first.tolist() == [0, 0, 1, 2, 4, 7, 7]
    sizes = pieces.offsets.diff().tolist()
    assert sizes[:7] == [1, PIECE, PIECE, 1, PIECE, PIECE, PIECE]
    assert not any(sizes[7:]) and len(sizes) == sum(counts) // PIECE + len(counts)


def test_sums_in_pieces_equal_sums_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(0)
    counts = torch.tensor([15000, 3, 0, 200, 64, 1, 0])
    offsets = torch.cat([torch.zeros(1), counts.cumsum(0)]).int()
    total = int(counts.sum())
    index = torch.randint(0, 50, (total,), generator=generator, dtype=torch.int32)
    table, weights = torch.rand(50, 3, generator=generator), torch.rand(total, generator=generator)
    monkeypatch.setattr(segment_sums, "HOST_TYPES", ())
    bags = make_bags(index, offsets)
    assert bags.pieces is not None
    at_once, in_pieces = torch.empty(7, 3), torch.empty(7, 3)
    Bags(index, offsets).sums(table, weights, at_once)
    bags.sums(table, weights, in_pieces)
    torch.testing.assert_close(in_pieces, at_once, rtol=1e-5, atol=1e-5)
    again = torch.empty(7, 3)
    bags.sums(table, weights, again)
    assert torch.equal(again, in_pieces)


def test_short_bags_stay_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(segment_sums, "HOST_TYPES", ())
    offsets = torch.arange(0, 31, 3, dtype=torch.int32)
    assert make_bags(torch.zeros(30, dtype=torch.int32), offsets).pieces is None
