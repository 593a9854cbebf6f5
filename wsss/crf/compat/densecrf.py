"""`pydensecrf.densecrf`'s classes: numpy in and out, on any device.

Marginals come back as arrays (L, N), float32, labels of a pixel side by side, as
`np.array(pydensecrf's)` has them. All kernel types filter alike: they differ only in what
pydensecrf could learn of them.
"""

from collections.abc import Sequence
from enum import IntEnum

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from wsss.crf import spatial_cache
from wsss.crf.compat import checks
from wsss.crf.compat.checks import Matrix
from wsss.crf.compat.errors import DenseCRFError
from wsss.crf.embedding import key_space
from wsss.crf.filters import join, row_sums
from wsss.crf.lattice import Lattice, build_lattice
from wsss.crf.mean_field import (
    SAFE_WEIGHT,
    Term,
    compatible,
    grid,
    iterate,
    normalise,
    padded_labels,
)
from wsss.crf.spatial_cache import Kernel

Numbers = float | Sequence[float]
Compatibility = float | Matrix


class KernelType(IntEnum):
    """What of a kernel could be learnt; inference is the same for all."""

    CONST_KERNEL = 0
    DIAG_KERNEL = 1
    FULL_KERNEL = 2


class NormalizationType(IntEnum):
    """On which side of the kernel K its row sums d are divided out.

    NO_NORMALIZATION is K, NORMALIZE_BEFORE K·d⁻¹, NORMALIZE_AFTER d⁻¹·K and NORMALIZE_SYMMETRIC
    d^−½·K·d^−½.
    """

    NO_NORMALIZATION = 0
    NORMALIZE_BEFORE = 1
    NORMALIZE_AFTER = 2
    NORMALIZE_SYMMETRIC = 3


CONST_KERNEL, DIAG_KERNEL, FULL_KERNEL = KernelType
NO_NORMALIZATION, NORMALIZE_BEFORE, NORMALIZE_AFTER, NORMALIZE_SYMMETRIC = NormalizationType


class Unary:
    """A unary energy: (L, N) float32."""

    def __init__(self, energy: Matrix) -> None:
        self.energy = energy


class ConstUnary(Unary):
    """A given energy.

    Args:
        u: (L, N) float32.
    """

    def __init__(self, u: npt.ArrayLike) -> None:
        super().__init__(checks.float_matrix("the unary energy", u))


class LogisticUnary(Unary):
    """The energy L·f of features.

    Args:
        L: (L, K) float32, weights.
        f: (K, N) float32, features.
    """

    def __init__(self, L: npt.ArrayLike, f: npt.ArrayLike) -> None:
        weights = checks.float_matrix("the logistic unary's weights", L)
        features = checks.float_matrix("the logistic unary's features", f)
        if weights.shape[1] != len(features):
            raise DenseCRFError(
                f"the logistic unary's weights have the shape {weights.shape} and its features "
                f"{features.shape}: give (labels, K) and (K, points)"
            )
        super().__init__(weights @ features)


class DenseCRF:
    """A fully connected CRF over N points with any features.

    Args:
        nvar: N.
        nlabels: L.
        device: what computes it, as torch names devices; the CPU unless given.
        check_values: whether to refuse values that are probably a mistake: NaN, or probabilities
            where energies belong.
    """

    def __init__(
        self,
        nvar: int,
        nlabels: int,
        *,
        device: torch.device | str | None = None,
        check_values: bool = True,
    ) -> None:
        self._nvar = checks.count("number of points", nvar)
        self._nlabel = checks.count("number of labels", nlabels)
        self._device = torch.device("cpu" if device is None else device)
        self._check_values = check_values
        self._unary: Tensor | None = None
        self._potts: list[tuple[Lattice, Tensor, Tensor]] = []
        self._terms: list[Term] = []
        self._joined: list[Term] | None = None
        self._safe_weight = 0.0

    def setUnary(self, u: Unary) -> None:  # noqa: N802
        """Sets a unary energy made beforehand."""
        self._set_unary(u.energy)

    def setUnaryEnergy(self, u: npt.ArrayLike, f: npt.ArrayLike | None = None) -> None:  # noqa: N802
        """Sets the unary energy.

        Args:
            u: (L, N) float32, negative log probabilities; or a logistic unary's (L, K) weights.
            f: a logistic unary's (K, N) features.

        Raises:
            DenseCRFError: for another shape or dtype, NaN, probabilities or log probabilities.
        """
        self._set_unary((ConstUnary(u) if f is None else LogisticUnary(u, f)).energy)

    def _set_unary(self, energy: Matrix) -> None:
        checks.unary_shape(energy, self._nlabel, self._nvar)
        if self._check_values:
            checks.unary_values(energy)
        self._unary = torch.from_numpy(energy.copy()).to(self._device)

    def addPairwiseEnergy(  # noqa: N802
        self,
        features: npt.ArrayLike,
        compat: Compatibility,
        kernel: int = DIAG_KERNEL,
        normalization: int = NORMALIZE_SYMMETRIC,
    ) -> None:
        """Adds a Gaussian kernel over features.

        Args:
            features: (d, N) float32, in standard deviations.
            compat: w of a Potts energy; (L,) costs of equal labels; or (L, L) costs.
            kernel: a `KernelType`.
            normalization: a `NormalizationType`.

        Raises:
            DenseCRFError: for another shape or dtype, or values that are not finite.
        """
        points = checks.features(features, self._nvar)
        bounds = [(float(row.min()), float(row.max())) for row in points]
        rows = list(torch.from_numpy(points).to(self._device).unbind())
        lattice = build_lattice(rows, key_space(bounds), None, 1)
        self._add((lattice, row_sums(lattice)), compat, kernel, normalization)

    def _add(
        self, kernel: Kernel, compat: Compatibility, kernel_type: int, normalization: int
    ) -> None:
        checks.member("kernel", kernel_type, KernelType)
        side = checks.member("normalization", normalization, NormalizationType)
        lattice, sums = kernel
        before, after = _scales(sums, NormalizationType(side))
        self._joined = None
        if isinstance(compat, (int, float, np.number)):
            self._potts.append((lattice, before, after * float(compat)))
            bounded = side in (NORMALIZE_AFTER, NORMALIZE_SYMMETRIC)
            self._safe_weight += abs(float(compat)) if bounded else float("inf")
            return
        costs = checks.compatibility(compat, self._nlabel)
        filters = join([lattice], [before], [after], torch.float32)
        matrix = torch.from_numpy(costs.copy()).to(self._device)
        self._terms.append(Term(filters, matrix))
        self._safe_weight = float("inf")

    def _all_terms(self) -> list[Term]:
        """What was added, all kernels of Potts energies as one."""
        if self._joined is None:
            self._joined = list(self._terms)
            if self._potts:
                lattices, before, after = zip(*self._potts, strict=True)
                self._joined.insert(0, Term(join(lattices, before, after, torch.float32)))
        return self._joined

    def _logits(self) -> Tensor:
        """(N, labels and padding): the negative energies, each point's largest 0."""
        logits = torch.full(
            (self._nvar, padded_labels(self._nlabel)), -torch.inf, device=self._device
        )
        if self._unary is None:
            logits[:, : self._nlabel] = 0
        else:
            torch.sub(self._unary.amin(0), self._unary, out=logits[:, : self._nlabel].t())
        return logits

    def _step(self, logits: Tensor, marginals: Tensor, iterations: int) -> None:
        safe = self._safe_weight < SAFE_WEIGHT
        iterate(self._all_terms(), logits, marginals, iterations, safe)

    def _array(self, marginals: Tensor) -> Matrix:
        array: Matrix = marginals[:, : self._nlabel].contiguous().cpu().numpy().T
        return array

    def inference(self, niter: int) -> Matrix:
        """(L, N) float32 marginals after so many steps."""
        steps = checks.count("number of iterations", niter, least=0)
        logits = self._logits()
        marginals = normalise(logits.clone(), True)
        self._step(logits, marginals, steps)
        return self._array(marginals)

    def startInference(self) -> tuple[Matrix, Matrix, Matrix]:  # noqa: N802
        """Marginals (L, N) of the unary energy alone, and two arrays that go unused."""
        marginals = normalise(self._logits(), True)
        if self._unary is None:
            marginals.zero_()  # as pydensecrf has it
        return self._array(marginals), np.empty((0, 0), np.float32), np.empty((0, 0), np.float32)

    def stepInference(self, Q: Matrix, tmp1: object, tmp2: object) -> None:  # noqa: N802
        """One step of mean field, which overwrites Q, (L, N)."""
        marginals = self._marginals(Q)
        self._step(self._logits(), marginals, 1)
        Q[...] = self._array(marginals)

    def klDivergence(self, Q: Matrix) -> float:  # noqa: N802
        """The divergence of marginals (L, N) from the CRF, up to a constant."""
        marginals = self._marginals(Q)
        own = marginals[:, : self._nlabel].double()
        total = (own * own.clamp_min(1e-20).log()).sum()
        if self._unary is not None:
            energy = self._unary.t().double()
            total += torch.where(own > 0, energy * own, 0.0).sum()
        for term in self._all_terms():
            message = compatible(term.filters.apply(marginals), term.compatibility)
            total -= (marginals.double() * message.double()).sum()
        return float(total)

    def _marginals(self, Q: Matrix) -> Tensor:
        array = checks.marginals(Q, self._nlabel, self._nvar)
        marginals = torch.zeros(self._nvar, padded_labels(self._nlabel), device=self._device)
        marginals[:, : self._nlabel] = torch.from_numpy(array).to(self._device).t()
        return marginals


class DenseCRF2D(DenseCRF):
    """A fully connected CRF over the pixels of an image.

    Args:
        w: the image's width.
        h: its height.
        nlabels: L.
        device: what computes it, as torch names devices; the CPU unless given.
        check_values: as in `DenseCRF`.
    """

    def __init__(
        self,
        w: int,
        h: int,
        nlabels: int,
        *,
        device: torch.device | str | None = None,
        check_values: bool = True,
    ) -> None:
        self._w, self._h = checks.count("width", w), checks.count("height", h)
        super().__init__(w * h, nlabels, device=device, check_values=check_values)

    def addPairwiseGaussian(  # noqa: N802
        self,
        sxy: Numbers,
        compat: Compatibility,
        kernel: int = DIAG_KERNEL,
        normalization: int = NORMALIZE_SYMMETRIC,
    ) -> None:
        """Adds a Gaussian kernel over locations.

        Args:
            sxy: standard deviations along the width and the height, pixels; one number for both.
            compat: as in `addPairwiseEnergy`.
            kernel: a `KernelType`.
            normalization: a `NormalizationType`.
        """
        sigmas = checks.sigmas("sxy", sxy, 2)
        size, device = (self._h, self._w), self._device

        def build() -> Kernel:
            space = key_space(self._spatial_ranges(sigmas))
            lattice = build_lattice(grid(*size, (sigmas[0], sigmas[1]), device), space, None, 1)
            return lattice, row_sums(lattice)

        key = ("row sums", size, sigmas, device)
        self._add(spatial_cache.SHARED.get(key, build), compat, kernel, normalization)

    def addPairwiseBilateral(  # noqa: N802
        self,
        sxy: Numbers,
        srgb: Numbers,
        rgbim: npt.ArrayLike,
        compat: Compatibility,
        kernel: int = DIAG_KERNEL,
        normalization: int = NORMALIZE_SYMMETRIC,
    ) -> None:
        """Adds a Gaussian kernel over locations and colours.

        Args:
            sxy: standard deviations along the width and the height, pixels; one number for both.
            srgb: standard deviations of the three channels; one number for all.
            rgbim: (H, W, 3) uint8.
            compat: as in `addPairwiseEnergy`.
            kernel: a `KernelType`.
            normalization: a `NormalizationType`.

        Raises:
            DenseCRFError: for an image of another dtype, layout or size.
        """
        sigmas, colours = checks.sigmas("sxy", sxy, 2), checks.sigmas("srgb", srgb, 3)
        image = torch.from_numpy(checks.image(rgbim, self._w, self._h)).to(self._device)
        channels = image.view(-1, 3).t().float()
        scale = torch.tensor(colours, device=self._device)
        points = grid(self._h, self._w, (sigmas[0], sigmas[1]), self._device)
        points.extend((channels / scale[:, None]).unbind())
        ranges = [*self._spatial_ranges(sigmas), *(255 / s for s in colours)]
        lattice = build_lattice(points, key_space(ranges), None, 1)
        self._add((lattice, row_sums(lattice)), compat, kernel, normalization)

    def _spatial_ranges(self, sigmas: tuple[float, ...]) -> list[float]:
        return [(self._w - 1) / sigmas[0], (self._h - 1) / sigmas[1]]


def _scales(sums: Tensor, side: NormalizationType) -> tuple[Tensor, Tensor]:
    """(N,) each: what points are multiplied with before and after the kernel."""
    one = torch.ones_like(sums)
    if side == NO_NORMALIZATION:
        return one, one
    if side == NORMALIZE_SYMMETRIC:
        scale = (sums + 1e-20).rsqrt()
        return scale, scale
    scale = 1 / (sums + 1e-20)
    return (scale, one) if side == NORMALIZE_BEFORE else (one, scale)
