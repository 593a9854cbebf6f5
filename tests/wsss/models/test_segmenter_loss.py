"""The segmenter's loss as settings put it together."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from wsss.config import MaskLossConfig
from wsss.data.samples import MaskSample
from wsss.data.transforms import denormalise
from wsss.models import noisy_loss
from wsss.models.segmenter_loss import SegmenterLoss


def settings(**values: Any) -> MaskLossConfig:
    return MaskLossConfig.model_validate(values)


@pytest.fixture
def logits() -> Tensor:
    values = torch.randn(2, 4, 6, 8, generator=torch.Generator().manual_seed(0))
    return values.requires_grad_()


@pytest.fixture
def sample() -> MaskSample:
    generator = torch.Generator().manual_seed(1)
    mask = torch.randint(0, 4, (2, 6, 8), generator=generator)
    mask[:, 4:] = 255
    confidence = torch.rand(2, 6, 8, generator=generator)
    confidence[:, 5:] = 0
    image = torch.randn(2, 3, 6, 8, generator=generator)
    return MaskSample(image, mask, confidence, torch.tensor([[1.0, 1, 0], [0, 1, 1]]))


def test_the_plain_cross_entropy(logits: Tensor, sample: MaskSample) -> None:
    loss, figures = SegmenterLoss(settings(kind="cross_entropy", balanced=False))(
        logits, sample, 0.9
    )
    expected = F.cross_entropy(logits, sample.mask, ignore_index=255)
    torch.testing.assert_close(loss, expected)
    assert figures == {}


def test_the_default_is_symmetric_and_the_mean_of_the_halves(
    logits: Tensor, sample: MaskSample
) -> None:
    loss, _ = SegmenterLoss(settings())(logits, sample, 0.0)
    pixels = noisy_loss.symmetric_cross_entropy(logits, sample.mask, 0.5)
    background = sample.mask == 0
    foreground = (sample.mask > 0) & (sample.mask < 255)
    torch.testing.assert_close(loss, (pixels[background].mean() + pixels[foreground].mean()) / 2)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"kind": "symmetric", "reverse_weight": 0.3}, noisy_loss.symmetric_cross_entropy),
        ({"kind": "generalised", "power": 0.3}, noisy_loss.generalised_cross_entropy),
    ],
)
def test_the_loss_of_a_pixel_by_name(
    logits: Tensor, sample: MaskSample, values: dict[str, Any], expected: Any
) -> None:
    loss, _ = SegmenterLoss(settings(balanced=False, **values))(logits, sample, 0.0)
    pixels = expected(logits, sample.mask, 0.3)
    torch.testing.assert_close(loss, pixels[sample.mask != 255].mean())


def test_pixels_weigh_their_confidence(logits: Tensor, sample: MaskSample) -> None:
    chosen = settings(kind="cross_entropy", balanced=False, confidence=2.0)
    loss, _ = SegmenterLoss(chosen)(logits, sample, 0.0)
    pixels = F.cross_entropy(logits, sample.mask, ignore_index=255, reduction="none")
    weight = sample.confidence.square() * (sample.mask != 255)
    torch.testing.assert_close(loss, (pixels * weight).sum() / weight.sum())


def test_disagreement_is_left_out_late(logits: Tensor, sample: MaskSample) -> None:
    chosen = settings(kind="cross_entropy", balanced=False, drop=0.5, drop_after=0.6)
    early, late = (SegmenterLoss(chosen)(logits, sample, progress)[0] for progress in (0.59, 0.6))
    torch.testing.assert_close(early, F.cross_entropy(logits, sample.mask, ignore_index=255))
    pixels = F.cross_entropy(logits, sample.mask, ignore_index=255, reduction="none")
    kept = noisy_loss.agreeing(pixels, sample.mask, 0.5)
    assert 0 < kept.sum() < (sample.mask != 255).sum()
    torch.testing.assert_close(late, pixels[kept].mean())


def test_tags_are_added_with_their_weight(logits: Tensor, sample: MaskSample) -> None:
    plain, _ = SegmenterLoss(settings())(logits, sample, 0.0)
    loss, figures = SegmenterLoss(settings(tags=0.25))(logits, sample, 0.0)
    own = 0.25 * noisy_loss.tag_loss(logits, sample.mask, sample.tags)
    torch.testing.assert_close(loss, plain + own)
    assert figures == {"pixels": pytest.approx(plain.item()), "tags": pytest.approx(own.item())}


def test_the_crf_sees_the_picture_and_not_the_padding(logits: Tensor, sample: MaskSample) -> None:
    seen: list[Tensor] = []

    def energy(images: Tensor, probs: Tensor, region: Tensor) -> Tensor:
        seen.extend((images, probs, region))
        return probs.sum() * 0 + 8.0

    loss = SegmenterLoss(settings(crf=0.5))
    loss.crf = energy  # type: ignore[assignment]
    _, figures = loss(logits, sample, 0.0)
    assert figures["crf"] == 4.0
    images, probs, region = seen
    assert torch.equal(images, torch.from_numpy(denormalise(sample.image)).movedim(-1, 1))
    torch.testing.assert_close(probs, logits.softmax(1))
    assert torch.equal(region, (sample.confidence > 0).float()) and not region[:, 5:].any()


def test_the_crf_smooths(logits: Tensor, sample: MaskSample) -> None:
    loss, figures = SegmenterLoss(settings(crf=1.0))(logits, sample, 0.0)
    loss.backward()
    assert figures["crf"] > 0
    # unlike the mask, the picture speaks where the mask says nothing
    assert logits.grad is not None and logits.grad.isfinite().all()
    assert logits.grad[:, :, 4].any() and not logits.grad[:, :, 5].any()


def test_nothing_but_ignored_pixels_is_no_loss(logits: Tensor, sample: MaskSample) -> None:
    nothing = sample._replace(mask=torch.full((2, 6, 8), 255))
    for values in ({}, {"balanced": False}, {"drop": 0.5, "drop_after": 0.0}):
        loss, _ = SegmenterLoss(settings(**values))(logits, nothing, 0.5)
        loss.backward()
        assert loss.item() == 0
    assert logits.grad is not None and not logits.grad.any()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_the_same_loss_on_a_gpu(logits: Tensor, sample: MaskSample) -> None:
    loss = SegmenterLoss(settings(confidence=1, drop=0.2, drop_after=0, tags=0.1, crf=0.1))
    expected, _ = loss(logits.detach(), sample, 0.5)
    moved = MaskSample(*(tensor.cuda() for tensor in sample))
    found, _ = loss(logits.detach().cuda(), moved, 0.5)
    torch.testing.assert_close(found.cpu(), expected, rtol=1e-3, atol=1e-4)
