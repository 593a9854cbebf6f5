"""What is begun, finished or stale in a run folder."""

import os
import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from wsss import recipes
from wsss.config import RunConfig, load, quoted, save
from wsss.config.schema import Location, Section
from wsss.errors import WsssError, brief
from wsss.files import (
    lock,
    make_folder,
    read_json,
    remove_temporaries,
    unlock,
    write_atomic,
    write_json,
)
from wsss.run.layout import Layout, round_folder
from wsss.run.stages import STAGES, before, find, settings_of, stages_of

GROUND_TRUTH = "ground truth"
"""What masks are made from in the run of a fully supervised baseline."""
_DIGEST = "images"
"""Key of the digest of the classes' names and of every image's id and tags, beside settings."""
_COMPUTED = "runtime"
"""Key of how a stage is computed, beside settings: noted, and no reason to recompute it."""


class Run(Layout):
    """A run folder: its paths, and what is finished in it."""

    @classmethod
    def of_round(cls, config: RunConfig, round: int) -> "Run":
        """The folder of a round of the config's run."""
        return cls(config_of_round(config, round).run)

    def finished(self, stage: str) -> bool:
        """Whether a stage is done."""
        return self.done(stage).is_file()

    def require(self, stage: str, option: str = "") -> Path:
        """Folder of a finished stage.

        Args:
            stage: which.
            option: of the command that makes it, with a space before it.

        Raises:
            WsssError: the stage isn't finished.
        """
        if not self.finished(stage):
            command = next(one.command for one in STAGES if one.name == stage)
            raise WsssError(
                f"{self.root} has no finished {stage}: run `wsss {command}{option}` on it first."
            )
        return self.root / stage

    def made_with(self, stage: str, config: RunConfig) -> dict[str, Any]:
        """The settings that a stage was begun with; those of the config where it wasn't."""
        path = self.settings(stage)
        if path.is_file():
            again = f"add --overwrite to `wsss {_command(config, stage)}` to recompute the stage"
            return read_json(path, again)
        return settings_of(config, stage)

    def computed_with(self, stage: str) -> dict[str, Any]:
        """How a stage was begun to be computed, as `Work.begin` noted it."""
        path = self.settings(stage)
        if not path.is_file():
            return {}
        found = read_json(path, "recompute the stage by --overwrite").get(_COMPUTED)
        return found if isinstance(found, dict) else {}

    def check(
        self, stage: str, config: RunConfig, digests: Mapping[str, str] | None = None
    ) -> None:
        """Refuse a stage that was begun otherwise than a config says.

        Raises:
            WsssError: it was begun with other settings, or from other images or tags.
        """
        changed = self.changes(stage, config, digests)
        if not changed:
            return
        key, before, now = changed[0]
        found, back = f"{key}={brief(before)}, now it is {brief(now)}", "set it back"
        if key == _DIGEST:
            place = config.data.tags or config.data.root
            trusted = config.data.trusted if stage == "train_seg" else None
            also = f", or other masks than {trusted} holds now" if trusted is not None else ""
            found = f"other images, tags or classes than {place} holds now{also}"
            back = "put them back"
        more = f" (and {len(changed) - 1} more)" if len(changed) > 1 else ""
        raise WsssError(
            f"{self.root / stage} was made with {found}{more}: {back}, choose another run folder "
            f"(run=…), or add --overwrite to `wsss {_command(config, stage)}` to recompute the "
            "stage."
        )

    def changes(
        self, stage: str, config: RunConfig, digests: Mapping[str, str] | None = None
    ) -> list[tuple[str, Any, Any]]:
        """What a begun stage was made with otherwise.

        Args:
            stage: which.
            config: the settings now.
            digests: stage → digest of the images and tags now, as far as they were read.

        Returns:
            Key, value before and value now of each difference; none for a stage that isn't begun.
        """
        old = self.made_with(stage, config)
        old.pop(_COMPUTED, None)
        before, now = old.pop(_DIGEST, None), (digests or {}).get(stage)
        other = before is not None and now is not None and before != now
        changed = _differences(_completed(old, config, stage), settings_of(config, stage))
        return [*changed, *([(_DIGEST, before, now)] if other else [])]

    @property
    def has_ground_truth(self) -> bool:
        """Whether this is a fully supervised baseline, whose masks are ground truth."""
        path = self.done("pseudo_masks")
        if not path.is_file():
            return False
        return read_json(path, "recompute the stage by --overwrite").get("from") == GROUND_TRUTH

    def forget(self, stage: str) -> None:
        """Remove a stage and what is built on it, later rounds too, so that they are recomputed.

        Nothing is left that a later start would take for finished work of the new settings, or
        that the page would show beside it; what people did in a review stays. Last stages go
        first, and marks before masks, so that an interruption leaves nothing finished on what is
        gone.
        """
        for later in self.later_rounds():
            Run(later)._discard()
        first = next(i for i, one in enumerate(STAGES) if one.name == stage)
        for one in reversed(STAGES[first:]):
            for file in (self.checkpoint(one.name), self.settings(one.name), self.done(one.name)):
                file.unlink(missing_ok=True)
            for folder in one.outputs:
                shutil.rmtree(self.root / folder, ignore_errors=True)
            for of in one.scores:
                for scores in self.evaluations.glob(f"{of}_*"):
                    scores.unlink(missing_ok=True)
        if stage == STAGES[0].name:  # the baseline starts from the same classifier
            shutil.rmtree(self.ceiling, ignore_errors=True)
        for sheet in self.report.glob("*.png"):
            sheet.unlink(missing_ok=True)

    def _discard(self) -> None:
        """Remove a later round, but for what people did in a review of it."""
        self.forget(STAGES[0].name)
        kept = {self.trusted_masks, self.review, *self.later_rounds()}
        for path in self.root.iterdir():
            if path in kept:
                continue
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)
        with suppress(OSError):  # something is kept
            self.root.rmdir()


class Work:
    """A stage being made: checked when this is created, then begun, then finished.

    Attributes:
        run: the folder.
        stage: name of the stage.
        config: of the run.
        overwrite: whether finished work of the stage is recomputed.
    """

    def __init__(
        self,
        config: RunConfig,
        stage: str,
        digests: Mapping[str, str],
        overwrite: bool = False,
        recomputed: str | None = None,
    ) -> None:
        """Refuses to mix results of different settings in one run; changes nothing that is made.

        Args:
            config: of the run.
            stage: to be made.
            digests: stage → digest of the images and tags that it is made from, as far as known.
            overwrite: recompute the stage.
            recomputed: the first stage that is going to be recomputed: it and those after it may
                have been made with other settings. The stage itself if `overwrite`.

        Raises:
            WsssError: a finished or begun stage was made with other settings, images or tags.
        """
        self.config, self.stage, self.overwrite = config, stage, overwrite
        self.run, self._digests = Run(config.run), dict(digests)
        self._lock: Path | None = None
        make_folder(self.run.root)
        recomputed = recomputed or (stage if overwrite else None)
        for one in stages_of(config):
            if one.name == recomputed:
                break
            self.run.check(one.name, config, digests)
        if recomputed is None:
            self._save()

    @property
    def needed(self) -> bool:
        """Whether the stage has to be made."""
        return self.overwrite or not self.run.finished(self.stage)

    def begin(
        self, part: str = "", computed: Mapping[str, Any] | None = None, patience: float = 0.0
    ) -> None:
        """Note the settings that the stage is made with, and how it is computed.

        The last thing before its work, when all that can be refused was: what an earlier start left
        of a stage that is recomputed goes now, with what is built on it. Pseudo-masks that another
        shard is making by the same settings, which began to do so first, stay.

        Args:
            part: which part of the stage this process makes, such as a shard, where several do.
            computed: how, for the record: another start may do otherwise.
            patience: seconds that another process has to end.

        Raises:
            WsssError: another process is making the stage, or this part of it.
        """
        self._lock = self.run.lock(self.stage, part)
        lock(self._lock, str(self.run.root / self.stage), patience)
        again = self.overwrite
        if self.stage == "pseudo_masks":
            # masks without settings are what is left of an interrupted removal
            again = self.run.finished(self.stage) or not self._begun
        if again:
            self.run.forget(self.stage)
        self._save()
        settings = settings_of(self.config, self.stage)
        if self.stage in self._digests:
            settings[_DIGEST] = self._digests[self.stage]
        if computed:
            settings[_COMPUTED] = dict(computed)
        write_json(self.run.settings(self.stage), settings)

    @property
    def _begun(self) -> bool:
        """Whether the stage was begun by the same settings."""
        try:
            stale = self.run.changes(self.stage, self.config, self._digests)
        except WsssError:  # its settings are damaged
            return False
        return self.run.settings(self.stage).is_file() and not stale

    def finish(self, summary: dict[str, Any]) -> None:
        """Mark the stage finished; what killed starts left half written goes."""
        for folder in {self.stage, *find(self.config, self.stage).outputs}:
            remove_temporaries(self.run.root / folder)
        write_json(self.run.done(self.stage), summary)
        self.release()

    def release(self) -> None:
        """Let other processes make the stage, or the part of it that this one made."""
        if self._lock is not None:
            unlock(self._lock)

    def _save(self) -> None:
        # a run may be opened from another folder
        config = with_absolute_paths(self.config)
        write_atomic(self.run.config_file, lambda path: save(config, path))


def open_run(root: Path, settings: Sequence[str] = ()) -> RunConfig:
    """The config of an existing run, with settings on top.

    Raises:
        WsssError: there is no run at `root`.
    """
    file = Layout(root).config_file
    if not file.is_file():
        raise WsssError(f"{root} holds no run (no config.yaml): give the folder of a run.")
    return load(file, [f"run={quoted(root)}", *settings], of_run=True)


def read_config(path: Path | None, settings: Sequence[str] = ()) -> RunConfig:
    """Config of a YAML file, a packaged recipe or the run in a folder, with settings on top.

    Args:
        path: which; a path that exists wins over a recipe of that name.
        settings: `section.key=value`.
    """
    if path is not None and path.is_dir():
        return open_run(path, settings)
    return load(path and recipes.find(path), settings)


def read_round(path: Path | None, round: int, settings: Sequence[str] = ()) -> RunConfig:
    """Config of a round of a run: its own where it was begun, else that of the first round.

    Args:
        path: YAML file, or folder of the run's first round.
        round: which, from 1.
        settings: `section.key=value`, on top.
    """
    if path is not None and Layout(round_folder(path, round)).config_file.is_file():
        return open_run(round_folder(path, round), settings)
    return config_of_round(read_config(path, settings), round)


def config_of_round(config: RunConfig, round: int) -> RunConfig:
    """The config of another round: the same settings in the folder of that round."""
    # a relative path may be shorter than what it stands for, and a round a link to another disk
    run = config.run if config.round == 1 else Path(os.path.abspath(config.run))  # noqa: PTH100
    first = run if config.round == 1 else run.parents[config.round - 2]
    return config.model_copy(update={"run": round_folder(first, round), "round": round})


def with_absolute_paths(config: RunConfig) -> RunConfig:
    """A config whose paths to read from don't depend on the working directory."""
    sections = {}
    for name, section in config:
        if not isinstance(section, Section):
            continue
        paths = {
            key: Path(os.path.abspath(value))  # noqa: PTH100 a link stays a link
            for key, field in type(section).model_fields.items()
            if Location() in field.metadata and isinstance(value := getattr(section, key), Path)
        }
        sections[name] = section.model_copy(update=paths)
    return config.model_copy(update=sections)


def _command(config: RunConfig, stage: str) -> str:
    """What makes a stage of the config's round, on the folder of the first."""
    option = f" --round {config.round}" if config.round > 1 else ""
    return find(config, stage).command + option


def _completed(noted: dict[str, Any], config: RunConfig, stage: str) -> dict[str, Any]:
    """Noted settings with those that did not exist yet at their defaults: so the stage was made.

    They come back as they are where the program of today can't read them.
    """
    values = {name: noted[name] for name in noted if isinstance(noted[name], dict)}
    try:
        sections = {
            name: (section := type(getattr(config, name))).model_validate(before(section) | value)
            for name, value in values.items()
        }
        known = settings_of(config.model_copy(update=sections), stage)
    except (AttributeError, ValidationError):
        return noted
    return {**noted, **{name: known[name] for name in values if name in known}}


def _differences(old: Any, new: Any, prefix: str = "") -> list[tuple[str, Any, Any]]:
    if isinstance(old, dict) and isinstance(new, dict):
        keys = [*new, *(k for k in old if k not in new)]
        return [
            found
            for key in keys
            for found in _differences(old.get(key), new.get(key), f"{prefix}.{key}".strip("."))
        ]
    return [] if old == new else [(prefix, old, new)]
