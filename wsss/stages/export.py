"""Export: the segmenter of a run as one file, or as a folder for the Hugging Face hub.

Reads `train_seg/model.safetensors` and `evaluation/predictions_*.json`; writes
`export/model.<suffix>`, or the folder `export/hub`.
"""

import hashlib
import shutil
from functools import partial
from pathlib import Path

import torch

from wsss.config import RunConfig
from wsss.data.mask_io import refuse_to_replace
from wsss.engine.checkpoint import save_model
from wsss.errors import WsssError
from wsss.export.load import CARD_FILE, WEIGHTS_FILE, Card, card_of
from wsss.export.model_card import model_card
from wsss.export.write import save_exported, save_onnx
from wsss.files import write_atomic, write_json, write_text
from wsss.models.gate import GATE_FILE, has_thresholds
from wsss.models.segmenter import Segmenter
from wsss.models.trained import load_segmenter
from wsss.report.scores import read_scores
from wsss.run.state import Run

SUFFIXES = {"onnx": ".onnx", "torch-export": ".pt2", "safetensors": ".safetensors", "hub": ""}


def run(
    config: RunConfig,
    to: str,
    out: Path | None = None,
    half: bool = False,
    overwrite: bool = False,
) -> Path:
    """Write the segmenter of a run in another format; returns the path of it.

    Args:
        config: of the run.
        to: `onnx`, `torch-export`, `safetensors` or `hub`.
        out: file or, for the hub, folder; in `export/` of the run by default.
        half: weights in bfloat16, for safetensors; they are read back into float32.
        overwrite: replace a model card that a person wrote or changed.

    Raises:
        WsssError: no such format, no segmenter, a suffix that is another format's, `half` of
            another format than safetensors, or a person's model card.
    """
    if to not in SUFFIXES:
        raise WsssError(f"--to is {to!r}: expected one of {', '.join(SUFFIXES)}.")
    if half and to != "safetensors":
        raise WsssError(f"--half is for safetensors alone, not for {to}: leave it out.")
    run = Run(config.run)
    suffix = SUFFIXES[to]
    path = out or run.export / (f"model{suffix}" if suffix else to)
    if suffix and path.suffix != suffix:
        raise WsssError(f"--out is {path}: expected a name that ends in {suffix}.")
    model, metadata = load_segmenter(run.model("train_seg"), torch.device("cpu"))
    card = card_of(metadata)
    if to == "onnx":
        save_onnx(path, model.graph, card)
    elif to == "torch-export":
        save_exported(path, model.graph, card)
    elif to == "safetensors":
        save_model(path, model.bfloat16() if half else model, card)
    else:
        if not overwrite:
            refuse_to_replace([path / "README.md"], _is_unchanged)
        _save_hub(config, path, run, model, card)
    return path


def _save_hub(config: RunConfig, folder: Path, run: Run, model: Segmenter, card: Card) -> None:
    """The model, its card, and the classifier of the run, with which `predict` drops classes."""
    save_model(folder / WEIGHTS_FILE, model, card)
    classifier = Run.of_round(config, 1).model("train_cls")
    if has_thresholds(classifier):  # it says which classes an image may hold
        write_atomic(folder / GATE_FILE, partial(shutil.copyfile, classifier))
    labels = {str(i): name for i, name in enumerate(card["classes"])}
    hub = {
        **card,
        "architectures": ["Segmenter"],
        "library_name": "wsss",
        "num_labels": len(labels),
        "id2label": labels,
        "label2id": {name: int(i) for i, name in labels.items()},
    }
    write_json(folder / CARD_FILE, hub)
    write_json(folder / "preprocessor_config.json", _preprocessor(card))
    scores = [read_scores(path) for path in sorted(run.evaluations.glob("predictions_*.json"))]
    parameters = sum(p.numel() for p in model.parameters())
    text = model_card(run.root.name, card, scores, parameters, run.has_ground_truth)
    write_text(folder / "README.md", f"{text}{_signature(text)}")


def _signature(text: str) -> str:
    """A line that a page doesn't show, by which a card is known that nobody has changed."""
    return f"\n<!-- wsss export {hashlib.sha256(text.encode()).hexdigest()[:16]} -->\n"


def _is_unchanged(path: Path) -> bool:
    text = path.read_text(encoding="utf-8", errors="replace")
    own = text[: text.rfind("\n<!-- wsss export ")]
    return text == own + _signature(own)


def _preprocessor(card: Card) -> dict[str, object]:
    """In the words that image processors of the hub read."""
    how = card["preprocessing"]
    return {
        "do_resize": False,
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": how["mean"],
        "image_std": how["std"],
        "do_convert_rgb": True,
        "size_divisor": card["sides"]["multiple_of"],
    }
