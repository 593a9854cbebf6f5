"""Classifier and segmenter on one backbone, the segmenter's masks made online from the CAM.

After Ru et al., "Learning Affinity from Attention" (CVPR 2022): seeds refined by pixel-adaptive
refinement are the masks of the same step. The seeds walk through the slots, as in stage 2.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from wsss import seeds
from wsss.config import PseudoMasksConfig, SingleStageConfig
from wsss.crf import DenseCRF
from wsss.data.transforms import to_pixels
from wsss.errors import WsssError
from wsss.models.classifier import ClassifierOutput, TagClassifier
from wsss.models.evidence import evidence_in_training, needs_attention, seeding_of
from wsss.models.segmenter import Segmenter
from wsss.voc import IGNORE_INDEX
from wsss.walk import batch_maps


class SingleStage(nn.Module):
    """Pictures → the classifier's answer, and the segmenter's logits where they are asked for.

    Args:
        segmenter: whose encoder is left aside.
        classifier: whose backbone serves both.
    """

    def __init__(self, segmenter: Segmenter, classifier: TagClassifier) -> None:
        super().__init__()
        self.classifier = classifier
        self.segmenter = segmenter
        segmenter.share_backbone(classifier.backbone)

    def forward(
        self, images: Tensor, decode: bool = True
    ) -> tuple[ClassifierOutput, Tensor | None]:
        """(B, 3, H, W), normalised, sides divisible by 32 → answer and logits (B, C + 1, H, W)."""
        features, found = self.classifier.backbone.forward_slots(images)
        output = self.classifier.answer(features, found)
        return output, self.segmenter.decode(images, features) if decode else None


class OnlineMasks:
    """Masks of a batch from the classifier's answer.

    Args:
        seeding: walks, threshold and sharpness, as in stage 2.
        settings: of the refinement.
        slot_block: of the classifier.

    Raises:
        WsssError: a walk goes by attention, which isn't kept in training.
    """

    def __init__(
        self, seeding: PseudoMasksConfig, settings: SingleStageConfig, slot_block: str
    ) -> None:
        self.walks = seeding_of(seeding)
        if needs_attention(self.walks):
            raise WsssError(
                "pseudo_masks.walks holds a walk by attention, which a single stage doesn't keep "
                "in training: take kinds symmetric, one-way or limit."
            )
        self.seeding, self.settings, self.slot_block = seeding, settings, slot_block
        # half resolution, as the paper has it; the preset gives nothing but its name
        self.refine = DenseCRF(
            "irn", backend="par", iterations=settings.par_iterations, downsample=2
        )

    @torch.no_grad()
    def __call__(self, images: Tensor, output: ClassifierOutput, tags: Tensor) -> Tensor:
        """The masks.

        Args:
            images: (B, 3, H, W), normalised.
            output: of the classifier on them.
            tags: (B, C) in {0, 1}.

        Returns:
            (B, H, W) int64 in {0..C, 255}.
        """
        evidence = evidence_in_training(output, tags, self.slot_block)
        scores = batch_maps(evidence, self.walks)
        pixels = to_pixels(images)
        present: Sequence[Tensor] = [row.nonzero().flatten() for row in tags]
        return torch.stack(
            [self._mask(p, s[own], own) for p, s, own in zip(pixels, scores, present, strict=True)]
        )

    def _mask(self, pixels: Tensor, scores: Tensor, own: Tensor) -> Tensor:
        size = tuple(pixels.shape[-2:])
        if len(own) == 0:
            return torch.zeros(size, dtype=torch.int64, device=pixels.device)
        margins = seeds.margins(scores, self.seeding.background, size)
        probs = seeds.seed_probabilities(margins, self.seeding.sharpness)
        best, index = self.refine(pixels[None], probs[None])[0].max(dim=0)
        values = torch.cat([own.new_zeros(1), own + 1])
        return torch.where(best >= self.settings.confidence, values[index], IGNORE_INDEX)
