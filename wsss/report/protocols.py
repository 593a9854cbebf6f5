"""Scores in the form in which papers print them, with what their tables leave unsaid."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from wsss.errors import WsssError
from wsss.report.columns import COLUMNS, percent

_FEW = 25  # classes that stand in one row


@dataclass(frozen=True)
class Protocol:
    """What a published table is about.

    Attributes:
        title: of the data set, or of the code whose counts are taken.
        classes: their number, background included; None for any.
        images: split → number of its images, as published.
        heads: short names of the classes, as tables have them; none takes the classes' own.
        counting: of `wsss.metrics.protocols`.
        counting_of: kind of masks → another counting.
    """

    title: str
    classes: int | None = None
    images: Mapping[str, int] = field(default_factory=dict)
    heads: tuple[str, ...] = ()
    counting: str = "irn"
    counting_of: Mapping[str, str] = field(default_factory=dict)


_VOC_HEADS = (
    "bkg aero bike bird boat bottle bus car cat chair cow table dog horse mbk person plant sheep "
    "sofa train tv"
)

PROTOCOLS = {
    "voc": Protocol(
        "PASCAL VOC 2012",
        21,
        {"train": 1_464, "val": 1_449, "train_aug": 10_582},
        tuple(_VOC_HEADS.split()),
    ),
    "coco": Protocol("MS COCO 2014", 81, {"train2014": 82_081, "val2014": 40_137}),
    "irn": Protocol("counted as by step/eval_sem_seg.py of IRN"),
    "toco": Protocol(
        "counted as by utils/evaluate.py of ToCo",
        counting="toco",
        counting_of={"pseudo-masks": "toco-pseudo"},
    ),
}

# what a table is silent on → what is often behind it (the repositories that the figures come from)
_UNSAID = {
    "images": "lists differ by repository",
    "true masks": "COCO: made by either of two rules",
    "true 255": "left out by all",
    "predicted 255": "background in IRN's code; its pixels are taken out in ToCo's",
    "mean": "over the classes of the truth alone in ToCo's code; over images in some libraries",
    "threshold": "swept on the true masks of the images that are scored",
    "tags": "CAMs of val are scored with the true tags of val",
    "scales, flip, CRF": "several scales, flip and CRF, beside rows without",
    "checkpoint": "the best on val, or on a part of it",
    "seed": "one, or the best of several",
}

_COUNTINGS = {
    "irn": "predicted 255 is background (IRN)",
    "strict": "predicted 255 is wrong",
    "toco": "mean over the classes of the truth (ToCo)",
    "toco-pseudo": "the same, predicted 255 taken out (ToCo, pseudo-masks)",
}


def find_protocol(name: str) -> Protocol:
    """A protocol by its name.

    Raises:
        WsssError: there is none of that name.
    """
    if name not in PROTOCOLS:
        raise WsssError(f"--protocol is {name!r}: expected one of {', '.join(PROTOCOLS)}.")
    return PROTOCOLS[name]


def check_classes(name: str, classes: int) -> None:
    """Refuse masks of another number of classes, background included, than the protocol's.

    Raises:
        WsssError: it is another, or there is no protocol of that name.
    """
    protocol = find_protocol(name)
    if protocol.classes not in (None, classes):
        raise WsssError(
            f"--protocol {name} is of {protocol.classes} classes with background, and these masks "
            f"have {classes}: take irn or toco, which count masks of any classes."
        )


def protocol_page(name: str, scores: Mapping[str, Any]) -> str:
    """Markdown: the figures as a paper's table, what they depend on, and the lenient variants.

    Args:
        name: of the protocol.
        scores: as `evaluate` writes them.

    Raises:
        WsssError: there is no such protocol, or it is of other classes.
    """
    check_classes(name, len(scores["iou"]))
    protocol = find_protocol(name)
    counting = protocol.counting_of.get(scores["of"], protocol.counting)
    columns = scores.get("columns") or {scores["of"]: scores}
    parts = [
        f"# {protocol.title}: {scores['of']} on {scores['split']}",
        _table(["masks", "mIoU %"], _means(columns, counting)),
        _classes(protocol, scores, columns),
        _areas(columns),
        "What the figures depend on, and what tables often leave unsaid:",
        _table(["", "here", "often"], _facts(protocol, counting, scores)),
        "The same masks, counted otherwise:",
        _table(["counted", *_heads(columns)], _variants(columns)),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _means(columns: Mapping[str, Any], counting: str) -> list[list[str]]:
    rows = [
        [COLUMNS.get(name, name), percent(column["countings"][counting])]
        for name, column in columns.items()
    ]
    for column in columns.values():
        oracle = column.get("oracle")
        if oracle:
            threshold = f"threshold {oracle['threshold']} swept on these true masks (an oracle)"
            rows.append([threshold, percent(oracle["miou"])])
    return rows


def _classes(protocol: Protocol, scores: Mapping[str, Any], columns: Mapping[str, Any]) -> str:
    if len(scores["iou"]) <= _FEW:
        heads = protocol.heads or tuple(scores["iou"])
        rows = [
            [COLUMNS.get(name, name), *map(percent, column["iou"].values())]
            for name, column in columns.items()
        ]
        return _table(["IoU %", *heads], rows)
    cells = [f"{name} | {percent(iou)}" for name, iou in scores["iou"].items()]
    height = -(-len(cells) // 4)
    cells += [" | "] * (4 * height - len(cells))
    rows = [[cells[i + height * block] for block in range(4)] for i in range(height)]
    return _table(["class | IoU %"] * 4, rows)


def _areas(columns: Mapping[str, Any]) -> str:
    """MIoU of foreground by the area of a class in an image; seeds have none."""
    first = next(iter(columns.values()))
    if "areas" not in first:
        return ""
    rows = [
        [
            name,
            f"{own['regions']:,}",
            *(percent(c["areas"][name]["miou"]) for c in columns.values()),
        ]
        for name, own in first["areas"].items()
    ]
    return _table(["regions", "number", *_heads(columns)], rows)


def _facts(protocol: Protocol, counting: str, scores: Mapping[str, Any]) -> list[list[str]]:
    made = scores["protocol"]
    published = protocol.images.get(scores["split"])
    images = f"{scores['images']:,}"
    if published is not None and published != scores["images"]:
        images += f" of {published:,}: not the published list, not to be compared with it"
    here = {
        "images": images,
        "true masks": _truth(made),
        "true 255": "left out",
        "predicted 255": f"{percent(scores['unsure'])} % of the pixels; {_COUNTINGS[counting]}",
        "mean": "over the classes of the truth"
        if counting.startswith("toco")
        else "over the classes in truth or prediction, one confusion matrix over the split",
        "tags": made["tags"],
        "seed": str(made["seed"]),
    }
    if "background" in made:
        here["threshold"] = _threshold(made["background"])
    if scores["of"] == "predictions":
        here["scales, flip, CRF"] = "a row each"
        here["checkpoint"] = "the last weights: nothing is chosen on val"
    return [[key, here[key], often] for key, often in _UNSAID.items() if here.get(key)]


def _truth(made: Mapping[str, Any]) -> str:
    if "truth_rule" not in made:
        return ""
    return f"of instances by the rule {made['truth_rule']}, digest {made['truth_digest']}"


def _threshold(background: float | str) -> str:
    if isinstance(background, str):
        return f"{background}, of each image's own scores; no true mask"
    return f"{background}, fixed by the config"


def _heads(columns: Mapping[str, Any]) -> list[str]:
    return [f"{COLUMNS.get(name, name)}, mIoU %" for name in columns]


def _variants(columns: Mapping[str, Any]) -> list[list[str]]:
    rows = [
        [text, *(percent(column["countings"][key]) for column in columns.values())]
        for key, text in _COUNTINGS.items()
    ]
    if all("image_miou" in column for column in columns.values()):
        means = [percent(column["image_miou"]) for column in columns.values()]
        rows.append(["mean of each image's own mIoU", *means])
    return rows


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    # a head may hold several cells
    rule = ["---"] * sum(head.count("|") + 1 for head in heads)
    lines = [heads, rule, *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
