"""Files of scores that a report shows: what they hold, checked when they are read.

`evaluation/<of>_<split>.json` as `evaluate` writes it, and `train_cls/metrics.json`.
"""

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from wsss.errors import WsssError
from wsss.files import read_json

Name = Literal["configured", "single", "scales", "crf"]
Figures = dict[Literal["miou", "boundary_miou"], float | None]


class _Checked(BaseModel):
    model_config = ConfigDict(extra="allow", strict=True)


class _Column(_Checked):
    miou: float | None
    boundary_miou: float | None = None
    pixel_accuracy: float | None = None
    iou: dict[str, float | None]
    scales: list[float] = []
    flip: bool = False
    crf: str = "none"


class _Oracle(_Checked):
    threshold: float
    miou: float | None


class _Evaluation(_Column):
    of: Literal["cam", "seeds", "pseudo-masks", "predictions"]
    split: str
    images: int
    columns: dict[Name, _Column] | None = None
    oracle: _Oracle | None = None
    protocol: dict[str, Any]


class _Ceiling(_Checked):
    of: Literal["ceiling"]
    split: str
    columns: dict[Name, dict[Literal["tags", "full", "ratio"], Figures]]


class _Metrics(_Checked):
    map: float | None = None
    held_images: int = 0
    ap: dict[str, float | None] = {}


def read_scores(path: Path) -> dict[str, Any]:
    """Scores of one kind of mask, or the comparison with full supervision.

    Raises:
        WsssError: the file is damaged.
    """
    found = read_json(path, _REMEDY)
    return _checked(path, found, _Ceiling if found.get("of") == "ceiling" else _Evaluation)


def read_metrics(path: Path) -> dict[str, Any]:
    """Scores of a classifier; nothing where there are none.

    Raises:
        WsssError: the file is damaged.
    """
    return _checked(path, read_json(path, _REMEDY), _Metrics) if path.is_file() else {}


_REMEDY = "delete it, and let `wsss evaluate` write it again"


def _checked(path: Path, found: dict[str, Any], model: type[BaseModel]) -> dict[str, Any]:
    try:
        model.model_validate(found)
    except ValidationError as error:
        fault = error.errors(include_input=False)[0]
        where = ".".join(map(str, fault["loc"]))
        raise WsssError(
            f"{path} isn't what this program wrote ({where}: {fault['msg']}): {_REMEDY}."
        ) from None
    return found
