"""Weights in a file → tensors by name, without running anything that the file holds.

Read are safetensors, in one file or in shards with their index, and what `torch.save` wrote: of
that, tensors and plain containers. Training code saves more beside the weights (arguments, a
config, an optimiser's state); every object of a class that isn't known here becomes an empty
placeholder, so that neither its class is imported nor its constructor called.
"""

import json
import pickle
from collections import OrderedDict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

INDEX = ".safetensors.index.json"


def read_weights(path: Path | str) -> dict[str, Any]:
    """What a file of weights holds, on the CPU.

    Args:
        path: `.safetensors`, its index of shards, a folder that holds one, or a file of
            `torch.save`; told apart by their content.

    Returns:
        Tensors by name, or the containers that they were saved in; see
        `glmix.checkpoints.checkpoint_filter` for the weights alone.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no such file, or damaged; says why in one line.
    """
    path = Path(path)
    if path.is_dir():
        path = _index_in(path)
    if path.name.endswith(".json"):
        return _read_shards(path)
    with path.open("rb") as file:
        head = file.read(512)
    try:
        if _is_safetensors(head):
            return dict(load_file(path))
        found = _read_pickled(path, head)
    except ValueError:
        raise
    except Exception as error:  # a damaged file makes its reader raise anything
        reason = (str(error).splitlines() or [""])[0][:150].rstrip(".:")
        raise ValueError(reason or type(error).__name__) from error
    if not isinstance(found, dict):
        raise ValueError(f"it holds a {type(found).__name__}, not weights by name")
    return found


def _is_safetensors(head: bytes) -> bool:
    return head[8:9] == b"{" and head[4:8] == bytes(4)  # the header's length, then JSON


def _read_pickled(path: Path, head: bytes) -> Any:
    if head.lstrip()[:1] == b"<":
        raise ValueError("it is a web page: a share link was saved in place of its file")
    if head.startswith(b"version https://git-lfs"):
        raise ValueError("it is a pointer of Git LFS: run git lfs pull")
    if head[257:262] == b"ustar":
        raise ValueError("it is a tar archive, as PyTorch 0.1 wrote them")
    with path.open("rb") as file:  # by a path, PyTorch goes by its suffix
        try:
            return torch.load(file, map_location="cpu", weights_only=True)
        except pickle.UnpicklingError:  # it holds more than tensors
            file.seek(0)
            return torch.load(file, map_location="cpu", weights_only=False, pickle_module=_INERT)


def _index_in(folder: Path) -> Path:
    found = sorted(folder.glob(f"*{INDEX}"))
    if len(found) != 1:
        raise ValueError(f"it is a folder with {len(found)} files *{INDEX}")
    return found[0]


def _read_shards(index: Path) -> dict[str, Any]:
    try:
        files = sorted(set(json.loads(index.read_text("utf-8"))["weight_map"].values()))
        strange = [name for name in files if not isinstance(name, str) or Path(name).name != name]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError("it is no index of safetensors, which has a weight_map") from error
    if strange:
        raise ValueError(f"its weight_map names {str(strange[0])[:60]!r}, which isn't beside it")
    weights: dict[str, Any] = {}
    for name in files:
        try:
            weights |= load_file(index.with_name(name))
        except Exception as error:
            raise ValueError(f"its shard {name} can't be read ({type(error).__name__})") from error
    return weights


class _Placeholder(dict[Any, Any]):
    """Stands for an object of an unknown class: takes whatever it was made of, and does nothing.

    A mapping, because a config or a state dict of another class keeps its items so.
    """

    def __new__(cls, *args: object, **kwargs: object) -> "_Placeholder":
        return super().__new__(cls)

    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__()

    def __setstate__(self, state: object) -> None:
        pass

    def __hash__(self) -> int:  # type: ignore[override]  # it may be a key or in a set
        return id(self)

    def __eq__(self, other: object) -> bool:
        return self is other

    def append(self, item: object) -> None:
        """Of a list of another class."""

    def extend(self, items: object) -> None:
        """Of a list of another class."""

    def add(self, item: object) -> None:
        """Of a set of another class."""


class _RebuildTensor:
    """`torch._utils._rebuild_tensor_v2`, without gradients, hooks or another device."""

    __slots__ = ()

    def __call__(
        self, storage: Any, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_: object
    ) -> Tensor:
        last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
        held = storage._untyped_storage.nbytes() // storage.dtype.itemsize
        # PyTorch would make the storage larger, and leave whatever is there
        if min((offset, *size, *stride)) < 0 or (0 not in size and last >= held):
            raise ValueError("a tensor reaches beyond its storage")
        tensor: Tensor = torch._utils._rebuild_tensor(storage, offset, size, stride)
        return tensor


class _RebuildParameter:
    """`torch._utils._rebuild_parameter`: the tensor alone."""

    __slots__ = ()

    def __call__(self, data: Any, *_: object) -> Any:
        return data


class _RebuildSubclass:
    """`torch._tensor._rebuild_from_type_v2`: a tensor of another class, or with attributes."""

    __slots__ = ()

    def __call__(self, rebuild: Any, _: object, arguments: tuple[Any, ...], *__: object) -> Any:
        return rebuild(*arguments) if isinstance(rebuild, _KNOWN) else _Placeholder()


_KNOWN = (_RebuildTensor, _RebuildParameter)
_REBUILD: dict[tuple[str, str], type] = {
    ("torch._utils", "_rebuild_tensor"): _RebuildTensor,
    ("torch._utils", "_rebuild_tensor_v2"): _RebuildTensor,
    ("torch._utils", "_rebuild_parameter"): _RebuildParameter,
    ("torch._utils", "_rebuild_parameter_with_state"): _RebuildParameter,
    ("torch._tensor", "_rebuild_from_type_v2"): _RebuildSubclass,
}
_CONTAINERS: dict[tuple[str, str], type] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("torch", "Size"): tuple,
    **{
        (module, kind.__name__): kind
        for module in ("builtins", "__builtin__")
        for kind in (dict, list, tuple, set, frozenset)
    },
}


class _InertUnpickler(pickle.Unpickler):
    """Knows how tensors are rebuilt, and plain containers; looks nothing up, imports nothing."""

    def find_class(self, module: str, name: str) -> Any:
        """What a name in the file stands for, made anew, so that a file can change nothing else."""
        if (module, name) in _REBUILD:
            return _REBUILD[module, name]()
        if (module, name) in _CONTAINERS:
            return _CONTAINERS[module, name]
        dtype = getattr(torch, name, None) if module == "torch" else None
        if isinstance(dtype, torch.dtype):
            return dtype
        return type("Placeholder", (_Placeholder,), {})


def _load(file: Any, **how: Any) -> Any:
    return _InertUnpickler(file, **how).load()


# what torch.load asks of a module that pickles
_INERT: Any = SimpleNamespace(__name__="inert", Unpickler=_InertUnpickler, load=_load)
