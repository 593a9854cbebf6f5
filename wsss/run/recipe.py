"""What a run was begun with, where its config leaves it open."""

from pydantic import ValidationError

from wsss.config import PseudoMasksConfig, RunConfig
from wsss.errors import WsssError
from wsss.run.state import Run


def made_with(run: Run, config: RunConfig) -> PseudoMasksConfig:
    """The settings that the pseudo-masks of a run's first round were begun with, else the config's.

    Raises:
        WsssError: what was noted of them is damaged.
    """
    made = run.made_with("pseudo_masks", config).get("pseudo_masks", {})
    try:
        known = {key: made[key] for key in PseudoMasksConfig.model_fields if key in made}
        return PseudoMasksConfig.model_validate(known)
    except (TypeError, ValidationError):
        raise WsssError(
            f"{run.settings('pseudo_masks')} is damaged: add --overwrite to `wsss "
            "generate-pseudo-masks` to recompute the stage."
        ) from None


def as_begun(config: RunConfig) -> RunConfig:
    """A config that leaves things open, with what they were when the run's stages were begun.

    These are walks and border, and what the segmenter of a run starts from that was begun when
    that couldn't be said yet. The config comes back as it is where they are named, not begun, or
    what was noted of them is damaged, which the stage refuses.
    """
    return _with_begun_start(_with_begun_walks(config))


def _with_begun_walks(config: RunConfig) -> RunConfig:
    run = Run.of_round(config, 1)
    if not config.leaves_walks_open or not run.settings("pseudo_masks").is_file():
        return config
    try:
        made = made_with(run, config)
    except WsssError:
        return config
    own = config.pseudo_masks.model_copy(update={"walks": made.walks, "border": made.border})
    return config.model_copy(update={"pseudo_masks": own})


def _with_begun_start(config: RunConfig) -> RunConfig:
    run = Run.of_round(config, 1)
    if not config.leaves_segmenter_open or not run.settings("train_seg").is_file():
        return config
    try:
        noted = run.made_with("train_seg", config).get("train_seg")
    except WsssError:
        return config
    if not isinstance(noted, dict) or "start_from" in noted:
        return config
    own = config.train_seg.model_copy(update={"start_from": None})
    return config.model_copy(update={"train_seg": own})
