"""The loss of the segmenter as a config puts it together."""

import torch
from torch import Tensor

from wsss.config import MaskLossConfig
from wsss.crf.loss import DenseCRFLoss
from wsss.data.samples import MaskSample
from wsss.data.transforms import to_pixels
from wsss.models import noisy_loss
from wsss.voc import IGNORE_INDEX


class SegmenterLoss:
    """Loss of a batch of crops with pseudo-masks.

    Args:
        settings: `train_seg.loss` of a config.
    """

    def __init__(self, settings: MaskLossConfig) -> None:
        self.settings = settings
        self.crf = DenseCRFLoss() if settings.crf > 0 else None

    def __call__(
        self, logits: Tensor, sample: MaskSample, progress: float
    ) -> tuple[Tensor, dict[str, float]]:
        """The loss, and its parts where there are several.

        Args:
            logits: (B, C + 1, H, W).
            sample: the batch.
            progress: share of the training that is done, in [0, 1).
        """
        settings, target = self.settings, sample.mask
        losses = self._by_pixel(logits, target)
        weight = sample.confidence.pow(settings.confidence) * (target != IGNORE_INDEX)
        if settings.drop > 0 and progress >= settings.drop_after:
            weight = weight * noisy_loss.agreeing(losses, target, settings.drop)
        if settings.balanced:
            pixels = noisy_loss.balanced_mean(losses, target, weight)
        else:
            pixels = noisy_loss.weighted_mean(losses, weight)
        parts = {"pixels": pixels}
        if settings.tags > 0:
            parts["tags"] = settings.tags * noisy_loss.tag_loss(logits, target, sample.tags)
        if self.crf is not None:
            parts["crf"] = settings.crf * self._energy(self.crf, logits, sample)
        figures = {k: float(v.detach()) for k, v in parts.items()} if len(parts) > 1 else {}
        return torch.stack(list(parts.values())).sum(), figures

    def _by_pixel(self, logits: Tensor, target: Tensor) -> Tensor:
        if self.settings.kind == "symmetric":
            weight = self.settings.reverse_weight
            return noisy_loss.symmetric_cross_entropy(logits, target, weight)
        if self.settings.kind == "generalised":
            return noisy_loss.generalised_cross_entropy(logits, target, self.settings.power)
        return noisy_loss.cross_entropy(logits, target)

    @staticmethod
    def _energy(crf: DenseCRFLoss, logits: Tensor, sample: MaskSample) -> Tensor:
        with torch.autocast(logits.device.type, enabled=False):
            # the padding of a crop has no confidence, and nothing to say
            inside = (sample.confidence > 0).float()
            return crf(to_pixels(sample.image), logits.float().softmax(dim=1), inside)
