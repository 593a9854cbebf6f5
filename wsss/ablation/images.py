"""The images that an ablation looks at."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from wsss.config import RunConfig
from wsss.data.images import TaggedDataset
from wsss.data.masks import require_truth, true_masks, with_truth
from wsss.data.open import open_tagged
from wsss.engine.progress import track
from wsss.engine.team import Team
from wsss.errors import WsssError


def draw(config: RunConfig, skip: int = 0) -> TaggedDataset:
    """Images of `data.score_split` with true masks: all, or so many drawn by the seed, in order.

    Args:
        config: of the run; `ablate.images` says how many.
        skip: leave out so many of those that are drawn first.

    Raises:
        WsssError: there are no true masks, or none is left.
    """
    require_truth(config.data)
    tagged = with_truth(config.data, open_tagged(config.data, config.data.score_split))
    count = config.ablate.images or len(tagged)
    drawn = np.random.default_rng(config.seed).permutation(len(tagged))[skip : skip + count]
    if len(drawn) == 0:
        raise WsssError(
            f"--skip {skip} leaves none of the {len(tagged)} images of {config.data.score_split}: "
            "give a smaller number."
        )
    return replace(tagged, samples=tuple(tagged.samples[i] for i in sorted(drawn)))


def masks_of(config: RunConfig, tagged: TaggedDataset, team: Team) -> Path:
    """The folder of their true masks, of images that are the same in all processes."""
    team.require_equal(tagged.digest, f"The images of {config.data.root}")
    split = config.data.score_split
    return team.once(lambda: true_masks(config.data, split, tagged, track))
