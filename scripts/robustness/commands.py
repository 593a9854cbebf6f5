"""Every command of `wsss` as data: how it is called, what it reads, where it may write."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Command:
    """A call that succeeds on the valid inputs.

    Attributes:
        line: its arguments, separated by blanks; `{place}` stands for a path of `PLACES`.
        reads: kinds of files that decide about its answer.
        writes: patterns of the files that it may make or replace.
        cost: seconds, roughly; dear ones are drawn less often.
    """

    line: str
    reads: frozenset[str]
    writes: tuple[str, ...] = ()
    cost: float = 1.0

    @property
    def name(self) -> str:
        """The first word."""
        return self.line.split()[0]

    @property
    def places(self) -> frozenset[str]:
        """The paths that are given to it."""
        return frozenset(place for place in PLACES if f"{{{place}}}" in self.line)

    def arguments(self, places: Mapping[str, str] | None = None) -> list[str]:
        """The words of the call, other paths in place of the valid ones."""
        paths = {**PLACES, **(places or {})}
        return [word.format(**paths) for word in self.line.split()]


PLACES = {
    "config": "tiny.yaml",
    "run": "run",
    "voc": "VOC",
    "photos": "own/photos",
    "tags": "own/tags.csv",
    "photo": "own/photos/p00.jpg",
    "weights": "weights/backbone.pth",
    "model": "models/model.safetensors",
    "hub": "models/hub",
    "onnx": "models/model.onnx",
    "pt2": "models/model.pt2",
    "labels": "labels",
    "maps": "maps",
    "archive": "server/masks.tar.gz",
    "ids": "server/ids.txt",
    "served": "server/images",
    "out": "out",
}

_VOC = "{config} run={out}/run data.root={voc} data.train_split=train data.mask_split=train"
_OWN = "{config} run={out}/run --images {photos} --tags {tags}"
_OWN_DATA = "{config} run={out}/run data.images={photos} data.tags={tags}"
_LISTED = {"list", "names", "xml", "train image"}
_TAGGED = {"config", *_LISTED}
_OWN_TAGGED = {"config", "table", "photo"}
_MASKS = {"train mask", "val mask"}
_SCORES = ("run/evaluation/*", "run/report/*", "run/predictions/**")


def _command(
    line: str, reads: set[str], writes: tuple[str, ...] = (), cost: float = 1.0
) -> Command:
    return Command(line, frozenset(reads), ("out/**", "run/config.yaml", *writes), cost)


COMMANDS = (
    _command(f"check-data {_VOC}", {*_TAGGED, "val image", *_MASKS}, cost=0.2),
    _command(f"check-data {_OWN}", _OWN_TAGGED, cost=0.1),
    _command(f"check-data {_OWN} --verify", _OWN_TAGGED, cost=0.1),
    _command(f"train-cls {_OWN_DATA}", _OWN_TAGGED, cost=1),
    _command(
        f"train-cls {_OWN_DATA} backbone.weights={{weights}}", {*_OWN_TAGGED, "weights"}, cost=1
    ),
    _command(f"train-cls {_VOC}", _TAGGED, cost=1.2),
    _command(f"run {_OWN}", _OWN_TAGGED, cost=6),
    _command(f"run {_VOC}", {*_TAGGED, "val image", *_MASKS}, cost=8),
    _command(
        "generate-pseudo-masks {run}",
        {*_LISTED, "run", "classifier", "seeds", "pseudo mask"},
        ("run/pseudo_masks/*", "run/seeds/*"),
        0.3,
    ),
    _command(
        "generate-pseudo-masks {run} --overwrite",
        {*_LISTED, "run", "classifier"},
        ("run/**",),
    ),
    _command(
        "train-seg {run}",
        {"list", "run", "pseudo mask", "checkpoint"},
        ("run/train_seg/*",),
        0.3,
    ),
    _command(
        "train-seg {run} --overwrite",
        {*_LISTED, "run", "classifier", "pseudo mask"},
        ("run/train_seg/*", "run/evaluation/*", "run/report/*", "run/round_2/**"),
        1.2,
    ),
    _command(
        "train-seg {run} --round 2",
        {*_LISTED, "run", "segmenter", "pseudo mask"},
        ("run/round_2/**",),
        2.5,
    ),
    _command("evaluate {run}", {"run", "segmenter", "val image", "val mask"}, _SCORES, 0.6),
    _command(
        "evaluate {run} --of pseudo-masks", {"run", "train mask", "pseudo mask"}, _SCORES, 0.3
    ),
    _command("evaluate {run} --of seeds", {"run", "train mask", "seeds"}, _SCORES, 0.3),
    _command(
        "evaluate {run} --ceiling",
        {"run", "segmenter", *_MASKS, "val image", "train image"},
        (*_SCORES, "run/ceiling/**"),
        4,
    ),
    _command(
        "ablate {run} --rows default",
        {"run", "classifier", "train mask", "counts"},
        ("run/ablation/**",),
    ),
    _command("run {run}", {"run", "segmenter", "seeds"}, ("run/**",), 3),
    _command(
        "visualize {run} --count 2 --out {out}/sheet.png",
        {"run", "classifier", "segmenter", "seeds", "pseudo mask"},
        cost=0.7,
    ),
    _command("predict {run} --images {photos} --out {out}/masks", {"photo", "run", "segmenter"}),
    _command("predict {photos} --out {out}/masks", {"photo"}),
    _command("predict {photo} --out {out}/masks", {"photo"}),
    _command("predict --model {model} --images {photos} --out {out}/masks", {"photo", "model"}),
    _command("predict --model {hub} --images {photos} --out {out}/masks", {"hub"}),
    _command("predict --model {onnx} --images {photo} --out {out}/masks", {"onnx"}),
    _command("predict --model {pt2} --images {photo} --out {out}/masks", {"pt2"}, cost=4),
    _command(
        "pack-voc-test {run} --images {photos} --out {out}/voc.tar.gz",
        {"photo", "run", "segmenter"},
        ("run/predictions/**",),
    ),
    _command(
        "check-voc-archive {archive} --ids {ids} --images {served}",
        {"archive", "id list"},
        cost=0.1,
    ),
    _command("export {run} --to safetensors --out {out}/m.safetensors", {"run", "segmenter"}),
    _command("export {run} --to hub --out {out}/hub", {"run", "segmenter", "scores"}),
    *(
        _command(
            f"export-masks {{run}} --to {to} --out {{out}}/exported",
            {"run", "pseudo mask", "list", "names", "xml"},
            cost=0.3,
        )
        for to in ("coco", "yolo-seg", "voc", "cvat", "label-studio", "labelme", "png", "hf")
    ),
    _command(
        "export-masks {labels} --images {voc}/JPEGImages --to coco --out {out}/exported",
        {"label"},
        cost=0.3,
    ),
    _command(
        "review {run} --port 0",
        {*_LISTED, "run", "classifier", "pseudo mask", "review", "scores of masks"},
        ("run/trusted/**", "run/review/**"),
        0.5,
    ),
    _command(
        "tune {run}",
        {*_LISTED, "run", "classifier", "review"},
        ("run/**",),
        4,
    ),
    _command(
        "tune {run} --trusted {voc}/SegmentationClassAug --keep",
        {*_LISTED, "run", "classifier", "train mask"},
        ("run/tuning.json",),
        3,
    ),
    _command(
        "ablate-clicks {run} --clicks 2 --methods slots ablate.images=2",
        {"run", "classifier", "train mask"},
        ("run/ablation/**",),
        3,
    ),
    _command("predict {photo} --overlay --out {out}/masks", {"photo"}),
    _command("refine {labels} --images {voc}/JPEGImages --out {out}/refined", {"label"}, cost=0.3),
    _command("refine {maps} --images {voc}/JPEGImages --out {out}/refined", {"map"}, cost=0.3),
    _command("visualize-slots {photo} --out {out}/slots", {"photo"}),
)


def usable(places: Mapping[str, bool]) -> tuple[Command, ...]:
    """The commands whose every place is there."""
    return tuple(c for c in COMMANDS if all(places.get(place, True) for place in c.places))
