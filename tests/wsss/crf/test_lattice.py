"""The lattice's tables against dictionaries, and what filtering with it must keep."""

import itertools

import pytest
import torch

from wsss.crf import segment_sums
from wsss.crf.embedding import embed, key_space
from wsss.crf.filters import DifferentiableFilter, join, symmetric_scale
from wsss.crf.lattice import Lattice, build_lattice
from wsss.crf.mean_field import lattice_of

from .synthetic import draw
from .test_embedding import RANGES, random_features


def image_lattice(srgb: float | None = 20, size: tuple[int, int] = (13, 17)) -> Lattice:
    return lattice_of([draw(*size, 2)[0]], 6, srgb)


def wrapped(key: int) -> int:
    """As 64-bit integers add up."""
    return (key + 2**63) % 2**64 - 2**63


@pytest.mark.parametrize("limit", ["", "lattice.TABLE_LIMIT", "embedding.BOX_LIMIT"])
@pytest.mark.parametrize("d", RANGES)
def test_lattice_tables_equal_a_dictionary(
    d: int, limit: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if limit:
        monkeypatch.setattr(f"wsss.crf.{limit}", 0)
    features, space = random_features(RANGES[d], 400), key_space(RANGES[d])
    keys, _ = embed(features, space, None, 1)
    lattice = build_lattice(features, space, None, 1)
    row = {key: i for i, key in enumerate(sorted({*keys.flatten().tolist()}))}
    zero = len(row)
    assert lattice.num_rows == zero + 1
    assert lattice.vertices.tolist() == [[row[key] for key in point] for point in keys.tolist()]
    for axis, step in enumerate(space.steps):
        expected = [
            [i, row.get(wrapped(key + step), zero), row.get(wrapped(key - step), zero)]
            for key, i in row.items()
        ]
        found = lattice.neighbours[axis].view(-1, 3).tolist()
        assert found == [*expected, [zero, zero, zero]]
    members = [[] for _ in row]
    for point, around in enumerate(lattice.vertices.tolist()):
        for vertex in around:
            members[vertex].append(point)
    offsets = lattice.members.offsets.tolist()
    split = [lattice.members.index[a:z].tolist() for a, z in itertools.pairwise(offsets)]
    assert split == [*members, []]


def test_lattice_keeps_a_lone_point() -> None:
    lattice = build_lattice([torch.zeros(1), torch.zeros(1)], key_space([0.0, 0.0]), None, 1)
    scale = symmetric_scale(lattice)
    out = join([lattice], [scale], [scale], torch.float32).apply(torch.tensor([[3.0, 5.0]]))
    torch.testing.assert_close(out, torch.tensor([[3.0, 5.0]]))


def test_filter_has_the_root_of_its_row_sums_as_eigenvector() -> None:
    lattice = image_lattice()
    scale = symmetric_scale(lattice)
    root = (1 / scale)[:, None]
    out = join([lattice], [scale], [scale], torch.float32).apply(root)
    torch.testing.assert_close(out, root, rtol=1e-4, atol=0)


def test_filter_transposed_is_the_adjoint() -> None:
    lattice = image_lattice()
    pair = DifferentiableFilter(lattice, symmetric_scale(lattice).double(), torch.float64)
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(2, len(lattice.vertices), 3, generator=generator, dtype=torch.float64)
    forward, backward = pair.forward.apply(x), pair.backward.apply(y)
    torch.testing.assert_close((forward * y).sum(), (x * backward).sum())
    assert (forward - pair.backward.apply(x)).abs().max() > 1e-6  # not symmetric: an axis order


def test_filter_in_chunks_gives_the_same_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    lattices = [image_lattice(None), image_lattice()]
    scales = [symmetric_scale(lattice) for lattice in lattices]
    filters = join(lattices, scales, scales, torch.float32)
    x = torch.rand(len(scales[0]), 3)
    whole = filters.apply(x)
    monkeypatch.setattr(segment_sums, "CHUNK_VALUES", 40)
    assert torch.equal(filters.apply(x), whole)


def test_lattice_keeps_images_apart() -> None:
    images = [draw(13, 17, 2)[0], draw(8, 23, 2, seed=1)[0]]
    both = lattice_of(images, 6, 20)
    scale = symmetric_scale(both)
    alone = [symmetric_scale(lattice_of([image], 6, 20)) for image in images]
    torch.testing.assert_close(scale, torch.cat(alone))
