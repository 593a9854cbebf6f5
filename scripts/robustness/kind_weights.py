"""Weights: wrapped as training code does, of something else, damaged, or made to run code."""

import json
import pickle
import struct
from argparse import Namespace
from collections import OrderedDict
from pathlib import Path
from random import Random
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from robustness.case import Case, case
from robustness.damage import damage_bytes, damaged_value, replace_entry

MARK = "ran_code"
"""What a file that runs code would make."""


class _Runs:
    def __init__(self, call: tuple[Any, ...]) -> None:
        self.call = call

    def __reduce__(self) -> tuple[Any, ...]:
        return self.call[0], self.call[1:]


class Config:
    """Of a class that the reader of a file doesn't have."""

    def __init__(self) -> None:
        self.lr = 0.1


def foreign(rng: Random, box: Path) -> Case:
    """Released weights in another wrapping, or a file that isn't any."""
    path = box / "weights" / "backbone.pth"
    state = torch.load(path, weights_only=True)
    how = rng.randrange(6)
    if how < 3:
        what, places = _wrapped(rng, path, state)
        return case(what, "weights", means="same", places=places, only=("train-cls",))
    if how == 3:
        what = _with_code(rng, path, state)
        return case(what, "weights", means="either", check=_ran_no_code, only=("train-cls",))
    if how == 4:
        what, other = rng.choice(
            (
                ("nothing", {}),
                ("a list", [1, 2]),
                ("a tensor", torch.zeros(3)),
                ("another network", {"conv.weight": torch.zeros(3, 3)}),
                ("a weight less", dict(list(state.items())[1:])),
                ("another shape", {k: v.flatten()[:1] for k, v in state.items()}),
                ("numbers as names", dict(enumerate(state.values()))),
                ("text as weights", dict.fromkeys(state, "x")),
                ("not a number", {k: v * float("nan") for k, v in state.items()}),
            )
        )
        torch.save(other, path)
        return case(f"weights of {what}", "weights", means="refuse")
    what = replace_entry(rng, path) if rng.random() < 0.2 else damage_bytes(rng, path)
    return case(f"{what}: weights", "weights", check=_ran_no_code)


def _wrapped(rng: Random, path: Path, state: dict[str, torch.Tensor]) -> tuple[str, dict[str, str]]:
    """The same tensors as training code, other libraries and the hub save them."""
    prefix = rng.choice(("", "module.", "_orig_mod.", "model.", "module._orig_mod."))
    inner: Any = {prefix + key: value for key, value in state.items()}
    form = rng.choice(("pth", "pth", "old pth", "safetensors", "shards", "parameters"))
    if form == "safetensors":
        save_file(inner, path.with_suffix(".safetensors"))
        return f"{prefix or 'no prefix'}, safetensors", {"weights": "weights/backbone.safetensors"}
    if form == "shards":
        _shards(path.parent / "shards", inner)
        return f"{prefix or 'no prefix'}, shards", {"weights": "weights/shards"}
    if form == "parameters":
        inner = OrderedDict(
            (k, torch.nn.Parameter(v) if v.is_floating_point() else v) for k, v in inner.items()
        )
    key = rng.choice(("", "model", "state_dict", "model_ema", "net"))
    whole = {key: inner} if key else inner
    if key:
        extra = {
            "args": rng.choice((Namespace(lr=0.1), Config(), {"lr": 0.1}, Path("x"))),
            "optimizer": torch.optim.SGD([torch.zeros(1)], 0.1).state_dict(),
            "epoch": 3,
        }
        whole |= {name: extra[name] for name in rng.sample(list(extra), rng.randrange(4))}
    torch.save(whole, path, _use_new_zipfile_serialization=form != "old pth")
    return f"{form}, {prefix or 'no prefix'}, under {key or 'nothing'}", {}


def _shards(folder: Path, state: dict[str, torch.Tensor]) -> None:
    folder.mkdir()
    names = list(state)
    parts = [names[::2], names[1::2]]
    index = {}
    for i, part in enumerate(parts):
        file = f"model-{i}.safetensors"
        save_file({name: state[name] for name in part}, folder / file)
        index |= dict.fromkeys(part, file)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": index}))


def _with_code(rng: Random, path: Path, state: dict[str, torch.Tensor]) -> str:
    """A file that would make a folder if what is in it were called."""
    import os

    call = rng.choice(
        (
            (os.mkdir, MARK),
            (os.system, f"mkdir {MARK}"),
            (eval, f"__import__('os').mkdir({MARK!r})"),
            (exec, f"import os; os.mkdir({MARK!r})"),
        )
    )
    trap = _Runs(call)
    what, whole = rng.choice(
        (
            ("beside the weights", {"model": state, "args": trap}),
            ("as a weight", {**state, "x": trap}),
            ("as all", trap),
            ("as a key", {"model": state, "y": [trap, {"z": trap}]}),
        )
    )
    if rng.random() < 0.2:
        path.write_bytes(pickle.dumps(whole))
        what += ", plain pickle"
    else:
        torch.save(whole, path, _use_new_zipfile_serialization=rng.random() < 0.7)
    return f"code to run {what}"


def _ran_no_code(box: Path) -> str | None:
    return "code from the file was run" if (box / MARK).exists() else None


def models(rng: Random, box: Path) -> Case:
    """A model file of ours, or the folder for the hub, damaged."""
    choices = {
        "model": box / "models" / "model.safetensors",
        "hub": box / "models" / "hub" / "config.json",
        "onnx": box / "models" / "model.onnx",
        "pt2": box / "models" / "model.pt2",
        "classifier": box / "run" / "train_cls" / "model.safetensors",
        "segmenter": box / "run" / "train_seg" / "model.safetensors",
    }
    reads = rng.choice([name for name, path in choices.items() if path.exists()])
    path = choices[reads]
    if reads == "hub" and rng.random() < 0.3:
        path = path.with_name("model.safetensors")
    if path.suffix == ".json" and rng.random() < 0.7:
        values, what = damaged_value(rng, json.loads(path.read_text()))
        path.write_text(json.dumps(values))
        return case(f"{path.name}: {what}", reads)
    if path.suffix == ".safetensors" and rng.random() < 0.6:
        return case(f"{_other_header(rng, path)}: {reads}", reads)
    if rng.random() < 0.15:
        what = replace_entry(rng, path)
        if reads == "classifier":  # what a finished run needs no more
            return case(f"{what} for {reads}", reads)
        return case(f"{what} for {reads}", reads, means="refuse", only=("predict",))
    return case(f"{damage_bytes(rng, path)}: {reads}", reads)


def _other_header(rng: Random, path: Path) -> str:
    """Other metadata or tensors in a safetensors file."""
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
        state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    card, what = damaged_value(rng, json.loads(metadata["wsss"]))
    how = rng.randrange(4)
    if how == 0:
        name = rng.choice(sorted(state))
        what = rng.choice(("without", "other shape of", "not a number in"))
        tensor = state.pop(name)
        if what == "other shape of":
            state[name] = torch.zeros(2, 2)
        elif what == "not a number in":
            state[name] = tensor * float("nan") if tensor.is_floating_point() else tensor + 1
        what, card = f"{what} {name}", json.loads(metadata["wsss"])
    if how == 1:
        data = path.read_bytes()
        (size,) = struct.unpack("<Q", data[:8])
        size = rng.choice((0, size - 1, size + 1, 2**40, 2**63))
        path.write_bytes(struct.pack("<Q", size) + data[8:])
        return "another length of the header"
    text = rng.choice(("", "null", "[]", "{", json.dumps(card), json.dumps(card), json.dumps(card)))
    save_file(state, path, {"wsss": text})
    return what if text == json.dumps(card) else f"metadata {text!r}"
