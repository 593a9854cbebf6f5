"""The recipe that a run's pseudo-masks were begun with."""

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


def with_begun_walks(config: RunConfig) -> RunConfig:
    """A config that leaves walks and border open, with those that its masks were begun with.

    It comes back as it is where they are named, not begun, or what was noted of them is damaged,
    which the stage refuses.
    """
    run = Run.of_round(config, 1)
    if not config.leaves_walks_open or not run.settings("pseudo_masks").is_file():
        return config
    try:
        made = made_with(run, config)
    except WsssError:
        return config
    own = config.pseudo_masks.model_copy(update={"walks": made.walks, "border": made.border})
    return config.model_copy(update={"pseudo_masks": own})
