"""Weights are read from what training code saves, and nothing in the file is run."""

import argparse
import io
import json
import os
import pickle
import struct
import sys
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from enum import Enum
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save_file

import glmix  # noqa: F401  registers the models
from glmix.checkpoints import checkpoint_filter
from glmix.weight_files import read_weights

TINY: dict[str, Any] = {"depths": [1, 1, 1, 1], "embed_dims": [32, 32, 32, 32]}


@pytest.fixture(scope="module")
def model() -> torch.nn.Module:
    torch.manual_seed(0)
    return timm.create_model("glnet_nano", num_classes=0, **TINY)


class DictConfig:
    """As omegaconf's: an object of a class that this machine doesn't have."""

    def __init__(self, content: dict[str, Any]) -> None:
        self._content = content
        self.kind = Kind.STRICT


class Kind(Enum):
    STRICT = 1


class Options(dict):  # type: ignore[type-arg]
    """A mapping of another class."""


def same(found: dict[str, torch.Tensor], model: torch.nn.Module) -> bool:
    own = model.state_dict()
    return found.keys() == own.keys() and all(torch.equal(found[k], own[k]) for k in own)


def wrapped(state: dict[str, Any], prefix: str) -> dict[str, Any]:
    return {f"{prefix}{name}": value for name, value in state.items()}


LAYOUTS: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "plain": lambda s: s,
    "model": lambda s: {"model": s, "epoch": 3},
    "model_ema": lambda s: {"model": {k: v + 1 for k, v in s.items()}, "model_ema": s},
    "no average": lambda s: {"model": s, "model_ema": None},
    "empty average": lambda s: {"model": s, "model_ema": {}},
    "state_dict": lambda s: {"state_dict": s, "optimizer": {"state": {0: torch.ones(2)}}},
    "module": lambda s: {"state_dict": wrapped(s, "module.")},
    "compiled": lambda s: {"model": wrapped(s, "_orig_mod.")},
    "both": lambda s: {"model": wrapped(s, "module._orig_mod.")},
    "lightning": lambda s: {"state_dict": wrapped(s, "model.")},
    "backbone": lambda s: wrapped(s, "backbone."),
    "larger network": lambda s: {"state_dict": {**wrapped(s, "net.encoder."),
                                                "net.decoder.weight": torch.ones(2)}},
    "nested": lambda s: {"model": {"state_dict": s}},
    "averaged": lambda s: {"ema": {"n_averaged": torch.tensor(3), **wrapped(s, "module.")}},
    "parameters": lambda s: {"model": {k: torch.nn.Parameter(v) if v.is_floating_point() else v
                                       for k, v in s.items()}},
}  # fmt: skip


@pytest.mark.parametrize("layout", LAYOUTS)
def test_checkpoint_filter_finds_the_weights(
    tmp_path: Path, model: torch.nn.Module, layout: str
) -> None:
    torch.save(LAYOUTS[layout](dict(model.state_dict())), tmp_path / "w.pth")
    assert same(checkpoint_filter(read_weights(tmp_path / "w.pth"), model), model)


def test_checkpoint_filter_chooses_no_network_of_two(model: torch.nn.Module) -> None:
    state = dict(model.state_dict())
    both = {**wrapped(state, "student."), **wrapped(state, "teacher.")}
    assert checkpoint_filter(both, model).keys() == both.keys()


BESIDE: dict[str, Any] = {
    "namespace": argparse.Namespace(lr=0.1, out=Path("/runs")),
    "config": DictConfig({"model": {"depth": [1, 2]}}),
    "mapping": Options(a=1),
    "key": {Kind.STRICT: 1, "set": {Kind.STRICT}},
    "function": os.path.join,
    "tensor with attributes": torch.nn.Parameter(torch.ones(2)).as_subclass(torch.Tensor),
}


@pytest.mark.parametrize("beside", BESIDE)
@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_read_weights_beside_objects_of_any_class(
    tmp_path: Path, model: torch.nn.Module, beside: str, zipped: bool, protocol: int
) -> None:
    path = tmp_path / "w.pth"
    saved = {"args": BESIDE[beside], "model": model.state_dict(), "lr": [0.1]}
    torch.save(saved, path, _use_new_zipfile_serialization=zipped, pickle_protocol=protocol)
    found = read_weights(path)
    assert found["lr"] == [0.1] and same(checkpoint_filter(found, model), model)
    if beside in ("namespace", "config"):
        assert not isinstance(found["args"], argparse.Namespace | DictConfig)


def test_read_weights_of_a_state_dict_of_another_class(
    tmp_path: Path, model: torch.nn.Module
) -> None:
    torch.save({"model": Options(model.state_dict()), "args": DictConfig({})}, tmp_path / "w.pth")
    assert same(checkpoint_filter(read_weights(tmp_path / "w.pth"), model), model)


def test_objects_beside_the_weights_are_not_made(
    tmp_path: Path, model: torch.nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.save({"args": DictConfig({}), "model": model.state_dict()}, tmp_path / "w.pth")
    for name in ("__init__", "__setstate__"):
        monkeypatch.setattr(DictConfig, name, lambda *_: pytest.fail("made"), raising=False)
    assert not isinstance(read_weights(tmp_path / "w.pth")["args"], DictConfig)


class Run:
    """Pickles as a call."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call


class Built:
    """Pickles as a call, whose answer gets a state."""

    def __init__(self, function: Any, arguments: tuple[Any, ...], state: Any) -> None:
        self.call = function, arguments, state

    def __reduce__(self) -> Any:
        return self.call


def attacks(marker: Path) -> dict[str, Any]:
    """Objects that make the file `marker` where their pickle is run."""
    code = f"open({str(marker)!r}, 'w').close()"
    import builtins
    import copyreg
    import functools
    import subprocess

    return {
        "os.system": Run(os.system, f"touch {marker}"),
        "eval": Run(builtins.eval, code),
        "exec": Run(builtins.exec, code),
        "open": Run(builtins.open, str(marker), "w"),
        "subprocess": Run(subprocess.call, ["touch", str(marker)]),
        "map": Run(list, Run(map, builtins.eval, [code])),
        "getattr": Run(getattr, Run(__import__, "os"), "system"),
        "partial": Run(functools.partial, os.system, f"touch {marker}"),
        "copyreg": Run(copyreg._reconstructor, Run, object, None),  # type: ignore[attr-defined]
        "state": Built(os.system, (f"touch {marker}",), {"a": 1}),
        "torch.load": Run(torch.storage._load_from_bytes, _pickled(marker)),
        "torch.hub": Run(torch.hub.load, "x", "y"),
        "import": Run(__import__, "antigravity"),
        "loads": Run(pickle.loads, pickle.dumps(Run(os.system, f"touch {marker}"))),
        "subclass": Run(
            torch._tensor._rebuild_from_type_v2,
            os.system,
            torch.Tensor,
            (f"touch {marker}",),
            {},
        ),
        "hooks": OrderedDict(a=Run(os.system, f"touch {marker}")),
        "path": Run(Path.write_text, Path(marker), "x"),
    }


def _pickled(marker: Path) -> bytes:
    buffer = io.BytesIO()
    torch.save(Run(os.system, f"touch {marker}"), buffer)
    return buffer.getvalue()


@pytest.mark.parametrize("attack", ["os.system", "eval", "loads", "state", "torch.load"])
def test_the_attacks_would_run_elsewhere(tmp_path: Path, attack: str) -> None:
    torch.save(attacks(tmp_path / "ran")[attack], tmp_path / "w.pth")
    with suppress(AttributeError):  # what is called gives nothing that has a state
        torch.load(tmp_path / "w.pth", weights_only=False)
    assert (tmp_path / "ran").exists()


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize("attack", sorted(attacks(Path("x"))))
def test_nothing_in_a_file_runs(
    tmp_path: Path, model: torch.nn.Module, attack: str, protocol: int, zipped: bool
) -> None:
    marker, path = tmp_path / "ran", tmp_path / "w.pth"
    modules = set(sys.modules)
    for content in (
        {"model": model.state_dict(), "args": attacks(marker)[attack]},
        {"model": model.state_dict(), "args": [{"deep": (attacks(marker)[attack],)}]},
        attacks(marker)[attack],
    ):
        torch.save(content, path, pickle_protocol=protocol, _use_new_zipfile_serialization=zipped)
        try:
            found = read_weights(path)
        except ValueError as error:
            assert "\n" not in str(error)
        else:
            if "args" in found:
                assert same(checkpoint_filter(found, model), model)
    assert not marker.exists() and "antigravity" not in set(sys.modules) - modules


def zip_of(path: Path, pickled: bytes) -> Path:
    """A file as torch.save lays it out, whose pickle is written by hand."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("w/data.pkl", pickled)
        archive.writestr("w/byteorder", b"little")
        archive.writestr("w/version", b"3\n")
        archive.writestr("w/data/0", struct.pack("<2f", 1, 2))
    return path


GLOBAL_SYSTEM = b"cposix\nsystem\n"
HAND_MADE = {
    "inst": b"\x80\x02(S'touch MARKER'\niposix\nsystem\n.",
    "obj": b"\x80\x02(cposix\nsystem\nS'touch MARKER'\no.",
    "newobj": b"\x80\x02cposix\nsystem\n(S'touch MARKER'\nt\x81.",
    "reduce": b"\x80\x02cposix\nsystem\n(S'touch MARKER'\ntR.",
    "stack global": b"\x80\x04\x8c\x05posix\x8c\x06system\x93\x8c\x0ctouch MARKER\x85R.",
    "extension": b"\x80\x02\x82\xf0(S'touch MARKER'\ntR.",
    "build of a function": b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\nN}S'__defaults__'\n"
    b"(I1\nts\x86b.",
    "build of a class": b"\x80\x02ccollections\nOrderedDict\nN}S'__init__'\n"
    + GLOBAL_SYSTEM
    + b"s\x86b(S'touch MARKER'\ntR.",
    "setstate": b"\x80\x02ca\nb\nN}S'__setstate__'\n" + GLOBAL_SYSTEM + b"s\x86b)R}b.",
    "dotted": b"\x80\x04\x8c\x05torch\x8c\x0bos.path.sys\x93.",
    "persistent": b"\x80\x02(S'storage'\n" + GLOBAL_SYSTEM + b"S'0'\nS'cpu'\nI2\ntQ.",
}


@pytest.mark.parametrize("name", HAND_MADE)
def test_no_opcode_of_a_pickle_runs_anything(tmp_path: Path, name: str) -> None:
    marker = tmp_path / "ran"
    before = torch._utils._rebuild_tensor_v2.__defaults__
    pickled = HAND_MADE[name].replace(b"MARKER", str(marker).encode())
    try:
        read_weights(zip_of(tmp_path / "w.pth", pickled))
    except ValueError as error:
        assert str(error) and "\n" not in str(error)
    assert not marker.exists()
    assert torch._utils._rebuild_tensor_v2.__defaults__ == before
    assert list(OrderedDict(a=1)) == ["a"]


def test_a_tensor_never_reaches_beyond_its_storage(tmp_path: Path) -> None:
    head = b"\x80\x02}S'args'\nca\nb\n)RsS'w'\nctorch._utils\n_rebuild_tensor_v2\n("
    storage = b"(S'storage'\nctorch\nFloatStorage\nS'0'\nS'cpu'\nI2\ntQ"
    for place, whole in ((b"I0\n(I2\nt(I1\nt", True), (b"I0\n(I9\nt(I1\nt", False)):
        pickled = head + storage + place + b"I00\nccollections\nOrderedDict\n)RtRs."
        path = zip_of(tmp_path / "w.pth", pickled)
        if whole:
            assert read_weights(path)["w"].tolist() == [1, 2]
        else:
            with pytest.raises(ValueError, match="beyond its storage"):
                read_weights(path)


def test_read_weights_of_shards(tmp_path: Path, model: torch.nn.Module) -> None:
    state = model.state_dict()
    shards: list[dict[str, torch.Tensor]] = [{}, {}]
    for n, (name, value) in enumerate(state.items()):
        shards[n % 2][name] = value
    names = [f"model-0000{n + 1}-of-00002.safetensors" for n in range(2)]
    for name, shard in zip(names, shards, strict=True):
        save_file(shard, tmp_path / name)
    index = tmp_path / "model.safetensors.index.json"
    weight_map = {key: name for name, shard in zip(names, shards, strict=True) for key in shard}
    index.write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    for path in (index, tmp_path):
        assert same(checkpoint_filter(read_weights(path), model), model)
    (tmp_path / names[1]).unlink()
    with pytest.raises(ValueError, match="its shard model-00002-of-00002"):
        read_weights(index)
    index.write_text(json.dumps({"weight_map": {"a": "../../etc/passwd"}}))
    with pytest.raises(ValueError, match="which isn't beside it"):
        read_weights(index)
    index.write_text("[]")
    with pytest.raises(ValueError, match="no index of safetensors"):
        read_weights(index)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_weights_of_half_precision_load(
    tmp_path: Path, model: torch.nn.Module, dtype: torch.dtype, suffix: str
) -> None:
    half = {k: v.to(dtype) if v.is_floating_point() else v for k, v in model.state_dict().items()}
    path = tmp_path / f"w{suffix}"
    save_file(half, path) if suffix == ".safetensors" else torch.save({"model": half}, path)
    other = timm.create_model("glnet_nano", num_classes=0, **TINY)
    other.load_state_dict(checkpoint_filter(read_weights(path), other))
    for name, value in other.state_dict().items():
        assert torch.equal(value, half[name].to(value.dtype)), name


def test_a_file_is_told_by_its_content(tmp_path: Path, model: torch.nn.Module) -> None:
    save_file(dict(model.state_dict()), tmp_path / "w.pth")
    torch.save(model.state_dict(), tmp_path / "w.safetensors")
    for name in ("w.pth", "w.safetensors"):
        assert same(checkpoint_filter(read_weights(tmp_path / name), model), model)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "."),
        (b"<!DOCTYPE html>", "web page"),
        (b"version https://git-lfs.github.com/spec/v1", "Git LFS"),
        (b"no weights", "."),
        (bytes(257) + b"ustar" + bytes(99), "tar archive"),
        (struct.pack("<Q", 50) + b'{"a": ', "."),
    ],
)
def test_what_is_no_weights_file_has_a_reason(tmp_path: Path, data: bytes, reason: str) -> None:
    (tmp_path / "w.pth").write_bytes(data)
    with pytest.raises(ValueError, match=reason) as error:
        read_weights(tmp_path / "w.pth")
    assert str(error.value) and "\n" not in str(error.value)


def test_a_scripted_model_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "w.pth", "w") as archive:
        archive.writestr("w/data.pkl", pickle.dumps(argparse.Namespace(), 2))
        archive.writestr("w/constants.pkl", b"\x80\x02).")
        archive.writestr("w/version", b"3\n")
    with pytest.raises(ValueError, match=r"."):
        read_weights(tmp_path / "w.pth")


def test_timm_takes_what_was_read(tmp_path: Path) -> None:
    source = timm.create_model("glnet_nano", **TINY).state_dict()
    torch.save({"model": wrapped(source, "module."), "args": DictConfig({})}, tmp_path / "w.pth")
    found = timm.create_model(
        "glnet_nano",
        pretrained=True,
        pretrained_cfg_overlay={"state_dict": read_weights(tmp_path / "w.pth")},
        **TINY,
    ).state_dict()
    assert all(torch.equal(value, source[name]) for name, value in found.items())
