"""The dense CRF as one call, whatever computes it."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Literal, overload

from torch import Tensor

from wsss.crf import reference
from wsss.crf.presets import CRFParameters, find_parameters
from wsss.crf.problem import Problem, collect, make_problems
from wsss.errors import WsssError

Backend = Literal["pydensecrf"]
_SOLVERS: dict[str, Callable[[Problem, CRFParameters], Tensor]] = {"pydensecrf": reference.solve}


class DenseCRF:
    """Refines label probabilities by the picture's own edges.

    Mean field in a fully connected CRF (Krähenbühl & Koltun, NeurIPS 2011).

    Args:
        preset: a name of `PRESETS`, or parameters.
        backend: what computes it.
        iterations: steps of mean field, in place of the preset's.
    """

    def __init__(
        self,
        preset: str | CRFParameters = "irn",
        *,
        backend: Backend = "pydensecrf",
        iterations: int | None = None,
    ) -> None:
        parameters = find_parameters(preset)
        if iterations is not None:
            parameters = replace(parameters, iterations=iterations)
        if backend not in _SOLVERS:
            raise WsssError(
                f"there is no CRF backend {backend!r}: take one of {', '.join(_SOLVERS)}"
            )
        self.parameters = parameters
        self.backend = backend

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
        problems = make_problems(images, probs, labels, self.parameters.compatibility)
        solver = _SOLVERS[self.backend]
        return collect([solver(problem, self.parameters) for problem in problems], probs, labels)
