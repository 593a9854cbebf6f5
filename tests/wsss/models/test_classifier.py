"""The classifier: logits are the mean of the map, slots of every block, any image size."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F

from wsss.errors import WsssError
from wsss.models.backbone import create_backbone
from wsss.models.classifier import TagClassifier, build_classifier

TINY: dict[str, Any] = {"depths": [1, 1, 2, 1], "embed_dims": [32, 32, 64, 64], "slot_grid": [3, 3]}


def classifier(slot_block: str = "16.0", slot_top: int = 2, pooling: str = "mean") -> TagClassifier:
    torch.manual_seed(0)
    backbone = create_backbone("glnet_nano", None, TINY)
    return TagClassifier(backbone, 4, slot_block, slot_top, pooling).eval()


def random_images(*size: int) -> torch.Tensor:
    return torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("size", [(64, 96), (65, 47), (33, 33), (7, 50), (1, 1)])
@torch.inference_mode()
def test_classifier_logits_are_the_mean_of_the_map(size: tuple[int, int]) -> None:
    model = classifier()
    output = model(random_images(*size))
    assert output.logits.shape == output.slot_logits.shape == (2, 4)
    torch.testing.assert_close(output.logits, output.cam.mean((2, 3)))
    assert output.cam.shape[-2:] == output.assignments["16.0"].grid
    for name, found in output.assignments.items():
        assert found.name == name
        assert found.logits.shape == (2, 9, found.grid[0] * found.grid[1])
    assert list(output.assignments) == ["4.0", "8.0", "16.0"]


@torch.inference_mode()
def test_classifier_pools_by_the_log_of_the_mean_exponential() -> None:
    model = classifier(pooling="lse")
    output = model(random_images(64, 96))
    expected = output.cam.exp().mean((2, 3)).log()
    torch.testing.assert_close(output.logits, expected)
    # between the mean and the maximum, whatever the image's size
    spread = torch.linspace(-4, 4, 24).reshape(1, 1, 4, 6)
    assert 0 < model.pool(spread).item() < 4
    level = torch.full((1, 1, 4, 6), 3.0)
    assert model.pool(level).item() == pytest.approx(3.0)


@torch.inference_mode()
def test_classifier_map_is_at_stride_16() -> None:
    assert classifier()(random_images(64, 96)).cam.shape == (2, 4, 4, 6)


@torch.inference_mode()
def test_classifier_map_is_linear_in_both_stages() -> None:
    model = classifier()
    image = random_images(64, 64)
    both = model(image).cam
    torch.nn.init.zeros_(model.cam4.weight)
    third = model(image).cam
    features, _ = model.backbone.forward_slots(image)
    expected = model.cam3(model.norm3(features[2])) + model.bias[:, None, None]
    torch.testing.assert_close(third, expected)
    assert not torch.allclose(both, third, atol=1e-4)


@torch.inference_mode()
def test_classifier_slot_logits_are_the_mean_of_the_highest_slots() -> None:
    model = classifier(slot_top=2)
    image = random_images(64, 64)
    features, found = model.backbone.forward_slots(image)
    tokens = model.norm3(features[2]).flatten(2).transpose(1, 2)
    gather = {a.name: a.logits for a in found}["16.0"].softmax(-1)
    scores = model.slot_head(gather @ tokens).sort(dim=1, descending=True).values
    torch.testing.assert_close(model(image).slot_logits, scores[:, :2].mean(1))


@torch.inference_mode()
def test_classifier_with_more_top_slots_than_slots() -> None:
    assert classifier(slot_top=100)(random_images(64, 64)).slot_logits.shape == (2, 4)


@pytest.mark.parametrize("block", ["16.1", "32.0", "foo", "8.0", ""])
def test_classifier_refuses_a_block_without_slots_at_stride_16(block: str) -> None:
    with pytest.raises(WsssError, match=rf"train_cls\.slot_block is {block!r}.*16\.0"):
        classifier(block)


def test_classifier_refuses_a_backbone_whose_blocks_have_no_slots() -> None:
    args = {key: value for key, value in TINY.items() if key != "slot_grid"}
    backbone = create_backbone("glnet_stl_local", None, args)
    with pytest.raises(WsssError, match=r"'16\.0'.*another backbone"):
        TagClassifier(backbone, 4, "16.0", 2)


def test_classifier_loss_is_the_sum_over_both_logits() -> None:
    model = classifier()
    tags = torch.tensor([[1.0, 0, 0, 1], [0, 1, 0, 0]])
    output = model(random_images(64, 64))
    main = F.binary_cross_entropy_with_logits(output.logits, tags)
    slots = F.binary_cross_entropy_with_logits(output.slot_logits, tags)
    torch.testing.assert_close(model.loss(output, tags, 0.5), main + 0.5 * slots)
    torch.testing.assert_close(model.loss(output, tags, 0.0), main)


def test_classifier_loss_reaches_every_parameter() -> None:
    model = classifier().train()
    model.loss(model(random_images(64, 64)), torch.ones(2, 4), 0.5).backward()
    without = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    # a bias before a batch norm is taken off again, a key's bias cancels in the softmax
    assert all(name.endswith("bias") for name in without), without
    assert all(p.grad is not None for p in model.parameters())


def test_build_classifier_from_metadata() -> None:
    model = build_classifier(
        {
            "backbone": "glnet_nano",
            "backbone_args": TINY,
            "class_names": ["a", "b", "c", "d"],
            "slot_block": "16.0",
            "slot_top": 2,
        }
    )
    model.load_state_dict(classifier().state_dict())
    image = random_images(64, 64)
    with torch.inference_mode():
        assert torch.equal(model.eval()(image).cam, classifier()(image).cam)
