"""The fully supervised baseline of a run: the same network, recipe, images and seed on true masks.

The baseline is a run in the subfolder `ceiling/` whose pseudo-masks are copies of the true masks,
so that the stages that train and score it are those of the weak run, unchanged. The weak run reads
nothing of it. Reads the true masks of the data; writes `ceiling/` up to its pseudo-masks, and
`evaluation/ceiling_<split>.json`.
"""

import shutil
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from wsss.config import PseudoMasksConfig, RunConfig, SelfTrainingConfig
from wsss.data.images import Sample
from wsss.data.masks import mask_path, read_pair, true_masks
from wsss.data.open import open_stage
from wsss.engine.progress import track
from wsss.files import write_atomic, write_json
from wsss.report.columns import FIGURES
from wsss.report.scores import read_scores
from wsss.run.state import GROUND_TRUTH, Run, Work, config_of_round


def prepare(config: RunConfig) -> RunConfig:
    """Make the baseline's folder up to what its segmenter trains on; returns the baseline's config.

    A baseline with other settings than the run's is discarded.

    Args:
        config: of the weak run, whose segmenter is trained; all rounds of a run have one baseline.

    Raises:
        WsssError: the weak run isn't finished or has other settings; a true mask is missing.
    """
    data, digests = open_stage(config.data, config.seed, "train_seg")
    weak = Run(config.run)
    weak.require("train_seg")
    weak.check("train_seg", config, digests)
    samples = data.samples
    root = true_masks(config.data, config.data.mask_split, data, track)
    first = config_of_round(config, 1)
    baseline = _baseline_config(first)
    _, digests = open_stage(baseline.data, config.seed, "train_seg")
    run = Run(baseline.run)
    for stage in ("pseudo_masks", "train_seg"):
        if run.changes(stage, baseline, digests):
            run.forget(stage)
    work = Work(baseline, "pseudo_masks", digests)
    if work.needed:
        _copy_classifier(Run(first.run), run)
        work.begin()
        _copy_masks(run, root, samples)
        work.finish({"images": len(samples), "from": GROUND_TRUTH})
    return baseline


def _baseline_config(first: RunConfig) -> RunConfig:
    """What remains of the settings where the masks are true ones."""
    return first.model_copy(
        update={
            "run": Run(first.run).ceiling,
            # how pseudo-masks are made does not affect the baseline, so changing it makes nothing
            # stale
            "pseudo_masks": PseudoMasksConfig(),
            "self_training": SelfTrainingConfig(),
            "data": first.data.model_copy(update={"trusted": None}),
        }
    )


def compare(config: RunConfig, split: str) -> Path:
    """Write the weak run's scores as shares of the baseline's, by column; returns the path."""
    weak, baseline = (
        read_scores(Run(root).evaluation("predictions", split))
        for root in (config.run, Run.of_round(config, 1).ceiling)
    )
    columns = {}
    for name, tags in weak["columns"].items():
        full = baseline["columns"][name]
        columns[name] = {
            "tags": {figure: tags[figure] for figure in FIGURES},
            "full": {figure: full[figure] for figure in FIGURES},
            "ratio": {f: _ratio(tags[f], full[f]) for f in FIGURES},
        }
    path = Run(config.run).evaluation("ceiling", split)
    write_json(path, {"of": "ceiling", "split": split, "seed": config.seed, "columns": columns})
    return path


def _ratio(tags: float | None, full: float | None) -> float | None:
    """None where nothing was counted, or the baseline has nothing right."""
    return tags / full if tags is not None and full else None


def _copy_classifier(weak: Run, run: Run) -> None:
    """What the encoder of either starts from."""
    source = weak.model("train_cls")
    if source.is_file():
        write_atomic(run.model("train_cls"), partial(shutil.copyfile, source))


def _copy_masks(run: Run, root: Path, samples: Sequence[Sample]) -> None:
    for sample in track(samples, "copy true masks", len(samples)):
        source, path = mask_path(root, sample.id), run.pseudo_mask(sample.id)
        read_pair(sample.path, source)  # a mask that doesn't fit is reported before training
        write_atomic(path, partial(shutil.copyfile, source))
