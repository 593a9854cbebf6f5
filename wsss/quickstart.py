"""The embedded default: the whole pipeline on synthetic images, with a tiny GLNet, in minutes."""

from functools import partial
from pathlib import Path

from wsss import pipeline
from wsss.config import RunConfig, parse
from wsss.data.synthetic import write_synthetic_voc
from wsss.engine.runtime import join

TRAIN, VAL, SIZE = 400, 60, 128

SETTINGS = {
    "backbone": {
        "name": "glnet_nano",
        "weights": None,
        "args": {"depths": [1, 1, 2, 1], "slot_scale": 8.0},
    },
    "train_cls": {
        "epochs": 18,
        "batch_size": 16,
        "crop": 112,
        # smaller crops lose tagged objects, and the background learns to answer for them
        "crop_area": [0.75, 1.0],
        "pooling": "lse",
        "lr": 2e-3,
        "backbone_lr_factor": 1.0,
        "warmup_steps": 30,
        "jitter": 0.1,
    },
    "pseudo_masks": {
        "scales": [1.0],
        "walks": [{"block": "8.0", "steps": 4}, {"block": "16.0", "steps": 2}],
        # things are drawn anywhere, at the border as often as elsewhere
        "border": None,
        "sharpness": 10.0,
        "crf_iterations": 5,
    },
    "evaluate": {"fast": True},
    # bf16 saves ten seconds of so short a training, and costs the masks 4 to 8 points
    "runtime": {"precision": "fp32"},
    "train_seg": {
        "decoder_args": {"decoder_segmentation_channels": 32},
        "epochs": 12,
        "crop": 96,
        # few steps: none for sizes that the images to score don't have, and all at a high rate
        "scale": [0.8, 1.25],
        "jitter": 0.1,
        "lr": 4e-3,
        "backbone_lr_factor": 1.0,
        "warmup_steps": 20,
        "ema": 0.98,
    },
}


def config(folder: Path) -> RunConfig:
    """The run of the quickstart, in `folder`."""
    return parse(
        {
            "run": str(folder / "run"),
            "data": {"root": str(folder / "images"), "mask_split": "train"},
            **SETTINGS,
        },
        "the quickstart",
    )


def run(folder: Path, overwrite: bool = False) -> Path:
    """Render the images, run the pipeline; returns the page with images and figures."""
    images = partial(write_synthetic_voc, folder / "images", train=TRAIN, val=VAL, size=SIZE)
    join().once(images)
    return pipeline.run(config(folder), overwrite)
