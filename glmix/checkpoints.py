"""Names and shapes of the released checkpoints → ours, whenever a state dict is loaded.

The names are the same, but for two differences: the MLP of an attention block without depth-wise
convolution is linear there (`mlp.0`, `mlp.2`) and two 1×1 convolutions here (`mlp.0`, `mlp.3`);
layer scales of attention blocks are (D,) there and (1, D, 1, 1) here. The numbers are the same, so
a released file loads as it is, through timm's `checkpoint_path` or plain `load_state_dict`.
"""

from collections.abc import Collection, Mapping
from typing import Any, TypeGuard

from torch import Tensor, nn


def released_names_hook(
    model: nn.Module, state_dict: dict[str, Tensor], prefix: str, *_: object
) -> None:
    """Load-state-dict pre-hook: rename and reshape in place where a released file differs."""
    own = model.state_dict()
    for key in [k for k in state_dict if k.startswith(prefix)]:
        name = key.removeprefix(prefix)
        if ".mlp.2." in name and name not in own:
            name = name.replace(".mlp.2.", ".mlp.3.")
            state_dict[prefix + name] = state_dict.pop(key)
        value = state_dict[prefix + name]
        if name not in own or own[name].ndim != 4 or value.ndim == 4:
            continue
        if value.numel() == own[name].numel():
            state_dict[prefix + name] = value.reshape(own[name].shape)


# where training code keeps weights, the average before the last ones
_NESTED = (
    *("model_ema", "state_dict_ema", "ema_state_dict", "ema", "model", "state_dict"),
    *("model_state_dict", "model_state", "net", "network"),
)
# what DataParallel, torch.compile and other wrappers put before every name
_PREFIXES = ("module.", "_orig_mod.", "model.")


def checkpoint_filter(state_dict: dict[str, Any], model: nn.Module) -> dict[str, Tensor]:
    """The weights in what a file holds, by the model's own names.

    Released ones are under `model`, or `model_ema` (`glnet_16g`). Training code puts them into
    further mappings, beside arguments and an optimiser's state, and before their names what its
    wrappers are called: both are taken off.

    Args:
        state_dict: as `glmix.weight_files.read_weights` or `torch.load` give it.
        model: what they are to be loaded into.
    """
    found: Mapping[str, Any] = state_dict
    for _ in range(3):
        inner = [found.get(key) for key in _NESTED]
        found = next((value for value in inner if _holds_tensors(value)), found)
    own = model.state_dict().keys()
    named = {_unwrapped(k, own): value for k, value in found.items() if isinstance(k, str)}
    # what torch.optim.swa_utils counts is no weight
    return {k: v for k, v in named.items() if isinstance(v, Tensor) and k != "n_averaged"}


def _holds_tensors(value: object) -> TypeGuard[Mapping[str, Any]]:
    if not isinstance(value, Mapping):
        return False
    return any(
        isinstance(inner, Tensor) or (key in _NESTED and _holds_tensors(inner))
        for key, inner in value.items()
    )


def _unwrapped(name: str, own: Collection[str]) -> str:
    while name not in own:
        prefix = next((prefix for prefix in _PREFIXES if name.startswith(prefix)), None)
        if prefix is None:
            break
        name = name.removeprefix(prefix)
    return name


def describe_mismatch(state_dict: Mapping[str, Tensor], model: nn.Module) -> str:
    """What keeps weights from fitting a model, in a few words; empty where nothing does.

    Args:
        state_dict: names and tensors, in the model's naming.
        model: what they were to be loaded into.
    """
    own = model.state_dict()
    kinds = {
        "missing": [name for name in own if name not in state_dict],
        "of another shape": [
            name for name in own if name in state_dict and own[name].shape != state_dict[name].shape
        ],
        "unknown": [name for name in state_dict if name not in own],
    }
    return ", ".join(
        f"{len(names)} tensors {kind}, the first {names[0]}"
        for kind, names in kinds.items()
        if names
    )
