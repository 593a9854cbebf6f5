"""The stages of a run as data: what each is called, depends on, leaves, and is scored by."""

from dataclasses import dataclass, replace
from pathlib import PurePath
from typing import Any, get_args

from wsss.config import RunConfig
from wsss.config.schema import Before, Location, Section, Since, StageName


@dataclass(frozen=True)
class Stage:
    """One stage.

    Attributes:
        name: of its folder in the run.
        command: of `wsss` that makes it.
        sections: parts of the config that its output depends on, beside those of the stages it
            comes after. Within a section a setting marked `Since` counts from that stage on.
        outputs: folders beside its own that are its output alone.
        scores: kinds of evaluation of its output.
    """

    name: StageName
    command: str
    sections: tuple[str, ...]
    outputs: tuple[str, ...] = ()
    scores: tuple[str, ...] = ()


TRAIN_CLS = Stage(
    "train_cls", "train-cls", ("seed", "data", "backbone", "train_cls"), outputs=("features",)
)
PSEUDO_MASKS = Stage(
    "pseudo_masks",
    "generate-pseudo-masks",
    ("pseudo_masks",),
    outputs=("pseudo_masks", "seeds"),
    scores=("cam", "seeds", "pseudo_masks"),
)
TRAIN_SEG = Stage(
    "train_seg",
    "train-seg",
    ("train_seg",),
    scores=("predictions", "confusion", "ceiling"),
)
STAGES = (TRAIN_CLS, PSEUDO_MASKS, TRAIN_SEG)
"""In their order: each comes after all before it."""

# A self-training round has no classifier: its masks come from the segmenter of the round before.
ROUND_STAGES = (
    replace(PSEUDO_MASKS, sections=("seed", "data", "backbone", "self_training")),
    TRAIN_SEG,
)


def stages_of(config: RunConfig) -> tuple[Stage, ...]:
    """The stages that a run of this config goes through."""
    return STAGES if config.round == 1 else ROUND_STAGES


def find(config: RunConfig, name: str) -> Stage:
    """The stage of a config's round by its name."""
    return next(stage for stage in stages_of(config) if stage.name == name)


def settings_of(config: RunConfig, name: str) -> dict[str, Any]:
    """All settings that the output of a stage depends on, as JSON values by section.

    A path says where a run reads from, which may change; what it reads may not: the last part of
    the path is kept.
    """
    stages = stages_of(config)
    found: dict[str, Any] = {}
    for stage in stages[: stages.index(find(config, name)) + 1]:
        for section in stage.sections:
            value = getattr(config, section)
            found[section] = _dump(value, name) if isinstance(value, Section) else value
    return found


def before(section: type[Section]) -> dict[str, Any]:
    """Settings of a section that were something else than their defaults before they existed."""
    return {
        key: mark.value
        for key, field in section.model_fields.items()
        for mark in field.metadata
        if isinstance(mark, Before)
    }


def _dump(section: Section, stage: str) -> dict[str, Any]:
    order: tuple[str, ...] = get_args(StageName)
    values = section.model_dump(mode="json")
    for key, field in type(section).model_fields.items():
        for mark in field.metadata:
            if isinstance(mark, Location) and values[key] is not None:
                values[key] = PurePath(values[key]).name
            if isinstance(mark, Since):
                given = mark.given is None or getattr(section, mark.given) is not None
                if mark.stage is None or not given or order.index(mark.stage) > order.index(stage):
                    del values[key]
    return values
