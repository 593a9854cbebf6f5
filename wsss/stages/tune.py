"""`wsss tune`: the recipe of the pseudo-masks, chosen on a few masks that are right.

Reads trusted masks, which a person drew or accepted, and the classifier of a run; writes
`tuning.json`. No other mask is opened. What is chosen is scored on masks that it was not chosen on.
Without trusted masks walks and border are chosen by how compact class activation is.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wsss.ablation.recipes import Bench, Choice
from wsss.config import PseudoMasksConfig, RunConfig
from wsss.data.given_masks import GivenMasks
from wsss.data.images import Sample, TaggedDataset
from wsss.data.open import open_stage
from wsss.engine.runtime import Runtime, start
from wsss.engine.team import ALONE
from wsss.errors import WsssError
from wsss.files import write_json
from wsss.labels import BACKGROUND, IGNORE_INDEX
from wsss.metrics import choice
from wsss.metrics.split_scores import known
from wsss.models.classifier import TagClassifier
from wsss.models.compactness import compactness
from wsss.models.multiscale import check_walks
from wsss.models.trained import load_classifier
from wsss.run.state import Run
from wsss.seeding.candidates import by_compactness
from wsss.seeding.walks import Seeding

LEAST = 4
"""Trusted masks that a choice needs at the very least."""
LOOKED_AT = 100
"""Images whose class activation is looked at where there are no trusted masks."""
GAIN = 0.005
"""MIoU that a choice has to gain on masks that it was not made on."""


def run(config: RunConfig, trusted: Path | None = None) -> tuple[PseudoMasksConfig, Path]:
    """Choose the recipe of a run's pseudo-masks; makes none.

    Args:
        config: of the run.
        trusted: masks that are right, in any format; by default `data.trusted`, or those that were
            accepted in the run; where there are none, none are used.

    Returns:
        The settings, those of the config where nothing is clearly better; and the file of what
        was compared.

    Raises:
        WsssError: too few trusted masks, or one that doesn't fit its image or the classes.
    """
    if config.round > 1:
        raise WsssError(
            f"{config.run} holds round {config.round}, whose masks a segmenter makes: tune the "
            "first round."
        )
    run = Run(config.run)
    run.require("train_cls")
    accepted = run.trusted_masks if any(run.trusted_masks.rglob("*.png")) else None
    source = trusted or config.data.trusted or accepted
    if source is None:
        return without_masks(config), run.tuning
    tagged = open_stage(config.data, config.seed, "pseudo_masks")[0]
    found = find_trusted(source, tagged)
    model = _model(config, tagged, start(config.runtime, config.seed))
    bench = Bench(config, tagged, model, found)
    choices = bench.compare()
    first = choices[0]
    top = max(choices[1:], key=lambda one: one.miou)
    chosen = top if top.miou >= first.miou + GAIN else first
    write_json(run.tuning, _report(bench, choices, chosen, len(found)))
    return chosen.settings, run.tuning


def without_masks(config: RunConfig) -> PseudoMasksConfig:
    """Settings by how compact class activation is, noted in the run."""
    tagged = open_stage(config.data, config.seed, "pseudo_masks")[0]
    order = np.random.default_rng(config.seed).permutation(len(tagged))
    samples = [tagged.samples[i] for i in order]
    drawn = [one for one in samples if one.tags][:LOOKED_AT]
    others = [one for one in samples if not one.tags][:LOOKED_AT]
    # the first process chooses, and the others wait
    runtime = replace(start(config.runtime, config.seed), team=ALONE)
    model = _model(config, tagged, runtime)
    usual, now = PseudoMasksConfig(), config.pseudo_masks
    assert usual.border is not None
    walks, border = now.walks or usual.walks, now.border or usual.border
    tried = now.model_copy(update={"walks": walks})
    rules = config.data.max_side, config.data.skip_damaged
    found = compactness(model, [*drawn, *others], tried, runtime, *rules)
    chosen = by_compactness(found, walks, border)
    if not config.data.background:
        chosen = Seeding(chosen.walks)
    settings = now.model_copy(update={"walks": chosen.walks, "border": chosen.border})
    told = settings.model_dump(mode="json", include={"walks", "border"})
    shares = {"positive_share": found.positive, "sure_share": found.sure}
    write_json(Run(config.run).tuning, {"images": found.images, **shares, "settings": told})
    return settings


def find_trusted(source: Path, tagged: TaggedDataset) -> list[tuple[Sample, NDArray[np.uint8]]]:
    """The images with tags that have a mask, and the masks; not those that are void all over.

    Raises:
        WsssError: there are too few to choose by, or one doesn't fit its image or the classes.
    """
    given = GivenMasks(source, tagged)
    pairs = [(sample, given.read(sample)) for sample in given.samples if sample.tags]
    found = [(sample, mask) for sample, mask in pairs if (mask != IGNORE_INDEX).any()]
    if len(found) < LEAST:
        raise WsssError(
            f"{source} holds {len(found)} masks of images with tags; expected masks of {LEAST} "
            "images at least, better of 20: accept masks in `wsss review`, or name others by "
            "--trusted."
        )
    return found


def _model(config: RunConfig, tagged: TaggedDataset, runtime: Runtime) -> TagClassifier:
    weights = Run(config.run).model("train_cls")
    model = load_classifier(weights, runtime.device, tagged.class_names)
    check_walks(config.pseudo_masks.seeding, model)
    return model


def _report(bench: Bench, choices: Sequence[Choice], chosen: Choice, images: int) -> dict[str, Any]:
    """What was compared, as JSON."""
    keys = ("walks", "border", "background", "crf", "levels")
    before, after = (choice.class_iou(one.areas) for one in (choices[0], chosen))
    classes = (BACKGROUND, *bench.names)
    return {
        "images": images,
        "unchanged": bench.unchanged(),
        "chosen": chosen.name,
        "choices": [
            {
                "name": one.name,
                "held_out_miou": one.miou,
                "settings": one.settings.model_dump(mode="json", include=set(keys)),
            }
            for one in choices
        ],
        "iou": {
            name: {
                "before": known(float(b)),
                "after": known(float(a)),
                "level": chosen.settings.levels.get(name),
            }
            for name, b, a in zip(classes, before, after, strict=True)
            if not (np.isnan(b) and np.isnan(a))
        },
    }
