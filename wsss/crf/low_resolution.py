"""Mean field on a smaller image, its messages carried back to every pixel.

What the neighbours say varies slowly, what a pixel says itself does not: so messages are computed
from averages over blocks of pixels, interpolated, and added to the full unary.
"""

from collections.abc import Callable
from dataclasses import replace

from torch import Tensor
from torch.nn.functional import interpolate, pad

from wsss.crf.inputs import Problem
from wsss.crf.presets import CRFParameters

TINY = 1e-30  # the smallest marginal whose logarithm is taken


def downsampled_parameters(parameters: CRFParameters, factor: int) -> CRFParameters:
    """The same kernels in pixels that are `factor` times as large."""
    return replace(
        parameters,
        gaussian_sxy=parameters.gaussian_sxy / factor,
        bilateral_sxy=parameters.bilateral_sxy / factor,
    )


def solve_downsampled(
    problems: list[Problem], factor: int, solve: Callable[[list[Problem]], list[Tensor]]
) -> list[Tensor]:
    """Marginals (L_i, H_i, W_i) by a solver that is given images 1/factor the size."""
    small = [
        replace(p, image=_pool(p.image.float(), factor), log_probs=_pool_logs(p.log_probs, factor))
        for p in problems
    ]
    pairs = zip(problems, small, solve(small), strict=True)
    return [_refine(p.log_probs, s.log_probs, q, factor) for p, s, q in pairs]


def _refine(log_probs: Tensor, small: Tensor, marginals: Tensor, factor: int) -> Tensor:
    messages = marginals.clamp_min(TINY).log() - small
    _, height, width = log_probs.shape
    large = interpolate(messages[None], scale_factor=factor, mode="bilinear")[0]
    return (large[:, :height, :width] + log_probs).softmax(0)


def _pool(values: Tensor, factor: int) -> Tensor:
    """Means of blocks of (C, H, W), the border's pixels repeated to fill the last ones.

    The sum of strided slices: torch's pooling of two dozen channels takes twice as long.
    """
    _, height, width = values.shape
    spare = (0, -width % factor, 0, -height % factor)
    if any(spare):
        values = pad(values[None], spare, mode="replicate")[0]
    shifts = [(y, x) for y in range(factor) for x in range(factor)]
    total = sum(values[:, y::factor, x::factor] for y, x in shifts)
    assert isinstance(total, Tensor)
    return total / factor**2


def _pool_logs(log_probs: Tensor, factor: int) -> Tensor:
    return _pool(log_probs, factor).log_softmax(0)
