"""The weights that come with the package."""

import socket
from typing import NoReturn

import pytest
import timm
import torch
from safetensors.torch import load_file

import glmix  # noqa: F401  (registers the models)
from glmix.pretrained import PACKAGED


def test_the_packaged_weights_need_no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> NoReturn:
        raise AssertionError("a connection was asked for")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    model = timm.create_model("glnet_nano", pretrained=True).eval()
    path = PACKAGED / "glnet_nano.safetensors"
    assert path.stat().st_size < 8e6
    stored = load_file(path)
    assert stored.keys() == model.state_dict().keys()
    for name, value in model.state_dict().items():
        assert torch.equal(value, stored[name].to(value.dtype)), name
    with torch.inference_mode():
        assert model(torch.zeros(1, 3, 64, 64)).shape == (1, 1000)


def test_the_packaged_slots_are_in_use() -> None:
    model = timm.create_model("glnet_nano", pretrained=True)
    scales = [float(v) for k, v in model.state_dict().items() if k.endswith("slot_scale")]
    assert len(scales) == 6
    assert min(scales) > 8  # where they began; at 0 every slot is the mean of the image


def test_other_heads_and_sizes_start_from_the_packaged_weights() -> None:
    model = timm.create_model("glnet_nano", pretrained=True, num_classes=7).eval()
    with torch.inference_mode():
        assert model(torch.zeros(1, 3, 96, 64)).shape == (1, 7)
    stored = load_file(PACKAGED / "glnet_nano.safetensors")
    for name, value in model.state_dict().items():
        if not name.startswith("head."):
            assert torch.equal(value, stored[name].to(value.dtype)), name
