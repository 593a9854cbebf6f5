"""Mean field on permutohedral lattices: the torch backend of the dense CRF.

Q ← softmax(log p + Σ_k w_k·K̃_k·Q) with Potts compatibility, ten times or so (Krähenbühl & Koltun,
NeurIPS 2011, algorithm 1); values of a pixel's labels lie in one row, padded to whole vectors.
"""

from collections import OrderedDict
from dataclasses import dataclass, field

import torch
from torch import Tensor

from wsss.crf.embedding import key_space
from wsss.crf.filters import DifferentiableFilter, Filters, join, symmetric_scale
from wsss.crf.inputs import Problem
from wsss.crf.lattice import Lattice, build_lattice
from wsss.crf.presets import CRFParameters
from wsss.crf.segment_sums import chunk_rows

NEVER = -1e4  # the logit of a label that does not exist: its exponential is 0
# While a kernel's normalised rows sum to 5 at most, messages stay under 88 and their exponentials
# finite; Gaussian rows do: points near one point but far from each other are few in 5 dimensions.
SAFE_WEIGHT = 16.0
REMEMBERED_SIZES = 4  # spatial lattices kept: they depend on an image's size alone
REMEMBERED_PIXELS = 1 << 20


@dataclass
class LatticeMeanField:
    """Solves problems by lattices; remembers the spatial lattices of the last few sizes.

    Attributes:
        parameters: the CRF's.
        storage: what values are kept in between operations.
    """

    parameters: CRFParameters
    storage: torch.dtype = torch.float32
    _spatial: OrderedDict[object, tuple[Lattice, Tensor]] = field(default_factory=OrderedDict)

    def __call__(self, problems: list[Problem]) -> list[Tensor]:
        """Marginals (L_i, H_i, W_i) of each problem."""
        groups = [problems] if _can_batch(problems) else [[problem] for problem in problems]
        return [marginal for group in groups for marginal in self._solve(group)]

    def _solve(self, problems: list[Problem]) -> list[Tensor]:
        unary = _rows([problem.log_probs for problem in problems])
        kernels = [self._spatial_kernel(problems), self._bilateral_kernel(problems)]
        if torch.is_grad_enabled() and _wants_grad(problems, self.parameters):
            marginals = self._differentiable(kernels, unary, problems[0].compatibility)
        else:
            marginals = self._fast(kernels, unary.detach(), problems[0].compatibility)
        return _split_images(marginals, problems)

    def _spatial_kernel(self, problems: list[Problem]) -> tuple[Lattice, Tensor]:
        sizes = tuple(tuple(problem.image.shape[1:]) for problem in problems)
        key = (sizes, problems[0].image.device)
        if key not in self._spatial:
            lattice = lattice_of([p.image for p in problems], self.parameters.gaussian_sxy)
            self._spatial[key] = lattice, symmetric_scale(lattice)
        self._spatial.move_to_end(key)
        result = self._spatial[key]
        pixels = sum(height * width for height, width in sizes)
        if pixels > REMEMBERED_PIXELS:
            del self._spatial[key]
        elif len(self._spatial) > REMEMBERED_SIZES:
            self._spatial.popitem(last=False)
        return result

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
        numbers = [abs(w) if isinstance(w, float) else SAFE_WEIGHT for w in weights]
        safe = compatibility is None and sum(numbers) < SAFE_WEIGHT
        return _iterate(filters, unary, self.parameters.iterations, compatibility, safe, dtype)


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
            features.extend((image.reshape(3, -1).float() / srgb).unbind())
    features = [torch.cat(parts) for parts in zip(*per_image, strict=True)]
    index = None
    if len(images) > 1:
        counts = [image[0].numel() for image in images]
        index = torch.cat(
            [images[0].new_full((n,), i, dtype=torch.int32) for i, n in enumerate(counts)]
        )
    return build_lattice(features, key_space(ranges), index, len(images))


def positions(image: Tensor, sxy: float) -> list[Tensor]:
    """The x and y of every pixel, (H·W,) float32 each, in standard deviations."""
    _, height, width = image.shape
    x = torch.arange(width, dtype=torch.float32, device=image.device) / sxy
    y = torch.arange(height, dtype=torch.float32, device=image.device) / sxy
    return [x.repeat(height), y.repeat_interleave(width, output_size=height * width)]


def _can_batch(problems: list[Problem]) -> bool:
    """Whether one lattice serves better than a loop: many small launches cost on a device alone."""
    return (
        len({problem.log_probs.device for problem in problems}) == 1
        and len({problem.log_probs.dtype for problem in problems}) == 1
        and problems[0].log_probs.device.type != "cpu"
        and all(problem.compatibility is None for problem in problems)
    )


def _wants_grad(problems: list[Problem], parameters: CRFParameters) -> bool:
    weights = (parameters.gaussian_weight, parameters.bilateral_weight, parameters.compatibility)
    tensors = [w for w in weights if isinstance(w, Tensor)] + [p.log_probs for p in problems]
    return any(tensor.requires_grad for tensor in tensors)


def _padded(num_labels: int) -> int:
    return num_labels if num_labels <= 4 else -(-num_labels // 8) * 8


def _rows(log_probs: list[Tensor]) -> Tensor:
    """(N, L) of all images' (L_i, H_i, W_i), labels that do not exist at NEVER."""
    width = _padded(max(len(p) for p in log_probs))
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


def compatible(message: Tensor, compatibility: Tensor | None) -> Tensor:
    """What messages add to the logits: themselves for Potts, −M·message for a cost matrix M."""
    if compatibility is None:
        return message
    matrix = compatibility.to(message)
    spare = message.shape[1] - len(matrix)
    symmetric = torch.nn.functional.pad((matrix + matrix.t()) / 2, (0, spare, 0, spare))
    return -(message @ symmetric)


def _iterate(
    filters: Filters,
    unary: Tensor,
    iterations: int,
    compatibility: Tensor | None,
    safe: bool,
    dtype: torch.dtype,
) -> Tensor:
    num, width = unary.shape
    rows = min(num, chunk_rows(num, width, unary.device))
    offsets = filters.slice_offsets(rows)

    def normalise(logits: Tensor, safe: bool) -> Tensor:
        """Softmax, without its maximum where that is safe: torch's is slow over few labels."""
        if not safe:
            return logits.softmax(1)
        likely = logits.exp_()
        return likely.div_(likely.sum(1, keepdim=True))

    marginals = normalise(unary.clone(), True).to(dtype)  # probabilities of at least 1e-5 each
    table = marginals.new_empty(filters.num_rows, width)
    tables = table, torch.empty_like(table)
    for _ in range(iterations):
        values = filters.vertex_values(marginals, tables)
        for start in range(0, num, rows):
            stop = min(num, start + rows)
            message = filters.slice_rows(values, offsets, start, stop).to(unary.dtype)
            logits = compatible(message, compatibility).add_(unary[start:stop])
            marginals[start:stop] = normalise(logits, safe)
    return marginals.to(unary.dtype)
