"""State of a training on disk: whole or absent, so that a killed run resumes where it stopped."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as safetensors_bytes
from torch import Tensor, nn

from glmix.checkpoints import describe_mismatch
from wsss.errors import WsssError, first_line
from wsss.files import write_atomic
from wsss.labels import check_class_names

Model = TypeVar("Model", bound=nn.Module)


def save_state(path: Path, state: dict[str, Any]) -> None:
    """Write a training state (plain numbers and tensors) atomically."""
    write_atomic(path, lambda target: torch.save(state, target))


def load_state(path: Path) -> dict[str, Any] | None:
    """Read a training state; None where there is none.

    Raises:
        WsssError: the file is damaged.
    """
    if not path.is_file():
        return None
    reason = ""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file makes its reader raise anything
        reason = first_line(error)[:120]
    if reason or not isinstance(state, dict):
        raise WsssError(
            f"{path} is not a valid checkpoint ({reason or 'it holds no training state'}): delete "
            "it to start the stage over."
        )
    return state


def save_model(path: Path, model: nn.Module, metadata: dict[str, Any]) -> None:
    """Write weights as safetensors with `metadata` (JSON) in the header, atomically."""
    weights = {k: v.detach().cpu().contiguous() for k, v in model.state_dict().items()}
    header = {"wsss": json.dumps(metadata)}
    write_weights(path, weights, header)


def write_weights(path: Path, weights: dict[str, Tensor], header: dict[str, str]) -> None:
    """Write safetensors atomically; `save_file` would make files that only their owner reads."""
    write_atomic(path, lambda target: target.write_bytes(safetensors_bytes(weights, header)))


def read_metadata(path: Path, kind: str) -> dict[str, Any]:
    """Metadata of a model of ours.

    Args:
        path: safetensors file.
        kind: `classifier` or `segmenter`, what the file must hold.

    Raises:
        WsssError: the file is missing, damaged, or holds something else.
    """
    try:
        with safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
    except FileNotFoundError:
        raise WsssError(f"No weights at {path}: train the {kind} first.") from None
    except (SafetensorError, OSError) as error:
        raise WsssError(
            f"{path} is not a valid safetensors file ({first_line(error)}): give a trained {kind}."
        ) from None
    try:
        metadata = json.loads(header.get("wsss", "{}"))
    except (ValueError, RecursionError):
        metadata = {}
    found = metadata.get("kind", "other weights") if isinstance(metadata, dict) else metadata
    if found != kind:
        raise WsssError(f"{path} holds {str(found)[:60]}, not a {kind}: give the file of a {kind}.")
    check_card(metadata, path)
    return dict(metadata)


def check_card(card: dict[str, Any], path: Path) -> None:
    """Refuse what a model says of itself where its classes are none.

    Raises:
        WsssError: it has no names of classes, or others than a mask can have.
    """
    names = card.get("class_names")
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise WsssError(
            f"{path} lacks class_names in its metadata: give the file as this program wrote it."
        )
    check_class_names(names, str(path))


def load_weights(path: Path, model: nn.Module) -> None:
    """Load weights that must fit.

    Raises:
        WsssError: they are damaged, or another model's.
    """
    try:
        with safe_open(path, framework="pt") as file:
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError) as error:
        raise WsssError(
            f"{path} is not a valid safetensors file ({first_line(error)[:120]}): copy it again."
        ) from None
    refuse_not_finite(weights, path)
    try:
        model.load_state_dict(weights)
    except RuntimeError:
        raise WsssError(
            f"{path} holds the weights of another model ({describe_mismatch(weights, model)}): "
            "give the one that this config describes."
        ) from None


def refuse_not_finite(weights: Mapping[str, Tensor], path: Path) -> None:
    """Refuse weights with which a network answers the same whatever it sees.

    Raises:
        WsssError: one of them is infinite or not a number.
    """
    for name, value in weights.items():
        if value.is_floating_point() and not bool(value.isfinite().all()):
            raise WsssError(
                f"{path} holds numbers in {name} that are infinite or none: give weights of a "
                "training that did not diverge."
            )


def load_trained(
    path: Path,
    kind: str,
    build: Callable[[dict[str, Any]], Model],
    device: torch.device,
    class_names: Sequence[str] | None = None,
) -> tuple[Model, dict[str, Any]]:
    """A trained model of ours, in eval mode, with its metadata.

    Args:
        path: safetensors file that `save_model` wrote.
        kind: `classifier` or `segmenter`.
        build: metadata → untrained model of that shape.
        device: where the model goes.
        class_names: of the data; a model of other classes, or in other order, is refused.

    Raises:
        WsssError: the file is missing, damaged, another model's, or of other classes.
    """
    metadata = read_metadata(path, kind)
    known = metadata["class_names"]
    if class_names is not None and known != list(class_names):
        raise WsssError(
            f"{path} knows the classes {', '.join(known)}, the data have "
            f"{', '.join(class_names)}: train the {kind} again, or give it the data it "
            "was trained on."
        )
    model = built(build, metadata, path, kind)
    load_weights(path, model)
    model = model.to(device).eval()
    if device.type != "cpu":
        # there convolutions take channels-last kernels as they are and convert others
        model.to(memory_format=torch.channels_last)
    return model, metadata


def built(
    build: Callable[[dict[str, Any]], Model], metadata: dict[str, Any], path: Path, kind: str
) -> Model:
    """The untrained model that a file describes.

    Raises:
        WsssError: it describes none.
    """
    try:
        return build(metadata)
    except KeyError as error:
        raise WsssError(f"{path} lacks {error} in its metadata: train the {kind} again.") from None
    except WsssError:
        raise
    except Exception as error:  # arguments of any kind make a network raise anything
        raise WsssError(
            f"{path} describes no {kind} ({first_line(error)[:120]}): give the file as this "
            "program wrote it."
        ) from None
