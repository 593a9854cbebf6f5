"""What a model says of itself, and that timm's folders for the Hub carry it."""

import json
from pathlib import Path

import pytest
import timm
import torch
from small import ALL, NANO, small
from timm.data import create_transform, resolve_model_data_config
from timm.models import save_for_hf

from glmix.pretrained import PACKAGED

WORDS = ("license", "origin_url", "paper_ids", "paper_name", "mean", "std", "interpolation")


@pytest.mark.parametrize("name", ALL)
def test_pretrained_cfg_is_complete_and_true(name: str) -> None:
    net = timm.create_model(name, device="meta").eval()
    cfg, weights = net.pretrained_cfg, net.state_dict()
    assert cfg is net.default_cfg and cfg["architecture"] == name and cfg["tag"] == "in1k"
    assert [word for word in WORDS if not cfg.get(word)] == []
    assert weights[f"{cfg['first_conv']}.weight"].shape[1] == cfg["input_size"][0]
    classifiers = cfg["classifier"]
    for layer in [classifiers] if isinstance(classifiers, str) else classifiers:
        assert weights[f"{layer}.weight"].shape[0] == cfg["num_classes"]
    with torch.no_grad():
        grid = net.forward_features(torch.empty(1, *cfg["input_size"], device="meta"))
        assert grid.shape == (1, net.num_features, *cfg["pool_size"])
        smallest = cfg.get("min_input_size", (3, 1, 1))
        assert net(torch.empty(1, *smallest, device="meta")).shape == (1, 1000)


def test_models_with_packaged_weights_are_listed_as_pretrained() -> None:
    packaged = sorted(f"{path.stem}.in1k" for path in PACKAGED.glob("*.safetensors"))
    assert timm.list_models("glnet_*", pretrained=True) == packaged == ["glnet_nano.in1k"]


@pytest.mark.parametrize("name", NANO)
def test_data_config_makes_a_transform(name: str) -> None:
    config = resolve_model_data_config(timm.create_model(name, device="meta"))
    assert config["input_size"] == (3, 224, 224) and config["crop_pct"] == 0.875
    assert config["interpolation"] == "bicubic"
    assert "256" in str(create_transform(**config).transforms[0])


@pytest.mark.skipif(
    tuple(map(int, timm.__version__.split(".")[:3])) < (1, 0, 31),
    reason="timm before 1.0.31 does not build what a local folder describes",
)
@pytest.mark.parametrize("name", NANO)
def test_a_folder_for_the_hub_loads_back(name: str, tmp_path: Path) -> None:
    net = small(name, slot_grid=(4, 3), in_chans=5).eval()
    save_for_hf(net, str(tmp_path), safe_serialization=True)
    written = json.loads((tmp_path / "config.json").read_text())
    assert written["architecture"] == name and written["num_classes"] == 7
    assert written["pretrained_cfg"]["license"] == "mit"
    again = timm.create_model(f"local-dir:{tmp_path}", pretrained=True).eval()
    assert again.pretrained_cfg["source"] == "local-dir"
    x = torch.randn(1, 5, 64, 64)
    with torch.no_grad():
        assert torch.equal(again(x), net(x))
    fewer = timm.create_model(f"local-dir:{tmp_path}", pretrained=True, num_classes=2)
    assert fewer(x).shape == (1, 2)
