"""Trained segmenters as files that need no run folder: opening them, whatever format they are in.

What stands in a file beside the weights is its card: JSON with the class names, the palette, and
how an image becomes the network's input. `wsss.export.write` writes the files.
"""

import importlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.export.passes import move_to_device_pass

from wsss.data.augment import IMAGENET_MEAN, IMAGENET_STD
from wsss.data.mask_io import palette
from wsss.engine.checkpoint import built, check_card, load_trained, load_weights
from wsss.errors import WsssError, first_line
from wsss.labels import BACKGROUND
from wsss.seeding.cam import in_whole_strides

Card = dict[str, Any]

KEY = "wsss"  # of the card in the metadata of every format

MULTIPLE, LEAST = 32, 64  # an exported graph's sides: whole strides, at least two

CARD_FILE, WEIGHTS_FILE = "config.json", "model.safetensors"  # of a folder for the hub


def card_of(metadata: dict[str, Any]) -> Card:
    """What an exported model says of itself: its metadata, classes, palette and preprocessing."""
    classes = [BACKGROUND, *metadata["class_names"]]
    return {
        **metadata,
        "classes": classes,
        "palette": palette()[: len(classes)].tolist(),
        "preprocessing": {
            "channels": "RGB",
            "range": [0, 1],
            "mean": list(IMAGENET_MEAN),
            "std": list(IMAGENET_STD),
        },
        "input": "images (batch, 3, height, width) float32: (pixel / 255 - mean) / std",
        "output": "logits (batch, classes, height, width) float32: the largest is the class",
        "sides": {"multiple_of": MULTIPLE, "at_least": LEAST},
    }


def open_network(
    path: Path, build: Callable[[dict[str, Any]], nn.Module], device: torch.device
) -> tuple[nn.Module, Card]:
    """A segmenter from a file of any format, or from the folder of a run or of the hub.

    Args:
        path: `.safetensors`, `.onnx`, `.pt2`, or a folder.
        build: metadata → untrained model of that shape.
        device: where it computes; ONNX computes on the CPU.

    Returns:
        Normalised images (B, 3, H, W) of any size → logits (B, C + 1, H, W); and the card.

    Raises:
        WsssError: there is no such file, or it holds no segmenter.
    """
    if path.is_dir() and (path / CARD_FILE).is_file():
        return _open_hub(path, build, device)
    (path,) = model_files(path)
    if path.suffix in (".onnx", ".pt2") and not path.is_file():
        raise WsssError(f"No model at {path}: give a file that `wsss export` wrote.")
    if path.suffix == ".onnx":
        return _open_onnx(path)
    if path.suffix == ".pt2":
        return _open_exported(path, device)
    return load_trained(path, "segmenter", build, device)


def model_files(path: Path) -> list[Path]:
    """What `open_network` reads of a model: a file, or card and weights of a folder for the hub."""
    if not path.is_dir():
        return [path]
    if (path / CARD_FILE).is_file():
        return [path / CARD_FILE, path / WEIGHTS_FILE]
    return [path / "train_seg" / WEIGHTS_FILE]


class AnySize(nn.Module):
    """Any size of image for a network that takes whole strides."""

    def __init__(self, network: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) → (B, C + 1, H, W)."""
        return in_whole_strides(self.network, images, MULTIPLE, LEAST)


def read_card(text: str | None, path: Path, needs: Sequence[str] = ()) -> Card:
    """The card of a file.

    Raises:
        WsssError: the text is not the card of a segmenter, or lacks one of `needs`.
    """
    try:
        card: Any = json.loads(text or "")
    except (ValueError, RecursionError):
        card = None
    known = card if isinstance(card, dict) else {}
    missing = [key for key in ("class_names", *needs) if key not in known]
    if known.get("kind") != "segmenter" or missing:
        raise WsssError(
            f"{path} says nothing about its classes: give a model that `wsss export` wrote, from "
            "the folder that it wrote."
        )
    check_card(known, path)
    return known


def _open_hub(
    folder: Path, build: Callable[[dict[str, Any]], nn.Module], device: torch.device
) -> tuple[nn.Module, Card]:
    text = (folder / CARD_FILE).read_text(encoding="utf-8", errors="replace")
    needs = ("backbone", "backbone_args", "decoder")
    card = read_card(text, folder / CARD_FILE, needs)
    weights = folder / WEIGHTS_FILE
    if not weights.is_file():
        raise WsssError(f"{folder} has no {WEIGHTS_FILE}: give the whole folder of the model.")
    model = built(build, card, folder / CARD_FILE, "segmenter")
    load_weights(weights, model)
    return model.to(device).eval(), card


def _open_onnx(path: Path) -> tuple[nn.Module, Card]:
    try:
        runtime: Any = importlib.import_module("onnxruntime")
    except ImportError:
        raise WsssError(
            f"onnxruntime is not installed, and {path} needs it: pip install 'wsss[export]'."
        ) from None
    options = runtime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    try:
        session = runtime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime has one class of errors per cause, none of them public
        raise WsssError(
            f"{path} is not a valid ONNX model ({first_line(error)}): export it again."
        ) from None
    name = session.get_inputs()[0].name
    card = read_card(session.get_modelmeta().custom_metadata_map.get(KEY), path)

    def run(images: Tensor) -> Tensor:
        logits = session.run(None, {name: images.detach().float().cpu().numpy()})[0]
        return torch.from_numpy(logits).to(images.device)

    return _tried(AnySize(run), card, path, torch.device("cpu")), card


def _open_exported(path: Path, device: torch.device) -> tuple[nn.Module, Card]:
    extra = {KEY: ""}
    try:
        program = torch.export.load(path, extra_files=extra)
    except Exception as error:  # a damaged archive fails in many ways
        raise WsssError(
            f"{path} is not a torch.export program ({first_line(error)}): export it again."
        ) from None
    card = read_card(extra[KEY], path)
    network = AnySize(move_to_device_pass(program, device).module())
    return _tried(network, card, path, device), card


@torch.no_grad()
def _tried(network: AnySize, card: Card, path: Path, device: torch.device) -> AnySize:
    """A graph that answers for as many classes as its card names, tried on a black image.

    Raises:
        WsssError: it doesn't.
    """
    channels = len(card["class_names"]) + 1
    reason = ""
    try:
        logits = network(torch.zeros(1, 3, LEAST, LEAST, device=device))
        if logits.shape != (1, channels, LEAST, LEAST) or not bool(logits.isfinite().all()):
            reason = f"its answer to an image of {LEAST}×{LEAST} is {tuple(logits.shape)}"
    except Exception as error:  # a damaged graph raises anything
        reason = first_line(error)[:120]
    if reason:
        raise WsssError(
            f"{path} doesn't segment ({reason}); expected finite scores of {channels} classes: "
            "export it again."
        )
    return network
