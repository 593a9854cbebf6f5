"""One backbone under classifier and segmenter, and the masks that are made on the way."""

from typing import Any

import pytest
import torch
from torch import Tensor

from glmix.clustering import SlotAssignment
from wsss.config import PseudoMasksConfig, SingleStageConfig
from wsss.models.backbone import create_backbone
from wsss.models.classifier import ClassifierOutput, TagClassifier
from wsss.models.segmenter import Segmenter
from wsss.models.single_stage import OnlineMasks, SingleStage

TINY: dict[str, Any] = {"depths": [1, 1, 1, 1], "embed_dims": [32] * 4, "slot_grid": [2, 2]}


@pytest.mark.parametrize("decoder", ["segformer", "fpn", "upernet", "unet", "deeplabv3plus"])
def test_both_networks_answer_as_if_alone(decoder: str) -> None:
    torch.manual_seed(0)
    classifier = TagClassifier(create_backbone("glnet_nano", None, TINY), 3, "16.0", 2)
    model = SingleStage(Segmenter("glnet_nano", TINY, decoder, 4), classifier).eval()
    images = torch.randn(2, 3, 64, 96)
    with torch.inference_mode():
        output, logits = model(images)
        assert logits is not None
        torch.testing.assert_close(logits, model.segmenter(images))
        torch.testing.assert_close(output.logits, classifier(images).logits)
        again, nothing = model(images, decode=False)
    assert nothing is None and torch.equal(again.cam, output.cam)


def test_every_parameter_learns_from_both() -> None:
    torch.manual_seed(0)
    classifier = TagClassifier(create_backbone("glnet_nano", None, TINY), 3, "16.0", 2)
    model = SingleStage(Segmenter("glnet_nano", TINY, "segformer", 4), classifier)
    output, logits = model(torch.randn(2, 3, 64, 64))
    stem = next(model.segmenter.encoder.parameters())
    assert stem is next(classifier.backbone.parameters())
    (first,) = torch.autograd.grad(logits.square().mean(), stem, retain_graph=True)
    (second,) = torch.autograd.grad(output.logits.square().mean(), stem, retain_graph=True)
    assert first.any() and second.any()
    (logits.square().mean() + output.logits.sum() + output.slot_logits.sum()).backward()
    assert [name for name, p in model.named_parameters() if p.grad is None] == []


def halves() -> tuple[Tensor, ClassifierOutput]:
    """A picture black on the left and white on the right, whose two slots know the halves."""
    images = torch.full((3, 3, 32, 32), -2.0)
    images[..., 16:] = 2.0
    right = (torch.arange(16) % 4 >= 2).float()
    logits = 40 * torch.stack([1 - right, right])[None].expand(3, -1, -1)
    cam = torch.full((3, 4, 2, 2), -1.0)
    cam[:, 1, 0, 1] = 5.0  # class 1 speaks in a corner of the right half alone
    cam[:, 3] = 9.0  # class 3 everywhere, but it isn't tagged
    found = {"8.0": SlotAssignment(logits, (4, 4), 1, 0)}
    none = torch.zeros(3, 4)
    slots, features = torch.zeros(3, 2, 4), torch.zeros(3, 1, 2, 2)
    return images, ClassifierOutput(none, cam, none, found, slots, features)


SEEDING = PseudoMasksConfig.model_validate(
    {"walks": [{"block": "8.0", "steps": 1}], "border": None, "background": 0.5}
)


def test_masks_are_the_walked_seeds_of_the_tags() -> None:
    images, output = halves()
    tags = torch.tensor([[0.0, 1, 0, 0], [0, 0, 0, 0], [1, 1, 0, 0]])
    masks = OnlineMasks(SEEDING, SingleStageConfig(), "16.0")(images, output, tags)
    assert masks.dtype == torch.int64 and masks.shape == (3, 32, 32)
    # the walk fills the half, the untagged class has no say
    assert (masks[0, :, 20:] == 2).all() and (masks[0, :, :12] == 0).all()
    assert set(masks[0].unique().tolist()) <= {0, 2, 255}
    # without tags all is background; a tag that speaks nowhere is nowhere
    assert not masks[1].any()
    assert torch.equal(masks[2], masks[0])


def test_unsure_pixels_are_left_out() -> None:
    images, output = halves()
    tags = torch.tensor([[0.0, 1, 0, 0]] * 3)
    sure = OnlineMasks(SEEDING, SingleStageConfig(confidence=0.999999), "16.0")(
        images, output, tags
    )
    assert (sure == 255).any()
