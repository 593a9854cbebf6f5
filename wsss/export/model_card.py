"""The model card of a segmenter: README.md of a folder for the Hugging Face hub."""

from collections.abc import Sequence
from typing import Any

import yaml

from wsss.report.columns import COLUMNS, percent

# how a segmenter was trained
_WEAK = "from image-level labels alone: no mask was drawn by a person for its training"

_BASELINE = (
    "on the true masks of its images: the fully supervised baseline of a run from image-level "
    "labels, to compare that run with"
)


def model_card(
    name: str,
    card: dict[str, Any],
    evaluations: Sequence[dict[str, Any]],
    parameters: int,
    true_masks: bool = False,
) -> str:
    """The card, with the run's own figures alone.

    Args:
        name: of the run.
        card: of the model (`wsss.export.load.card_of`).
        evaluations: scores of predictions as `evaluate` writes them, one a split.
        parameters: number of them.
        true_masks: it was trained on true masks, as the fully supervised baseline of a run.

    Returns:
        Markdown after a YAML header.
    """
    header: dict[str, Any] = {
        "library_name": "wsss",
        "license": "mit",
        "pipeline_tag": "image-segmentation",
        "tags": [
            "semantic-segmentation",
            *([] if true_masks else ["weakly-supervised"]),
            *(["glnet"] if card["backbone"].startswith("glnet_") else []),
            card["backbone"],
        ],
    }
    results = [r for scores in evaluations for r in _results(scores)]
    if results:
        header["model-index"] = [{"name": name, "results": results}]
    text = yaml.safe_dump(header, sort_keys=False, allow_unicode=True)
    return f"---\n{text}---\n\n" + "\n".join(
        _body(name, card, evaluations, parameters, _BASELINE if true_masks else _WEAK)
    )


def _results(scores: dict[str, Any]) -> list[dict[str, Any]]:
    """In the hub's form; a figure in per cent."""
    metrics = [
        {"type": "mean_iou", "name": f"mIoU, {title}", "value": round(100 * column["miou"], 2)}
        for title, column in _columns(scores)
        if column["miou"] is not None
    ]
    dataset = {"type": "custom", "name": scores["split"], "split": scores["split"]}
    return [{"task": {"type": "image-segmentation"}, "dataset": dataset, "metrics": metrics}]


def _columns(scores: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    columns = scores.get("columns") or {"configured": scores}
    return [(COLUMNS[key], column) for key, column in columns.items()]


def _body(
    name: str,
    card: dict[str, Any],
    evaluations: Sequence[dict[str, Any]],
    parameters: int,
    training: str,
) -> list[str]:
    lines = [
        f"# {name}",
        "",
        f"A semantic segmenter of {len(card['class_names'])} classes "
        f"{'and' if card.get('background', True) else 'without'} background, trained "
        f"{training}.",
        "",
        f"- encoder `{card['backbone']}`, decoder `{card['decoder']}`, "
        f"{parameters / 1e6:.2f} million parameters",
        f"- classes: {', '.join(card['classes'])}",
        "",
        "## Use",
        "",
        "    pip install wsss",
        "    wsss predict --model . photo.jpg --out masks",
        "",
        "Input: RGB, scaled to 0–1, normalised by mean "
        f"{card['preprocessing']['mean']} and deviation {card['preprocessing']['std']}.",
        "",
        "## Scores",
        "",
    ]
    if not evaluations:
        return [*lines, "Not scored.", ""]
    for scores in evaluations:
        lines += [
            f"On the {scores['images']} images of `{scores['split']}`, in per cent; one "
            "confusion matrix over the split, at the images' own size, no labels given:",
            "",
            "| | mIoU | boundary IoU | pixel accuracy |",
            "|---|---|---|---|",
        ]
        for title, column in _columns(scores):
            keys = ("miou", "boundary_miou", "pixel_accuracy")
            lines.append(f"| {title} | {' | '.join(percent(column.get(key)) for key in keys)} |")
        lines += ["", "| class | IoU |", "|---|---|"]
        lines += [f"| {label} | {percent(iou)} |" for label, iou in scores["iou"].items()]
        lines.append("")
    return lines
