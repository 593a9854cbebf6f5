"""The dense CRF as one call, whatever computes it."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Literal, get_args, overload

import torch
from torch import Tensor

from wsss.crf import brute, par, reference
from wsss.crf.inputs import Problem, collect, make_problems
from wsss.crf.low_resolution import downsampled_parameters, solve_downsampled
from wsss.crf.mean_field import LatticeMeanField
from wsss.crf.presets import CRFParameters, find_parameters
from wsss.errors import WsssError

Backend = Literal["torch", "pydensecrf", "brute", "par"]
Storage = Literal["fp32", "fp16", "bf16"]
_DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


class DenseCRF:
    """Refines label probabilities by the image's own edges.

    Mean field in a fully connected CRF (Krähenbühl & Koltun, NeurIPS 2011).

    Args:
        preset: a name of `PRESETS`, or parameters.
        backend: what computes it. "torch" filters on permutohedral lattices, on the device of what
            it is given, differentiably; "pydensecrf" is the field's CPU library, where installed;
            "brute" compares all pairs of pixels of a small image; "par" is no CRF but
            pixel-adaptive refinement, which takes nothing but the iterations of the preset.
        iterations: steps of mean field, instead of the preset's.
        downsample: how many times smaller to compute the messages ("torch") or all ("par"); 2 is
            half resolution.
        storage: what "torch" keeps values in between operations.
        check_values: whether to look for NaN, negative and unnormalised probabilities. None is yes
            on the CPU and no elsewhere, where a look makes the host wait for the device.
    """

    def __init__(
        self,
        preset: str | CRFParameters = "irn",
        *,
        backend: Backend = "torch",
        iterations: int | None = None,
        downsample: int = 1,
        storage: Storage = "fp32",
        check_values: bool | None = None,
    ) -> None:
        parameters = find_parameters(preset)
        if iterations is not None:
            parameters = replace(parameters, iterations=iterations)
        _one_of("backend", backend, get_args(Backend))
        _one_of("storage", storage, get_args(Storage))
        self.parameters = parameters
        self.backend = backend
        self.check_values = check_values
        self._solve = _solver(backend, parameters, downsample, _DTYPES[storage])

    @overload
    def __call__(
        self,
        images: Tensor | Sequence[Tensor],
        probs: Tensor,
        labels: Sequence[Sequence[int]] | None = None,
    ) -> Tensor: ...
    @overload
    def __call__(
        self,
        images: Tensor | Sequence[Tensor],
        probs: Sequence[Tensor],
        labels: Sequence[Sequence[int]] | None = None,
    ) -> list[Tensor]: ...
    def __call__(
        self,
        images: Tensor | Sequence[Tensor],
        probs: Tensor | Sequence[Tensor],
        labels: Sequence[Sequence[int]] | None = None,
    ) -> Tensor | list[Tensor]:
        """Marginals after the last iteration.

        Args:
            images: (B, 3, H, W) uint8, RGB, or a list of (3, H_i, W_i).
            probs: (B, L, H, W) in [0, 1], each pixel summing to 1, or a list of (L_i, H_i, W_i).
            labels: for each image the channels that take part (its own tags and the background);
                the others come back 0. None is all of them.

        Returns:
            Marginals in the structure, shape, dtype and device of `probs`, each pixel summing to 1
            over the labels that take part.

        Raises:
            WsssError: for inputs that are not as said.
        """
        matrix = self.parameters.compatibility
        problems = make_problems(images, probs, labels, matrix, self.check_values)
        return collect(self._solve(problems), probs, labels)

    def of_image(self, image: Tensor) -> Callable[[Tensor], Tensor]:
        """The same for one image that is asked again and again.

        The torch backend without `downsample` builds its lattices here, once.

        Args:
            image: (3, H, W) uint8, RGB.

        Returns:
            Probabilities (L, H, W), each pixel summing to 1 → marginals (L, H, W).
        """
        if not isinstance(self._solve, LatticeMeanField):
            return lambda probs: self([image], [probs])[0]
        solve = self._solve.of_image(image)
        matrix = self.parameters.compatibility

        def marginals(probs: Tensor) -> Tensor:
            (problem,) = make_problems([image], [probs], None, matrix, self.check_values)
            return solve(problem).to(probs.dtype)

        return marginals


def _one_of(what: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise WsssError(f"there is no CRF {what} {value!r}: take one of {', '.join(choices)}")


def _solver(
    backend: Backend, parameters: CRFParameters, downsample: int, dtype: torch.dtype
) -> Callable[[list[Problem]], list[Tensor]]:
    if not isinstance(downsample, int) or downsample < 1:
        raise WsssError(f"downsample is {downsample!r}: give a whole number, 1 or more")
    if backend == "torch":
        if downsample == 1:
            return LatticeMeanField(parameters, dtype)
        small = LatticeMeanField(downsampled_parameters(parameters, downsample), dtype)
        return lambda problems: solve_downsampled(problems, downsample, small)
    if backend == "par":
        return lambda problems: [par.solve(p, parameters.iterations, downsample) for p in problems]
    if downsample != 1:
        raise WsssError(
            f"the CRF backend {backend!r} has no downsample: take 1, or backend 'torch' or 'par'"
        )
    solve = brute.solve if backend == "brute" else reference.solve
    return lambda problems: [solve(problem, parameters) for problem in problems]


@lru_cache(maxsize=8)
def make_crf(
    preset: str, iterations: int | None = None, backend: Backend = "torch"
) -> DenseCRF | None:
    """The CRF that a config names; None for the preset `none`.

    One object per setting, whoever asks: a CRF remembers the spatial lattices of the last sizes.
    """
    return None if preset == "none" else DenseCRF(preset, backend=backend, iterations=iterations)
