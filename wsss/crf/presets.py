"""The settings of a dense CRF, and those the field uses, by name."""

from dataclasses import dataclass, field
from difflib import get_close_matches

from torch import Tensor

from wsss.errors import WsssError


@dataclass(frozen=True)
class CRFParameters:
    """Kernels of a fully connected CRF (Krähenbühl & Koltun, NeurIPS 2011, section 4).

    The energy of labels x is Σ ψᵢ(xᵢ) + Σ_{i<j} μ(xᵢ, xⱼ)·(w₁·exp(−|pᵢ−pⱼ|²/2θ_γ²)
    + w₂·exp(−|pᵢ−pⱼ|²/2θ_α² − |Iᵢ−Iⱼ|²/2θ_β²)), each kernel normalised symmetrically.

    Attributes:
        gaussian_sxy: θ_γ, pixels, > 0.
        gaussian_weight: w₁; a number, or a 0-d tensor to learn it.
        bilateral_sxy: θ_α, pixels, > 0.
        bilateral_srgb: θ_β, grey levels of 0..255, > 0.
        bilateral_weight: w₂; a number, or a 0-d tensor to learn it.
        iterations: steps of mean field.
        compatibility: (L, L) costs μ of two labels meeting, used symmetrised; None is Potts: 1 for
            two different labels, 0 for equal ones.
    """

    gaussian_sxy: float
    gaussian_weight: float | Tensor
    bilateral_sxy: float
    bilateral_srgb: float
    bilateral_weight: float | Tensor
    iterations: int = 10
    compatibility: Tensor | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        """Refuses what no CRF can be made of.

        Raises:
            WsssError: for a sigma that is not a positive number, negative iterations, or a
                compatibility that is no square matrix.
        """
        for name in ("gaussian_sxy", "bilateral_sxy", "bilateral_srgb"):
            sigma = getattr(self, name)
            if not isinstance(sigma, (int, float)) or not 0 < sigma < float("inf"):
                raise WsssError(
                    f"CRFParameters.{name} is {sigma!r}, and a standard deviation is a positive "
                    "number: give one, or drop the kernel by giving it weight 0"
                )
        if not isinstance(self.iterations, int) or self.iterations < 0:
            raise WsssError(
                f"CRFParameters.iterations is {self.iterations!r}: give a whole number, 0 or more"
            )
        matrix = self.compatibility
        if matrix is not None and (matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]):
            raise WsssError(
                f"CRFParameters.compatibility has the shape {tuple(matrix.shape)}: give an (L, L) "
                "matrix with a row and a column for every label"
            )


PRESETS: dict[str, CRFParameters] = {
    "psa": CRFParameters(3, 3, 80, 13, 10),  # PSA, SEAM, SC-CAM, the labels of AFA and ToCo
    "irn": CRFParameters(3, 3, 50, 5, 10),  # IRN, AdvCAM, ReCAM: on hard labels, gt_prob 0.7
    "deeplab": CRFParameters(1, 3, 67, 3, 4),  # deeplab-pytorch, EPS, CLIP-ES
    "afa": CRFParameters(3, 3, 64, 5, 4),  # AFA, WeCLIP at test time
    "toco": CRFParameters(1, 1, 121, 5, 4),  # ToCo, DuPL, SeCo at test time
    "mctformer": CRFParameters(4, 3, 83, 5, 3),  # MCTformer, AuxSegNet
}


def find_parameters(preset: str | CRFParameters) -> CRFParameters:
    """The parameters of a preset; parameters themselves pass through.

    Raises:
        WsssError: for a name that is no preset.
    """
    if isinstance(preset, CRFParameters):
        return preset
    if preset not in PRESETS:
        close = get_close_matches(preset, PRESETS, n=1)
        hint = f"did you mean {close[0]!r}" if close else "give your own CRFParameters"
        raise WsssError(
            f"there is no CRF preset {preset!r}, only {', '.join(PRESETS)}: take one, or {hint}"
        )
    return PRESETS[preset]
