"""Mean field on permutohedral lattices: the torch backend of the dense CRF.

Q ← softmax(log p + Σ_k w_k·K̃_k·Q) with Potts compatibility, ten times or so (Krähenbühl & Koltun,
NeurIPS 2011, algorithm 1); values of a pixel's labels lie in one row, padded to whole vectors.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from wsss.crf import spatial_cache
from wsss.crf.embedding import key_space
from wsss.crf.filters import DifferentiableFilter, Filters, join, symmetric_scale
from wsss.crf.inputs import Problem
from wsss.crf.lattice import Lattice, build_lattice
from wsss.crf.presets import CRFParameters
from wsss.crf.segment_sums import chunk_rows, has_kernels, is_host

NEVER = -1e4  # the logit of a label that does not exist: its exponential is 0
# While a kernel's normalised rows sum to 5 at most, messages stay under 88 and their exponentials
# finite; Gaussian rows do: points near one point but far from each other are few in 5 dimensions.
SAFE_WEIGHT = 16.0
# Pixels that share a lattice at most, unless they are of one image: 16 images of 500×375 do. Each
# takes up to 1.4 kB among 21 labels, and that many fill a GPU.
LATTICE_PIXELS = 1 << 22


@dataclass
class LatticeMeanField:
    """Solves problems by lattices.

    Attributes:
        parameters: the CRF's.
        storage: what values are kept in between operations.
    """

    parameters: CRFParameters
    storage: torch.dtype = torch.float32

    def __call__(self, problems: list[Problem]) -> list[Tensor]:
        """Marginals (L_i, H_i, W_i) of each problem."""
        return [
            marginal
            for group in _groups(problems)
            for marginal in self._solve(group, self._kernels(group))
        ]

    def of_image(self, image: Tensor) -> Callable[[Problem], Tensor]:
        """A solver of problems of one image (3, H, W), whose lattices are built once."""
        kernels = self._kernels([Problem(image, image.new_empty(0))])
        return lambda problem: self._solve([problem], kernels)[0]

    def _kernels(self, problems: list[Problem]) -> list[tuple[Lattice, Tensor]]:
        return [self._spatial_kernel(problems), self._bilateral_kernel(problems)]

    def _solve(
        self, problems: list[Problem], kernels: list[tuple[Lattice, Tensor]]
    ) -> list[Tensor]:
        unary = _rows([problem.log_probs for problem in problems])
        if torch.is_grad_enabled() and _wants_grad(problems, self.parameters):
            marginals = self._differentiable(kernels, unary, problems[0].compatibility)
        else:
            marginals = self._fast(kernels, unary.detach(), problems[0].compatibility)
        return _split_images(marginals, problems)

    def _spatial_kernel(self, problems: list[Problem]) -> tuple[Lattice, Tensor]:
        images, sxy = [problem.image for problem in problems], self.parameters.gaussian_sxy

        def build() -> tuple[Lattice, Tensor]:
            lattice = lattice_of(images, sxy)
            return lattice, symmetric_scale(lattice)

        sizes = tuple(tuple(image.shape[1:]) for image in images)
        return spatial_cache.SHARED.get((sizes, sxy, images[0].device), build)

    def _bilateral_kernel(self, problems: list[Problem]) -> tuple[Lattice, Tensor]:
        p = self.parameters
        images = [problem.image for problem in problems]
        lattice = lattice_of(images, p.bilateral_sxy, p.bilateral_srgb)
        return lattice, symmetric_scale(lattice)

    def _weights(self) -> tuple[float | Tensor, float | Tensor]:
        return self.parameters.gaussian_weight, self.parameters.bilateral_weight

    def _differentiable(
        self, kernels: list[tuple[Lattice, Tensor]], unary: Tensor, compatibility: Tensor | None
    ) -> Tensor:
        filters = [DifferentiableFilter(*kernel, dtype=unary.dtype) for kernel in kernels]
        marginals = unary.softmax(1)
        for _ in range(self.parameters.iterations):
            message = torch.zeros_like(unary)
            for weight, apply in zip(self._weights(), filters, strict=True):
                message = message + weight * apply(marginals)
            marginals = (unary + compatible(message, compatibility)).softmax(1)
        return marginals

    def _fast(
        self, kernels: list[tuple[Lattice, Tensor]], unary: Tensor, compatibility: Tensor | None
    ) -> Tensor:
        if self.parameters.iterations == 0:
            return unary.softmax(1)
        weights = [float(w) if isinstance(w, int) else w for w in self._weights()]
        lattices, scales = zip(*kernels, strict=True)
        slices = [scale * weight for scale, weight in zip(scales, weights, strict=True)]
        dtype = torch.float64 if unary.dtype == torch.float64 else self.storage
        filters = join(lattices, scales, slices, dtype)
        iterations = self.parameters.iterations
        marginals = normalise(unary.clone(), True).to(dtype)  # probabilities of 1e-5 at least
        if compatibility is None and has_kernels(marginals):
            from wsss.crf.fused import plan

            run = plan(filters)
            del filters  # what the plan holds no copy of is freed before the tables are made
            run.iterate(unary, marginals, iterations)
            return marginals.to(unary.dtype)
        numbers = [abs(w) if isinstance(w, float) else SAFE_WEIGHT for w in weights]
        safe = compatibility is None and sum(numbers) < SAFE_WEIGHT
        iterate([Term(filters, compatibility)], unary, marginals, iterations, safe)
        return marginals.to(unary.dtype)


def lattice_of(images: list[Tensor], sxy: float, srgb: float | None = None) -> Lattice:
    """One lattice of all the pixels of all images, which stay apart in it.

    Args:
        images: (3, H_i, W_i) each, values 0..255.
        sxy: standard deviation of position, pixels.
        srgb: standard deviation of colour, grey levels; None leaves colour out.
    """
    height = max(image.shape[1] for image in images)
    width = max(image.shape[2] for image in images)
    ranges = [(width - 1) / sxy, (height - 1) / sxy]
    per_image = [positions(image, sxy) for image in images]
    if srgb is not None:
        ranges += [255 / srgb] * 3
        for features, image in zip(per_image, images, strict=True):
            features.extend(divide(image.reshape(3, -1).float(), srgb).unbind())
    features = [torch.cat(parts) for parts in zip(*per_image, strict=True)]
    index = None
    if len(images) > 1:
        counts = [image[0].numel() for image in images]
        index = torch.cat(
            [images[0].new_full((n,), i, dtype=torch.int32) for i, n in enumerate(counts)]
        )
    return build_lattice(features, key_space(ranges), index, len(images))


def positions(image: Tensor, sxy: float) -> list[Tensor]:
    """The x and y of every pixel of (C, H, W), (H·W,) float32 each, in standard deviations."""
    _, height, width = image.shape
    return grid(height, width, (sxy, sxy), image.device)


def grid(height: int, width: int, sxy: tuple[float, float], device: torch.device) -> list[Tensor]:
    """The x and y of every pixel, (H·W,) float32 each, in standard deviations."""
    x = divide(torch.arange(width, dtype=torch.float32, device=device), sxy[0])
    y = divide(torch.arange(height, dtype=torch.float32, device=device), sxy[1])
    return [x.repeat(height), y.repeat_interleave(width, output_size=height * width)]


def divide(values: Tensor, sigma: float) -> Tensor:
    """Values in standard deviations, rounded alike on every device.

    CUDA multiplies with the reciprocal of a number, but divides by a tensor; another rounding
    moves points to other simplices.
    """
    return values / torch.full((), sigma, dtype=values.dtype, device=values.device)


def _groups(problems: list[Problem]) -> list[list[Problem]]:
    """Problems that share a lattice."""
    most = LATTICE_PIXELS if _can_batch(problems) else 0
    groups: list[list[Problem]] = []
    room = 0
    for problem in problems:
        pixels = problem.log_probs[0].numel()
        if pixels > room:
            groups.append([])
            room = most
        groups[-1].append(problem)
        room -= pixels
    return groups


def _can_batch(problems: list[Problem]) -> bool:
    """Whether one lattice serves better than a loop: many small launches cost on a device alone."""
    return (
        len({problem.log_probs.device for problem in problems}) == 1
        and len({problem.log_probs.dtype for problem in problems}) == 1
        and not is_host(problems[0].log_probs.device)
        and all(problem.compatibility is None for problem in problems)
    )


def _wants_grad(problems: list[Problem], parameters: CRFParameters) -> bool:
    weights = (parameters.gaussian_weight, parameters.bilateral_weight, parameters.compatibility)
    tensors = [w for w in weights if isinstance(w, Tensor)] + [p.log_probs for p in problems]
    return any(tensor.requires_grad for tensor in tensors)


def padded_labels(num_labels: int, host: bool = True) -> int:
    """Columns that rows of so many labels have: whole vectors of the CPU, or of a GPU's loads."""
    if num_labels <= 4:
        return num_labels if host or num_labels < 3 else 4
    return -(-num_labels // 8) * 8


def _rows(log_probs: list[Tensor]) -> Tensor:
    """(N, L) of all images' (L_i, H_i, W_i), labels that do not exist at NEVER."""
    width = padded_labels(max(len(p) for p in log_probs), is_host(log_probs[0].device))
    counts = [p[0].numel() for p in log_probs]
    rows = log_probs[0].new_full((sum(counts), width), NEVER)
    start = 0
    for count, p in zip(counts, log_probs, strict=True):
        rows[start : start + count, : len(p)] = p.flatten(1).t()
        start += count
    return rows


def _split_images(marginals: Tensor, problems: list[Problem]) -> list[Tensor]:
    parts = marginals.split([problem.log_probs[0].numel() for problem in problems])
    return [
        part[:, : len(p.log_probs)].t().contiguous().view(p.log_probs.shape)
        for part, p in zip(parts, problems, strict=True)
    ]


@dataclass(frozen=True)
class Term:
    """Kernels whose messages share a compatibility.

    Attributes:
        filters: weights and normalisation are folded into them.
        compatibility: None is Potts; (L, L) costs of two labels meeting, or their diagonal (L,).
    """

    filters: Filters
    compatibility: Tensor | None = None


def compatible(message: Tensor, compatibility: Tensor | None) -> Tensor:
    """What messages add to the logits: themselves for Potts, −M·message for a cost matrix M."""
    if compatibility is None:
        return message
    matrix = compatibility.to(message)
    spare = message.shape[1] - len(matrix)
    if matrix.ndim == 1:
        return message * -torch.nn.functional.pad(matrix, (0, spare))
    symmetric = torch.nn.functional.pad((matrix + matrix.t()) / 2, (0, spare, 0, spare))
    return -(message @ symmetric)


def normalise(logits: Tensor, safe: bool, out: Tensor | None = None) -> Tensor:
    """Softmax over rows, overwriting them.

    Args:
        logits: (N, L).
        safe: whether exponentials are finite, and not all 0, without taking off the maximum;
            torch's own softmax is slow over few labels.
        out: what to write the result to, of the same shape and dtype; a new tensor or `logits`
            unless given.
    """
    if not safe:
        return logits.softmax(1) if out is None else torch.softmax(logits, 1, out=out)
    likely = logits.exp_()
    return torch.div(likely, likely.sum(1, keepdim=True), out=likely if out is None else out)


def iterate(
    terms: Sequence[Term], unary: Tensor, marginals: Tensor, iterations: int, safe: bool
) -> None:
    """Steps of mean field.

    Args:
        terms: of the pairwise energy.
        unary: (N, L), log probabilities or negative energies.
        marginals: (N, L), overwritten; their dtype is the one that values are kept in.
        iterations: how many steps.
        safe: as `normalise` takes it.
    """
    num, width = unary.shape
    rows = min(num, chunk_rows(num, width, unary.device))
    offsets = [term.filters.slice_offsets(rows) for term in terms]
    same_dtype = marginals.dtype == unary.dtype
    tables = []
    for term in terms:
        table = marginals.new_empty(term.filters.num_rows, width)
        tables.append((table, torch.empty_like(table)))
    for _ in range(iterations):
        values = [
            term.filters.vertex_values(marginals, pair)
            for term, pair in zip(terms, tables, strict=True)
        ]
        for start in range(0, num, rows):
            stop = min(num, start + rows)
            logits = unary[start:stop]
            for term, table, marks in zip(terms, values, offsets, strict=True):
                message = term.filters.slice_rows(table, marks, start, stop).to(unary.dtype)
                logits = compatible(message, term.compatibility).add_(logits)
            logits = logits if terms else logits.clone()
            if same_dtype:
                normalise(logits, safe, out=marginals[start:stop])
            else:
                marginals[start:stop] = normalise(logits, safe)
