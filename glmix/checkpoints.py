"""Names and shapes of the released checkpoints → ours, whenever a state dict is loaded.

The names are the same, but for two differences: the MLP of an attention block without depth-wise
convolution is linear there (`mlp.0`, `mlp.2`) and two 1×1 convolutions here (`mlp.0`, `mlp.3`);
layer scales of attention blocks are (D,) there and (1, D, 1, 1) here. The numbers are the same, so
a released file loads as it is, through timm's `checkpoint_path` or plain `load_state_dict`.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
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


def checkpoint_filter(state_dict: dict[str, Any], model: nn.Module) -> dict[str, Tensor]:
    """The weights in what a file holds, by the model's own names.

    Released ones are under `model`, or `model_ema` (`glnet_16g`). Training code puts them into
    further mappings, beside arguments and an optimiser's state, and before their names what the
    wrappers or the larger network around it are called: both are taken off, and with a name in
    front all that is without it.

    Args:
        state_dict: as `glmix.weight_files.read_weights` or `torch.load` give it.
        model: what they are to be loaded into.
    """
    found: Mapping[str, Any] = state_dict
    for _ in range(3):
        inner = [found.get(key) for key in _NESTED]
        found = next((value for value in inner if _holds_tensors(value)), found)
    texts = {k: value for k, value in found.items() if isinstance(k, str)}
    front = _front(texts, model.state_dict().keys())
    named = {k.removeprefix(front): value for k, value in texts.items() if k.startswith(front)}
    # what torch.optim.swa_utils counts is no weight
    return {k: v for k, v in named.items() if isinstance(v, Tensor) and k != "n_averaged"}


def _holds_tensors(value: object) -> TypeGuard[Mapping[str, Any]]:
    if not isinstance(value, Mapping):
        return False
    return any(
        isinstance(inner, Tensor) or (key in _NESTED and _holds_tensors(inner))
        for key, inner in value.items()
    )


def _front(names: Iterable[str], own: Collection[str]) -> str:
    """What stands before most of a model's own names; empty where nothing or several things do."""
    counts: Counter[str] = Counter()
    for name in names:
        parts = name.split(".")
        rests = (i for i in range(len(parts)) if ".".join(parts[i:]) in own)
        start = next(rests, None)
        if start is not None:
            counts["".join(f"{part}." for part in parts[:start])] += 1
    most = max(counts.values(), default=0)
    fronts = [front for front, count in counts.items() if count == most]
    return fronts[0] if len(fronts) == 1 and most >= len(own) / 2 else ""


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
