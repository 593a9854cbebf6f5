"""Masks that a person would have corrected, as a folder for `data.trusted`.

    python scripts/simulate_corrections.py RUN --share 0.1 --order uncertain --clicks 3 --out FOLDER

True masks of `data.mask_split` place the clicks, as in `wsss ablate-clicks`, or are taken as they
are (`--painted`). Prints how many masks there are, the clicks, and the minutes that they would take
a person.
"""

import argparse
from pathlib import Path

import numpy as np

from wsss.ablation.clicks import answers
from wsss.data.images import Sample, read_image
from wsss.data.mask_io import read_mask, write_class_names, write_mask
from wsss.data.masks import mask_path, true_masks
from wsss.data.open import open_tagged
from wsss.data.scores import read_scores
from wsss.engine.progress import track
from wsss.engine.runtime import start
from wsss.models.clicks import OpenImage
from wsss.models.trained import load_classifier
from wsss.run.state import Run, read_config

LOOKING, CLICKING, PAINTING = 5.0, 3.0, 240.0
"""Seconds of a person's time: per image, per click, and per image that is painted."""


def ordered(samples: tuple[Sample, ...], order: str, run: Run, seed: int) -> list[Sample]:
    """Samples in the order in which a person looks at them."""
    if order == "random":
        return [samples[i] for i in np.random.default_rng(seed).permutation(len(samples))]
    scores = read_scores(run.pseudo_masks)
    return sorted(samples, key=lambda sample: -scores.get(sample.id, 0.0))


def main() -> None:
    """Write the folder and say what it would cost."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--share", type=float, default=0.1)
    parser.add_argument("--order", choices=("random", "uncertain"), default="uncertain")
    parser.add_argument("--clicks", type=int, default=3)
    parser.add_argument("--painted", action="store_true")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    config = read_config(args.run, [])
    runtime = start(config.runtime, config.seed)
    run, split = Run(config.run), config.data.mask_split
    tagged = open_tagged(config.data, split)
    root = true_masks(config.data, split, tagged, track)
    model = load_classifier(run.model("train_cls"), runtime.device, tagged.class_names)
    settings = config.pseudo_masks.model_copy(update={"confidence": 0.0})
    chosen = ordered(tagged.samples, args.order, run, config.seed)
    chosen = chosen[: round(args.share * len(chosen))]
    write_class_names(args.out, tagged.class_names)
    made = 0
    for sample in track(chosen, "corrections", len(chosen)):
        mask = target = read_mask(mask_path(root, sample.id))
        if not args.painted:
            image = read_image(sample.path)
            opened = OpenImage(model, image, sample.tags, settings, runtime.device)
            *_, (clicks, mask, _) = answers(opened.mask, target, args.clicks)
            made += len(clicks)
        write_mask(args.out / f"{sample.id}.png", mask)
    each = PAINTING if args.painted else LOOKING
    minutes = (len(chosen) * each + made * CLICKING) / 60
    print(f"{len(chosen)} masks, {made} clicks, {minutes:.0f} minutes of a person: {args.out}")


if __name__ == "__main__":
    main()
