"""How a team takes on a stage: the first process decides and keeps the record, all agree."""

from collections.abc import Mapping
from functools import partial
from typing import Any

from wsss.config import RunConfig
from wsss.config.schema import StageName
from wsss.data.images import TaggedDataset
from wsss.data.open import open_stage
from wsss.engine.team import Team
from wsss.run.state import Work

LOCK_PATIENCE = 20.0
"""Seconds; the processes that load images end some seconds after the one they load for."""


def take_on(
    team: Team,
    config: RunConfig,
    stage: StageName,
    overwrite: bool = False,
    recomputed: str | None = None,
) -> tuple[TaggedDataset, Work, bool]:
    """The images that a stage is made from, its work, and whether it has to be made.

    Args:
        team: whose processes each read the images.
        config: of the run.
        stage: to be made.
        overwrite: recompute it.
        recomputed: see `Work`.

    Raises:
        WsssError: the data or the run don't allow it, or machines hold different data.
    """
    with team.together():
        data, digests = open_stage(config.data, config.seed, stage)
    team.require_equal(lambda: digests, f"What {config.data.tags or config.data.root} holds")
    work, needed = team.once(partial(_work, config, stage, digests, overwrite, recomputed))
    return data, work, needed


def _work(
    config: RunConfig, stage: str, digests: Mapping[str, str], overwrite: bool, first: str | None
) -> tuple[Work, bool]:
    work = Work(config, stage, digests, overwrite, first)
    return work, work.needed


def begin(
    team: Team, work: Work, part: str = "", computed: Mapping[str, Any] | None = None
) -> None:
    """`Work.begin` by the first process, when every other is ready for it.

    Raises:
        WsssError: others are making the stage, or a process has another run folder.
    """
    # started again after a kill, they may meet what the killed one's own processes still hold
    patience = 0.0 if team.links is None else LOCK_PATIENCE
    team.once(partial(work.begin, part, computed, patience))
    team.require_one_folder(work.run.root)
