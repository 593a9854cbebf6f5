"""Two backbones as one: features of both on the GLNet's grids, slots of the GLNet alone."""

import re
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import nn

from wsss.errors import WsssError
from wsss.models.backbone import create_backbone
from wsss.models.backbone_pair import BackbonePair, FeatureMaps, pair
from wsss.models.classifier import TagClassifier, build_classifier, slot_blocks

TINY: dict[str, Any] = {"depths": [1, 1, 2, 1], "embed_dims": [32, 32, 64, 64], "slot_grid": [3, 3]}


def paired(name: str = "resnet18") -> BackbonePair:
    torch.manual_seed(0)
    return pair(create_backbone("glnet_nano", None, TINY), name, None).eval()


@torch.inference_mode()
def test_pair_has_features_of_both_and_slots_of_the_glnet() -> None:
    both, image = paired(), torch.randn(2, 3, 64, 96)
    features, found = both.forward_slots(image)
    own, slots = both.glnet.forward_slots(image)
    third, deep = both.second(image)
    assert deep is not None
    assert [f.shape[1] for f in features] == [stage["num_chs"] for stage in both.feature_info]
    assert torch.equal(features[2], torch.cat([own[2], third], dim=1))
    assert torch.equal(both.norm(features[3]), torch.cat([both.glnet.norm(own[3]), deep], dim=1))
    assert all(torch.equal(a.logits, b.logits) for a, b in zip(found, slots, strict=True))


@pytest.mark.parametrize("name", ["resnet18", "vit_tiny_patch16_224"])
@torch.inference_mode()
def test_classifier_on_a_pair_takes_images_of_any_size(name: str) -> None:
    model = TagClassifier(paired(name), 4, "16.0", 2).eval()
    for size in ((64, 96), (65, 47), (7, 50)):
        output = model(torch.randn(2, 3, *size))
        assert output.cam.shape[-2:] == output.assignments["16.0"].grid
        torch.testing.assert_close(output.logits, output.cam.mean((2, 3)))


@torch.inference_mode()
def test_feature_maps_take_the_weights_of_a_file(tmp_path: Path) -> None:
    source = timm.create_model("tf_efficientnet_lite0").eval()
    save_file(source.state_dict(), tmp_path / "w.safetensors")
    glnet = create_backbone("glnet_nano", None, TINY)
    maps = pair(glnet, "tf_efficientnet_lite0", tmp_path / "w.safetensors").second.eval()
    image = torch.randn(1, 3, 64, 96)
    expected = timm.create_model("tf_efficientnet_lite0", features_only=True).eval()
    expected.load_state_dict(maps.net.state_dict())
    _, _, _, third, deep = expected(maps.adapt(image))
    found = maps(image)
    torch.testing.assert_close(found[0], third)
    torch.testing.assert_close(found[1], deep)
    assert torch.equal(maps.net.conv_stem.weight, source.conv_stem.weight)  # type: ignore[union-attr]


def test_classifier_on_a_pair_is_built_from_its_metadata() -> None:
    metadata = {
        "backbone": "glnet_nano",
        "backbone_args": TINY,
        "second_backbone": "resnet18",
        "class_names": ["cat", "dog"],
        "slot_block": "16.0",
        "slot_top": 2,
    }
    model = build_classifier(metadata)
    assert isinstance(model.backbone, BackbonePair)
    assert slot_blocks(model.glnet) == ["4.0", "8.0", "16.0"]
    alone: nn.Module = build_classifier({**metadata, "second_backbone": None})
    assert {name.replace("backbone.", "backbone.glnet.") for name in alone.state_dict()} < set(
        model.state_dict()
    )


@pytest.mark.parametrize(
    "name", ["resnet", "swin_tiny_patch4_window7_224", "vit_tiny_r_s16_p8_224"]
)
def test_feature_maps_refuse_models_without_them(name: str) -> None:
    with pytest.raises(WsssError, match=re.escape(f"train_cls.second_backbone '{name}' can't")):
        FeatureMaps(name)


def test_pair_names_the_setting_of_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(WsssError, match=r"fix train_cls\.second_backbone_weights"):
        pair(create_backbone("glnet_nano", None, TINY), "resnet18", tmp_path / "w.pth")
