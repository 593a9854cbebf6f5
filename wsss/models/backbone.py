"""The GLNet of a config, with the weights it names."""

from pathlib import Path
from typing import Any, NamedTuple

import timm
from torch import nn

import glmix
from glmix.checkpoints import checkpoint_filter, describe_mismatch
from glmix.pretrained import find_weights
from glmix.weight_files import read_weights
from wsss.engine.checkpoint import refuse_not_finite
from wsss.errors import WsssError, brief, first_line
from wsss.models.trial import refusal

_GLNETS = "glnet_*"


def is_glnet(name: str) -> bool:
    """Whether a model of timm is a GLNet."""
    return name in timm.list_models(_GLNETS)


def create_backbone(name: str, weights: Path | str | None, args: dict[str, Any]) -> glmix.GLNet:
    """Build a GLNet, with its ImageNet head left off.

    Args:
        name: registered variant, such as `glnet_4g`.
        weights: released `.pth`, or `.safetensors` in the same naming, in shards too, or what
            training code saved of them (`glmix.weight_files`); `pretrained` for those that come
            with the package or were put where `glmix` looks; None for random weights.
        args: further arguments of the model.

    Raises:
        WsssError: no such variant or argument, or weights that are missing or of another model.
    """
    if not is_glnet(name):
        known = ", ".join(timm.list_models(_GLNETS))
        raise WsssError(f"backbone.name is {name!r}: expected one of {known}.")
    reason = ""
    try:
        model: glmix.GLNet = timm.create_model(name, num_classes=0, **args)
        reason = refusal(model) if args else ""
    except Exception as error:  # arguments of any kind make a network raise anything
        reason = first_line(error)[:200]
    if reason:
        raise WsssError(f"backbone.args {brief(args)} don't build a {name}: {reason}.")
    if weights is None:
        _init_by_fan_in(model)
    else:
        path = _find(name) if weights == "pretrained" else Path(weights)
        load_file(model, path, name, ("head.", "tklb_aux_head."))
    return model


def _find(name: str) -> Path:
    try:
        return find_weights(name)
    except ValueError as error:
        reason = str(error).rstrip(".")
        raise WsssError(f"{reason}; or give backbone.weights (--checkpoint) a file.") from None


def _init_by_fan_in(model: nn.Module) -> None:
    """Convolutions of unit gain.

    The released initialisation (std 0.02 whatever the fan-in) suits 300 epochs; depth-wise kernels
    start so small with it that a short training hardly moves them.
    """
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.normal_(module.weight, std=module.weight[0].numel() ** -0.5)


class Named(NamedTuple):
    """The settings that name a backbone and its weights, for what errors say."""

    name: str
    weights: str


_GLNET = Named("backbone.name", "backbone.weights")


def load_file(
    model: nn.Module, path: Path, name: str, heads: tuple[str, ...], named: Named = _GLNET
) -> None:
    """Load all weights of a backbone from a file.

    Args:
        model: without its ImageNet head.
        path: in the model's naming.
        name: of the model.
        heads: what the names of the head's weights begin with, which aren't used.
        named: the settings.

    Raises:
        WsssError: there is no such file, it is damaged, or another model's.
    """
    state = checkpoint_filter(_read(path, named), model)
    if not state:
        raise WsssError(
            f"{path} holds no weights; expected tensors by name, by themselves or under model or "
            "state_dict: give a file that was saved with model.state_dict()."
        )
    refuse_not_finite(state, path)
    state = {k: v for k, v in state.items() if not k.startswith(heads)}
    try:
        model.load_state_dict(state)
    except RuntimeError:
        reason = describe_mismatch(state, model)
        raise WsssError(
            f"{path} holds the weights of another model than {name} ({reason}): "
            f"set {named.name} to the model of that file."
        ) from None


def _read(path: Path, named: Named) -> dict[str, Any]:
    try:
        return read_weights(path)
    except FileNotFoundError:
        raise WsssError(f"No weights at {path}: fix {named.weights}, or leave it out.") from None
    except (ValueError, OSError, MemoryError) as error:
        raise WsssError(
            f"{path} can't be read as weights ({first_line(error)}); expected safetensors, or a "
            "state dict as torch.save writes it: download it again."
        ) from None
