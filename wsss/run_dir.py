"""The run folder: the only module that knows the file names of a run.

config.yaml            the merged config
train_cls/             model.safetensors, metrics.json, log.jsonl, done.json
seeds/<id>.npz         soft seeds: class activation and slot seeds of the image's tags
pseudo_masks/<id>.png  masks in the VOC palette, 255 where not confident; class_names.txt
train_seg/             model.safetensors, log.jsonl, done.json
predictions/<split>/   <id>.png; <split>.<column>/ for the other columns of an evaluation
evaluation/            <of>_<split>.json, confusion_<split>.csv
ablation/              ablation.json, ablation.md; rows/<row>.npz, counts so far
report/                index.html with images
ceiling/               the fully supervised baseline, a run like this one
round_2/               a run of its own: pseudo_masks made by the segmenter of this one, and the
                       segmenter that they train; round_3/ lies in it, and so on
"""

import json
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from wsss.config import RunConfig, load, quoted, save
from wsss.errors import WsssError, first_line

# The parts of the config that each stage's output depends on, its own and what it builds on.
_DEPENDS: dict[str, tuple[str, ...]] = {
    "train_cls": ("seed", "data", "backbone", "train_cls"),
    "pseudo_masks": ("seed", "data", "backbone", "train_cls", "pseudo_masks"),
    "train_seg": ("seed", "data", "backbone", "train_cls", "pseudo_masks", "train_seg"),
}
# The same in the rounds after the first, whose masks the segmenter of the round before makes.
_DEPENDS_LATER: dict[str, tuple[str, ...]] = {
    "pseudo_masks": ("seed", "data", "backbone", "self_training"),
    "train_seg": ("seed", "data", "backbone", "self_training", "train_seg"),
}
# Keys of self_training that a stage of a later round doesn't depend on.
_UNRELATED = {"pseudo_masks": {"rounds", "start"}, "train_seg": {"rounds"}}
_COMMANDS = {
    "train_cls": "train-cls",
    "pseudo_masks": "generate-pseudo-masks",
    "train_seg": "train-seg",
}
# The scores that each stage's output has.
_SCORES: dict[str, tuple[str, ...]] = {
    "pseudo_masks": ("cam", "seeds", "pseudo_masks"),
    "train_seg": ("predictions", "confusion", "ceiling"),
}
_TRUE_MASKS = "true masks"
# of the names of the classes, and of every image's id and tags
_DIGEST = "images"
_PLACES = ("root", "images", "tags")
_SOURCE = (*_PLACES, "class_names", "max_side", "train_split")
_DATA_KEYS: dict[str, tuple[str, ...]] = {
    "train_cls": _SOURCE,
    "pseudo_masks": (*_SOURCE, "mask_split", "mask_images"),
    "train_seg": (*_SOURCE, "mask_split", "mask_images"),
}


class RunDir:
    """Paths of a run, and what is finished in it."""

    def __init__(self, root: Path, digests: Mapping[str, str] | None = None) -> None:
        """Opens a folder, which need not be there.

        Args:
            root: the folder.
            digests: stage → digest of the images and tags that it is made from, as far as they
                are known.
        """
        self.root = Path(root)
        self.digests = dict(digests or {})

    @classmethod
    def create(
        cls,
        config: RunConfig,
        digests: Mapping[str, str] | None = None,
        again: str | None = None,
    ) -> "RunDir":
        """Make the folder of a config; a folder that holds another run's results is refused.

        Args:
            config: of the run.
            digests: see `__init__`.
            again: stage to be recomputed: it and those built on it may have been made
                otherwise. They stay as they are, and the config unsaved, until `begin`.

        Raises:
            WsssError: a finished or begun stage was made with other settings, images or tags.
        """
        run = cls(config.run, digests)
        make_folder(run.root)
        stages = _stages(config)
        for stage in stages if again is None else stages[: stages.index(again)]:
            run.check_settings(stage, config)
        if again is None:
            run._save(config)
        return run

    @classmethod
    def open(cls, root: Path, settings: Sequence[str] = ()) -> RunConfig:
        """The config of an existing run, with settings on top.

        Raises:
            WsssError: there is no run at `root`.
        """
        run = cls(root)
        if not run.config_file.is_file():
            raise WsssError(f"{root} holds no run (no config.yaml): give the folder of a run.")
        return load(run.config_file, [f"run={quoted(root)}", *settings])

    @classmethod
    def of_round(cls, config: RunConfig, round: int) -> "RunDir":
        """The folder of a round of the config's run."""
        return cls(config_of_round(config, round).run)

    @property
    def config_file(self) -> Path:
        """The merged config of the run."""
        return self.root / "config.yaml"

    def stage(self, name: str) -> Path:
        """Folder of a stage, made where missing."""
        path = self.root / name
        make_folder(path)
        return path

    def model(self, stage: str) -> Path:
        """Weights that a training stage leaves."""
        return self.root / stage / "model.safetensors"

    def checkpoint(self, stage: str) -> Path:
        """State of an unfinished training."""
        return self.stage(stage) / "checkpoint.pt"

    def log(self, stage: str) -> Path:
        """Log of a training, a JSON object per line."""
        return self.stage(stage) / "log.jsonl"

    def seed(self, image_id: str) -> Path:
        """Soft seeds of an image."""
        return self.root / "seeds" / f"{image_id}.npz"

    def pseudo_mask(self, image_id: str) -> Path:
        """Pseudo-mask of an image."""
        return self.root / "pseudo_masks" / f"{image_id}.png"

    def prediction(self, split: str, image_id: str) -> Path:
        """Predicted mask of an image."""
        return self.root / "predictions" / split / f"{image_id}.png"

    def predictions(self, config: RunConfig, split: str) -> dict[str, Path]:
        """Folder of masks of every column of the evaluation of a split, by its name."""
        own = self.prediction(split, "any").parent
        columns = config.evaluate.columns().items()
        return {
            name: own if mode == config.evaluate.own else own.with_name(f"{split}.{name}")
            for name, mode in columns
        }

    def evaluation(self, of: str, split: str) -> Path:
        """Scores of one kind of mask on one split."""
        return self.root / "evaluation" / f"{of.replace('-', '_')}_{split}.json"

    def confusion(self, split: str) -> Path:
        """Confusion matrix of the predictions on one split."""
        return self.root / "evaluation" / f"confusion_{split}.csv"

    @property
    def ceiling(self) -> Path:
        """Run folder of the fully supervised baseline."""
        return self.root / "ceiling"

    @property
    def has_true_masks(self) -> bool:
        """Whether this is such a baseline, whose masks are true ones."""
        path = self.root / "pseudo_masks" / "done.json"
        return path.is_file() and json.loads(path.read_text()).get("from") == _TRUE_MASKS

    def finish_true_masks(self, images: int) -> None:
        """Mark the masks of such a baseline finished."""
        self.finish("pseudo_masks", {"images": images, "from": _TRUE_MASKS})

    @property
    def ablation(self) -> Path:
        """Folder of the ablation's counts and table."""
        return self.root / "ablation"

    @property
    def report(self) -> Path:
        """Folder of the page with images."""
        return self.root / "report"

    def begin(self, stage: str, config: RunConfig, again: bool = False) -> None:
        """Note the settings that a stage is being made with.

        The last thing before its work: all that can be refused was, for what an earlier start left
        of the stage goes now, with what is built on it.

        Args:
            stage: to be made.
            config: of the run.
            again: recompute the stage. Pseudo-masks that another shard is making by the same
                settings, which began to do so first, stay.
        """
        if stage == "pseudo_masks":
            # masks without settings are what is left of a reset that was cut short
            begun = self._settings_file(stage).is_file() and not self._changes(stage, config)
            again = not begun or self.finished(stage)
        if again:
            self.reset(stage)
        self._save(config)
        settings = _settings(stage, config)
        if stage in self.digests:
            settings[_DIGEST] = self.digests[stage]
        write_json(self._settings_file(stage), settings)

    def _save(self, config: RunConfig) -> None:
        write_atomic(self.config_file, lambda path: save(config, path))

    def _settings_file(self, stage: str) -> Path:
        return self.root / stage / "settings.json"

    def finish(self, stage: str, summary: dict[str, Any]) -> None:
        """Mark a stage finished; what killed starts left half written goes."""
        for folder in (stage, "seeds") if stage == "pseudo_masks" else (stage,):
            for temporary in (self.root / folder).rglob(".*.tmp*"):
                temporary.unlink(missing_ok=True)
        write_json(self.stage(stage) / "done.json", summary)

    def finished(self, stage: str) -> bool:
        """Whether a stage is done."""
        return (self.root / stage / "done.json").is_file()

    def reset(self, stage: str) -> None:
        """Forget a stage and what is built on it, later rounds too, so that they are recomputed.

        Nothing is left that a later start would take for finished work of the new settings, or
        that the page would show beside it. Last stages go first, and marks before masks, so that a
        reset that is cut short leaves nothing finished on what is gone.
        """
        stages = list(_DEPENDS)
        for name in reversed(stages[stages.index(stage) :]):
            for file in ("checkpoint.pt", "settings.json", "done.json"):
                (self.root / name / file).unlink(missing_ok=True)
            if name == "pseudo_masks":
                for folder in (name, "seeds"):
                    shutil.rmtree(self.root / folder, ignore_errors=True)
            for of in _SCORES.get(name, ()):
                for scores in (self.root / "evaluation").glob(f"{of}_*"):
                    scores.unlink(missing_ok=True)
        if stage == "train_cls":  # the baseline starts from the same classifier
            shutil.rmtree(self.ceiling, ignore_errors=True)
        for sheet in self.report.glob("*.png"):
            sheet.unlink(missing_ok=True)
        for later in self.root.glob("round_*"):
            shutil.rmtree(later, ignore_errors=True)

    def check_settings(self, stage: str, config: RunConfig) -> None:
        """Refuse to mix results of different settings in one stage.

        Raises:
            WsssError: the stage was begun with other settings, or from other images or tags.
        """
        changed = self._changes(stage, config)
        if not changed:
            return
        key, before, now = changed[0]
        found = f"{key}={before!r}, now it is {now!r}"
        if key == _DIGEST:
            place = config.data.tags or config.data.root
            found = f"other images, tags or classes than {place} holds now"
        more = f" (and {len(changed) - 1} more)" if len(changed) > 1 else ""
        raise WsssError(
            f"{self.root / stage} was made with {found}{more}: "
            "choose another run folder (run=…), or add --overwrite to "
            f"`wsss {_COMMANDS[stage]}` to recompute the stage."
        )

    def _changes(self, stage: str, config: RunConfig) -> list[tuple[str, Any, Any]]:
        """Key, value before and value now of all that a begun stage was made with otherwise."""
        old = self.made_with(stage, config)
        # who asks need not have read the images
        before, now = old.pop(_DIGEST, None), self.digests.get(stage)
        other = before is not None and now is not None and before != now
        changed = _differences(old, _settings(stage, config))
        return [*changed, *([(_DIGEST, before, now)] if other else [])]

    def made_with(self, stage: str, config: RunConfig) -> dict[str, Any]:
        """The settings that a stage was begun with; those of the config where none are noted."""
        path = self._settings_file(stage)
        if not path.is_file():
            return _settings(stage, config)
        old = json.loads(path.read_text())
        return dict(old)

    def require(self, stage: str, option: str = "") -> Path:
        """Folder of a finished stage.

        Args:
            stage: which.
            option: of the command that does it, with a space before it.

        Raises:
            WsssError: the stage isn't finished.
        """
        if not self.finished(stage):
            raise WsssError(
                f"{self.root} has no finished {stage}: "
                f"run `wsss {_COMMANDS[stage]}{option}` on it first."
            )
        return self.root / stage


def config_of_round(config: RunConfig, round: int) -> RunConfig:
    """The config of another round: the same settings in the folder of that round."""
    # a relative path may be shorter than what it stands for, and a round a link to another disk
    run = config.run if config.round == 1 else Path(os.path.abspath(config.run))  # noqa: PTH100
    first = run if config.round == 1 else run.parents[config.round - 2]
    return config.model_copy(update={"run": _round_folder(first, round), "round": round})


def _round_folder(first: Path, round: int) -> Path:
    """Each round lies in the one that it is built on."""
    return first.joinpath(*(f"round_{n}" for n in range(2, round + 1)))


def read_round(path: Path | None, round: int, settings: Sequence[str] = ()) -> RunConfig:
    """Config of a round of a run: its own where it was begun, else that of the first round.

    Args:
        path: YAML file, or folder of the run's first round.
        round: which, from 1.
        settings: `section.key=value`, on top.
    """
    if path is not None and RunDir(_round_folder(path, round)).config_file.is_file():
        return RunDir.open(_round_folder(path, round), settings)
    return config_of_round(read_config(path, settings), round)


def _depends(config: RunConfig) -> dict[str, tuple[str, ...]]:
    return _DEPENDS if config.round == 1 else _DEPENDS_LATER


def _stages(config: RunConfig) -> list[str]:
    """What a run of this config goes through."""
    return list(_depends(config))


def _settings(stage: str, config: RunConfig) -> dict[str, Any]:
    include, exclude = set(_depends(config)[stage]), {"self_training": _UNRELATED.get(stage, set())}
    values = config.model_dump(mode="json", include=include, exclude=exclude)
    keys = _DATA_KEYS[stage]
    if "mask_images" in keys and config.data.mask_images is not None:
        keys = (*keys, "score_split")  # whose images are chosen first
    values["data"] = {key: values["data"][key] for key in keys}
    # where a run reads from may move; what it reads may not
    for section, key in (*(("data", key) for key in _PLACES), ("backbone", "weights")):
        if values[section][key] is not None:
            values[section][key] = Path(values[section][key]).name
    return values


def _differences(old: Any, new: Any, prefix: str = "") -> list[tuple[str, Any, Any]]:
    if isinstance(old, dict) and isinstance(new, dict):
        keys = [*new, *(k for k in old if k not in new)]
        return [
            found
            for key in keys
            for found in _differences(old.get(key), new.get(key), f"{prefix}.{key}".strip("."))
        ]
    return [] if old == new else [(prefix, old, new)]


def read_config(path: Path | None, settings: Sequence[str] = ()) -> RunConfig:
    """Config of a YAML file, or of the run in a folder, with `section.key=value` on top."""
    if path is not None and path.is_dir():
        return RunDir.open(path, settings)
    return load(path, settings)


def make_folder(path: Path) -> None:
    """Make a folder with its parents.

    Raises:
        WsssError: the disk is read-only, or something else stands there.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise WsssError(
            f"The folder {path} can't be made ({error.strerror}): choose another run folder."
        ) from None


def write_atomic(path: Path, write: Callable[[Path], Any]) -> None:
    """Write through a temporary neighbour, so that `path` is whole or absent at any moment."""
    make_folder(path.parent)
    # the suffix stays last: some writers choose the format by it
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.tmp{path.suffix}")
    try:
        write(temporary)
        temporary.replace(path)
    except Exception as error:  # each library that writes has its own kind of error
        raise WsssError(
            f"{path} can't be written ({first_line(error)}): free the disk or choose another run "
            "folder; what is finished is kept."
        ) from error
    finally:
        with suppress(OSError):  # a read-only disk refuses this, too; the first reason counts
            temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write text atomically."""

    def write(target: Path) -> None:
        target.write_text(text, encoding="utf-8")

    write_atomic(path, write)


def write_json(path: Path, values: Any) -> None:
    """Write JSON atomically."""
    write_text(path, json.dumps(values, indent=2, default=str) + "\n")
