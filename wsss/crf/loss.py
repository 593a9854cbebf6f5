"""The CRF's energy as a loss: labels that cut through alike pixels cost.

Tang et al., "On Regularized Losses for Weakly-supervised CNN Segmentation" (ECCV 2018): the
relaxed Potts energy of a fully connected CRF, Σ_l S_lᵀ·K·(1 − S_l), with or without each label's
cut divided by its share (normalised cut).
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d

from wsss.crf.filters import DifferentiableFilter, symmetric_scale
from wsss.crf.mean_field import lattice_of
from wsss.errors import WsssError


class DenseCRFLoss(nn.Module):
    """Σ_l S_lᵀ·K̃·(1 − S_l) / N, K̃ the symmetrically normalised bilateral kernel on the lattice.

    It is 0 where every pixel has one label and no two alike pixels differ, and grows as labels cut
    through them. Its gradient is the lattice's own: one more filtering.

    Args:
        sxy: standard deviation of position, pixels of the given image.
        srgb: standard deviation of colour, grey levels.
        downsample: how many times smaller to compute it, by averages over blocks.
        normalised: whether to divide each label's cut by S_lᵀ·K̃·1, its association with all pixels,
            and to sum over labels: a normalised cut, which small labels do not lose.
    """

    def __init__(
        self,
        sxy: float = 100.0,
        srgb: float = 15.0,
        *,
        downsample: int = 2,
        normalised: bool = False,
    ) -> None:
        super().__init__()
        if sxy <= 0 or srgb <= 0 or downsample < 1:
            raise WsssError(
                f"DenseCRFLoss got sxy={sxy}, srgb={srgb}, downsample={downsample}: give positive "
                "standard deviations and a whole downsample of 1 or more"
            )
        self.sxy, self.srgb = sxy / downsample, srgb
        self.downsample = downsample
        self.normalised = normalised

    def forward(
        self, images: Tensor | Sequence[Tensor], probs: Tensor, region: Tensor | None = None
    ) -> Tensor:
        """The mean energy of a batch.

        Args:
            images: (B, 3, H, W), 0..255.
            probs: (B, L, H, W), a softmax's.
            region: (B, H, W) in [0, 1], how much a pixel counts; None counts all (padding of
                crops should not).

        Returns:
            (), at least 0.

        Raises:
            WsssError: for images and probabilities of different sizes.
        """
        if len(images) != len(probs) or images[0].shape[-2:] != probs.shape[-2:]:
            raise WsssError(
                f"DenseCRFLoss got {len(images)} images of {tuple(images[0].shape[-2:])} and "
                f"probabilities of shape {tuple(probs.shape)}: give both the same batch and size"
            )
        energies = []
        for i, prob in enumerate(probs):
            counted = prob if region is None else prob * region[i].to(prob.dtype)
            energies.append(self._energy(images[i], self._shrink(counted)))
        return torch.stack(energies).mean()

    def _shrink(self, values: Tensor) -> Tensor:
        if self.downsample == 1:
            return values
        pooled: Tensor = avg_pool2d(
            values[None], self.downsample, ceil_mode=True, count_include_pad=False
        )[0]
        return pooled

    def _energy(self, image: Tensor, probs: Tensor) -> Tensor:
        with torch.no_grad():
            lattice = lattice_of([self._shrink(image.float())], self.sxy, self.srgb)
            scale = symmetric_scale(lattice)
        apply = DifferentiableFilter(lattice, scale, probs.dtype)
        rows = probs.flatten(1).t()
        filtered = apply(rows.contiguous())
        everyone = filtered.sum(1, keepdim=True)  # K̃·1, as the labels sum to who counts
        association = (rows * everyone).sum(0)
        cut = association - (rows * filtered).sum(0)
        if self.normalised:
            return (cut / association.clamp_min(1e-12)).sum()
        return cut.sum() / len(rows)
