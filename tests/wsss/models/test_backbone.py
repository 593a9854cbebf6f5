"""The GLNet of a config: names, arguments and weights that don't fit are refused."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save_file

from wsss.errors import WsssError
from wsss.models.backbone import create_backbone

TINY: dict[str, Any] = {"depths": [1, 1, 1, 1], "embed_dims": [32, 32, 32, 32]}


def with_head() -> torch.nn.Module:
    """A classifier of 7 classes, as a released file holds one."""
    torch.manual_seed(0)
    return timm.create_model("glnet_nano", num_classes=7, **TINY)


def diverged(path: Path) -> None:
    state = with_head().state_dict()
    next(iter(state.values())).fill_(float("nan"))
    torch.save(state, path)


def numbers_as_names(path: Path) -> None:
    torch.save(dict(enumerate(with_head().state_dict().values())), path)


@pytest.mark.parametrize(
    ("write", "says"),
    [(diverged, "infinite or none"), (numbers_as_names, "holds no weights")],
)
def test_create_backbone_refuses_weights_that_are_none(
    tmp_path: Path, write: Callable[[Path], None], says: str
) -> None:
    write(tmp_path / "w.pth")
    with pytest.raises(WsssError, match=says):
        create_backbone("glnet_nano", tmp_path / "w.pth", TINY)


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_create_backbone_loads_weights_without_the_head(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"w{suffix}"
    source = with_head().state_dict()
    save_file(source, path) if suffix == ".safetensors" else torch.save({"model": source}, path)
    model = create_backbone("glnet_nano", path, TINY)
    assert not [name for name in model.state_dict() if name.startswith("head.")]
    for name, value in model.state_dict().items():
        assert torch.equal(value, source[name]), name


def test_create_backbone_finds_pretrained_weights_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GLMIX_WEIGHTS", str(tmp_path))
    monkeypatch.setattr("torch.hub.get_dir", lambda: str(tmp_path / "hub"))
    with pytest.raises(WsssError, match=r"glnet_4g .*backbone\.weights"):
        create_backbone("glnet_4g", "pretrained", {})
    source = timm.create_model("glnet_4g", num_classes=7, **TINY).state_dict()
    save_file(source, tmp_path / "glnet_4g.safetensors")
    found = create_backbone("glnet_4g", "pretrained", TINY).state_dict()
    for name, value in found.items():
        assert torch.equal(value, source[name]), name


def test_create_backbone_without_weights_has_unit_gain() -> None:
    torch.manual_seed(0)
    model = create_backbone("glnet_nano", None, {})
    convolutions = [m for m in model.modules() if isinstance(m, torch.nn.Conv2d)]
    for module in convolutions:
        fan_in = module.weight[0].numel()
        assert module.weight.std().item() == pytest.approx(fan_in**-0.5, rel=0.2), module


def test_create_backbone_refuses_an_unknown_variant() -> None:
    with pytest.raises(WsssError, match=r"backbone\.name is 'glnet_5g': .*glnet_4g"):
        create_backbone("glnet_5g", None, {})


@pytest.mark.parametrize("args", [{"depth": [1]}, {"depths": [1, 1]}, {"mixers": ["X", "G", "G"]}])
def test_create_backbone_refuses_arguments_that_build_nothing(args: dict[str, Any]) -> None:
    with pytest.raises(WsssError, match=r"backbone\.args .* glnet_nano") as error:
        create_backbone("glnet_nano", None, args)
    assert "\n" not in str(error.value)


def text(path: Path) -> None:
    path.write_text("no weights")


def cut(path: Path) -> None:
    torch.save(with_head().state_dict(), path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def another(path: Path) -> None:
    torch.save(timm.create_model("glnet_nano", num_classes=0).state_dict(), path)


def a_list(path: Path) -> None:
    torch.save([1, 2], path)


def no_tensors(path: Path) -> None:
    torch.save({"args": {"lr": 1}}, path)


def web_page(path: Path) -> None:
    path.write_text("<!DOCTYPE html><html>Google Drive - Virus scan warning</html>")


FAULTS: dict[str, tuple[str, Callable[[Path], object], str]] = {
    "gone": ("w.pth", lambda path: None, r"w\.pth.* backbone\.weights"),
    "gone too": ("w.safetensors", lambda path: None, r"w\.safetensors.* backbone\.weights"),
    "text": ("w.pth", text, r"w\.pth"),
    "text too": ("w.safetensors", text, r"w\.safetensors can't be read"),
    "cut": ("w.pth", cut, r"w\.pth can't be read"),
    "a folder": ("w.pth", Path.mkdir, r"w\.pth can't be read"),
    "no mapping": ("w.pth", a_list, r"w\.pth can't be read as weights .it holds a list"),
    "no tensors": ("w.pth", no_tensors, r"w\.pth holds no weights"),
    "a web page": ("w.pth", web_page, r"w\.pth .*web page"),
    "another model": ("w.pth", another, r"w\.pth .*glnet_nano"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_create_backbone_names_the_weights_and_their_fault(tmp_path: Path, fault: str) -> None:
    name, make, found = FAULTS[fault]
    make(tmp_path / name)
    with pytest.raises(WsssError, match=found) as error:
        create_backbone("glnet_nano", tmp_path / name, TINY)
    assert "\n" not in str(error.value)
