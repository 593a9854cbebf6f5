"""From clicks to evidence: what a person says of some locations, carried to those like them.

Two locations are alike as far as walks through the image's slots lead from both to the same places,
and as far as a path leads from one to the other over neighbours that share their slots and their
colour. What clicks say corrects the logits of the seeds as in Gaussian process regression
(Rasmussen & Williams, "Gaussian Processes for Machine Learning", 2006, section 2.7): the seeds are
the mean, likeness is the covariance, clicks are observations. So a click where the seeds are right
changes little, a second one beside it little more, and clicks of two labels part what lies between
them.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.sparse.csgraph import dijkstra
from torch import Tensor

from glmix.clustering import dispatch_weights
from wsss.labels import IGNORE_INDEX
from wsss.seeding.cam import resize
from wsss.seeding.maps import Evidence
from wsss.seeding.walks import Walk, blocks_of, sharpen


@dataclass(frozen=True)
class Click:
    """A location that a person names.

    Attributes:
        x: column of the full-size image, from 0.
        y: row.
        label: mask value of what is there; 0 is background.
    """

    x: int
    y: int
    label: int


@dataclass(frozen=True)
class ClickRules:
    """How far clicks carry.

    The likeness of two locations is exp(−Σ w·(1 − cos) − p·d − |Δ|²/2l²): cos of what two
    symmetric walks reach, d the length of the shortest path, Δ the difference of the seeds' logits.

    Attributes:
        walks: symmetric ones, each with its w as weight; the blocks of a stride share it.
        path: p.
        step: what a path costs per grid step, beside unlike slots and colours.
        spread: l, in logits.
        target: logits over the mean of the labels that a click asks for; as many under it for the
            other labels.
        noise: variance of what a click says, of the 1 that likeness has at the click.
        radius: of the disc around a click that is certain, as a share of the shorter side.
    """

    walks: tuple[Walk, ...] = (
        Walk("4", 1, weight=0.43),
        Walk("8", 4, weight=0.39),
        Walk("16", 4, weight=0.18),
    )
    path: float = 0.22
    step: float = 0.02
    spread: float = 18.0
    target: float = 4.9
    noise: float = 0.09
    radius: float = 0.012


def walk_embedding(logits: Tensor, walk: Walk) -> Tensor:
    """Unit vectors of tokens: their products are the cosines of A^t's rows in A's geometry.

    A^t = P·D⁻¹·(Pᵀ·P·D⁻¹)^(t−1)·Pᵀ is positive semi-definite of rank ≤ K, so it is E·Eᵀ with E =
    P·D^−½·(D^−½·Pᵀ·P·D^−½)^((t−1)/2); rows of E are scaled to length 1.

    Args:
        logits: (B, K, N), assignment of tokens to slots.
        walk: temperature, kept slots, and steps t of a symmetric walk.

    Returns:
        (B, N, K).
    """
    dispatch = dispatch_weights(sharpen(logits.float(), walk.temperature, walk.top_k))
    root = dispatch.sum(dim=1, keepdim=True).clamp_min(1e-12).rsqrt()
    tokens = dispatch * root
    if walk.steps > 1:
        values, vectors = torch.linalg.eigh((tokens.transpose(1, 2) @ tokens).double())
        power = values.clamp_min(0)[:, None] ** ((walk.steps - 1) / 2)
        tokens = tokens @ ((vectors * power) @ vectors.transpose(1, 2)).float()
    return F.normalize(tokens, dim=2)


@dataclass(frozen=True)
class _Embedding:
    """Of one block at one scale; the mirror image, where there is one, behind it."""

    tokens: Tensor
    grid: tuple[int, int]
    weight: float

    def cosines(self, places: Tensor, size: tuple[int, int]) -> Tensor:
        """(n, *size) of n places (x, y) in [0, 1), the mean with that of the mirror image."""
        h, w = self.grid
        rows = (places[:, 1] * h).long().clamp(0, h - 1) * w
        columns = (places[:, 0] * w).long().clamp(0, w - 1)
        maps = (self.tokens[0, rows + columns] @ self.tokens[0].t()).view(-1, h, w)
        if len(self.tokens) > 1:
            mirrored = self.tokens[1, rows + w - 1 - columns] @ self.tokens[1].t()
            maps = (maps + mirrored.view(-1, h, w).flip(-1)) / 2
        return resize(maps[None], size)[0]

    def on_grid(self, size: tuple[int, int]) -> list[Tensor]:
        """(K, *size) unit vectors of the image, and of its mirror image, mirrored back."""
        maps = self.tokens.transpose(1, 2).unflatten(2, self.grid)
        planes = [resize(maps[:1], size)[0]]
        if len(maps) > 1:
            planes.append(resize(maps[1:].flip(-1), size)[0])
        return [F.normalize(plane, dim=0) for plane in planes]


class Likeness:
    """How like each other the locations of one image are."""

    def __init__(
        self,
        evidence: Sequence[Evidence],
        image: NDArray[np.uint8],
        rules: ClickRules,
        size: tuple[int, int],
    ) -> None:
        """Computes what all clicks share.

        Args:
            evidence: of the image at every scale; walks through strides without slots are left
                out.
            image: (H, W, 3) uint8 RGB.
            rules: of the clicks.
            size: (h, w) of the grid of locations.
        """
        self.rules, self.size = rules, size
        self.device = evidence[0].cam.device
        self._embeddings = [e for one in evidence for e in _embed(one, rules.walks, len(evidence))]
        self._paths = self._graph(image)

    def __call__(self, places: Tensor) -> Tensor:
        """What lies like n places, but for the seeds' logits.

        Args:
            places: (n, 2), x and y as shares of width and height, in [0, 1).

        Returns:
            (n, h, w) in 0…1.
        """
        paths = dijkstra(self._paths, directed=False, indices=self.cells(places).numpy())
        lengths = torch.from_numpy(paths).float().view(-1, *self.size)
        exponent = -self.rules.path * lengths.to(self.device)
        for one in self._embeddings:
            exponent -= one.weight * (1 - one.cosines(places, self.size))
        return exponent.exp()

    def cells(self, places: Tensor) -> Tensor:
        """(n,) indices of places on the grid, row by row."""
        h, w = self.size
        rows, columns = (places[:, 1] * h).long(), (places[:, 0] * w).long()
        return rows.clamp(0, h - 1) * w + columns.clamp(0, w - 1)

    def _graph(self, image: NDArray[np.uint8]) -> csr_array:
        """Steps between the eight neighbours: how unlike their slots and colours are."""
        h, w = self.size
        small = cv2.resize(image, (w, h), interpolation=cv2.INTER_AREA)
        colours = cv2.cvtColor(small.astype(np.float32) / 255, cv2.COLOR_RGB2Lab)
        colours = colours.transpose(2, 0, 1) / 100
        planes = [(e.weight, p) for e in self._embeddings for p in e.on_grid(self.size)]
        total = sum(weight for weight, _ in planes)
        cells = np.arange(h * w).reshape(h, w)
        ends, costs = [], []
        for dy, dx in ((0, 1), (1, 0), (1, 1), (1, -1)):
            here = (..., slice(0, h - dy), slice(max(0, -dx), w - max(0, dx)))
            there = (..., slice(dy, h), slice(max(0, dx), w - max(0, -dx)))
            cost = np.linalg.norm(colours[here] - colours[there], axis=0)
            for weight, plane in planes:
                same = (plane[here] * plane[there]).sum(0)
                cost = cost + weight / total * (1 - same).clamp_min(0).cpu().numpy()
            costs.append((cost + self.rules.step * np.hypot(dy, dx)).ravel())
            ends.append((cells[here].ravel(), cells[there].ravel()))
        rows, columns = (np.concatenate(part) for part in zip(*ends, strict=True))
        return csr_array((np.concatenate(costs), (rows, columns)), shape=(h * w, h * w))


def _embed(evidence: Evidence, walks: Sequence[Walk], scales: int) -> list[_Embedding]:
    found = []
    for walk in walks:
        blocks = blocks_of(walk.block, evidence.assignments)
        for name in blocks:
            one = evidence.assignments[name]
            weight = walk.weight / len(blocks) / scales
            found.append(_Embedding(walk_embedding(one.logits, walk), one.grid, weight))
    return found


def corrected(
    prior: Tensor, likeness: Tensor, cells: Tensor, channels: Sequence[int], rules: ClickRules
) -> Tensor:
    """Logits after n clicks; their order doesn't matter.

    f + K·(K_cc + σ²)⁻¹·(y − f_c) with f the prior less its mean over the labels, K the likeness to
    the clicks, f_c and K_cc what both are at the clicks, and y what clicks ask for.

    Args:
        prior: (L, h, w), logits by the seeds, background first.
        likeness: (n, h, w) in 0…1, of all locations to each click.
        cells: (n,), the clicks' indices on the grid, row by row.
        channels: n channels, the labels' of the clicks.
        rules: spread, target, noise.

    Returns:
        (L, h, w).
    """
    mean = prior.flatten(1) - prior.flatten(1).mean(dim=0)
    at = mean[:, cells]
    apart = (at[:, :, None] - mean[:, None]).square().sum(0)
    like = likeness.flatten(1) * (-apart / (2 * rules.spread**2)).exp()
    among = like[:, cells]
    among = (among + among.t()) / 2 + rules.noise * torch.eye(len(like), device=like.device)
    asked = torch.full_like(at, -rules.target)
    asked[list(channels), torch.arange(len(like))] = rules.target
    weights = torch.linalg.solve(among.double(), (asked - at).t().double()).to(mean.dtype)
    return (mean + weights.t() @ like).view_as(prior)


def certain(clicks: Sequence[Click], size: tuple[int, int], radius: float) -> Tensor:
    """The labels of the discs around clicks, 255 elsewhere.

    A pixel in several discs goes to the nearest click, of equally near ones to the last.

    Args:
        clicks: in pixels of an image of this size.
        size: (H, W).
        radius: in pixels; a click's own pixel is certain in any case.

    Returns:
        (H, W) uint8.
    """
    found = torch.full(size, IGNORE_INDEX, dtype=torch.uint8)
    nearest = torch.full(size, float(max(radius, 0.5) ** 2))
    y = torch.arange(size[0])[:, None]
    x = torch.arange(size[1])
    for click in clicks:
        distance = ((y - click.y) ** 2 + (x - click.x) ** 2).float()
        closer = distance <= nearest
        found[closer] = click.label
        nearest[closer] = distance[closer]
    return found
