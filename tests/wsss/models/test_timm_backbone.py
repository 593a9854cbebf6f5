"""Backbones of timm under a segmenter: their weights arrive whole, and see what they know."""

import re
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import nn

from wsss.data.augment import IMAGENET_MEAN, IMAGENET_STD
from wsss.errors import WsssError
from wsss.models.segmenter import Segmenter
from wsss.models.timm_backbone import Adapt, create_timm_backbone, fix_padding, statistics_of

# names of weights kept, joined by underscores, and put behind `model.`
NAMES = ("resnet18", "convnext_atto", "tf_efficientnet_lite0", "glnet_nano")


def untrained(name: str) -> nn.Module:
    torch.manual_seed(1)
    model: nn.Module = timm.create_model(name)
    return model.eval()


@pytest.mark.parametrize("name", NAMES)
def test_segmenter_starts_from_the_weights_of_a_classifier(name: str) -> None:
    model = Segmenter(name, {}, "segformer", 3).eval()
    source = untrained(name)
    image = torch.randn(1, 3, 64, 64)
    with torch.inference_mode():
        model.load_backbone(source)
        own = model.net.encoder(image)[-1]  # type: ignore[operator, union-attr]
        expected = timm.create_model(name, features_only=True).eval()
        expected.load_state_dict(model.net.encoder.model.state_dict())  # type: ignore[union-attr]
        torch.testing.assert_close(own, expected(image)[-1])
        stem = next(iter(source.state_dict().values()))
        assert torch.equal(next(iter(model.encoder.state_dict().values())), stem)


def test_segmenter_on_another_backbone_takes_any_size() -> None:
    model = Segmenter("resnet18", {}, "fpn", 3).eval()
    with torch.inference_mode():
        assert model(torch.randn(2, 3, 50, 71)).shape == (2, 3, 50, 71)


@torch.inference_mode()
def test_fix_padding_leaves_the_answers_to_whole_strides() -> None:
    net = timm.create_model("tf_efficientnet_lite0", features_only=True).eval()
    image, names = torch.randn(1, 3, 64, 96), list(net.state_dict())
    before = net(image)
    fix_padding(net)
    assert list(net.state_dict()) == names
    assert not any(type(module).__name__ == "Conv2dSame" for module in net.modules())
    assert all(torch.equal(a, b) for a, b in zip(net(image), before, strict=True))


def test_adapt_gives_a_model_the_images_that_it_knows() -> None:
    grey = torch.full((1, 3, 2, 2), 0.5)
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (IMAGENET_MEAN, IMAGENET_STD))
    halves = (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)
    torch.testing.assert_close(Adapt(halves)((grey - mean) / std), torch.zeros(1, 3, 2, 2))
    assert not Adapt(halves).state_dict()


def test_statistics_of_knows_how_a_model_was_trained() -> None:
    assert statistics_of("tf_efficientnet_lite0") == ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    assert statistics_of("resnet18") == (IMAGENET_MEAN, IMAGENET_STD)


@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
def test_create_timm_backbone_reads_a_file_with_its_head(tmp_path: Path, suffix: str) -> None:
    source, path = untrained("resnet18"), tmp_path / f"w.{suffix}"
    if suffix == "pth":
        torch.save({"state_dict": source.state_dict()}, path)
    else:
        save_file(source.state_dict(), path)
    model = create_timm_backbone("resnet18", path)
    assert all(torch.equal(v, source.state_dict()[k]) for k, v in model.state_dict().items())


def test_create_timm_backbone_refuses_weights_of_another_model(tmp_path: Path) -> None:
    path = tmp_path / "w.pth"
    torch.save(untrained("resnet18").state_dict(), path)
    with pytest.raises(WsssError, match=r"another model than resnet34 .*train_seg\.backbone to"):
        create_timm_backbone("resnet34", path)


def test_create_timm_backbone_names_the_setting_of_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(WsssError, match=r"No weights at .*fix train_seg\.backbone_weights"):
        create_timm_backbone("resnet18", tmp_path / "w.pth")


def test_create_timm_backbone_says_that_timm_has_no_weights() -> None:
    with pytest.raises(WsssError, match=r"timm has no weights of hrnet_w18_tiny"):
        create_timm_backbone("hrnet_w18_tiny", "pretrained")


@pytest.mark.parametrize("name", ["resnet", "vit_tiny_patch16_224", "swin_tiny_patch4_window7_224"])
def test_segmenter_refuses_backbones_without_maps_of_any_size(name: str) -> None:
    with pytest.raises(WsssError, match=re.escape(f"train_seg.backbone '{name}' can't")):
        Segmenter(name, {}, "segformer", 3)
