"""Valid inputs of every kind in one folder, `box`, that cases are derived from."""

import shutil
import tarfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from wsss.config import load, quoted
from wsss.data.mask_io import read_mask, write_mask
from wsss.data.open import open_stage
from wsss.data.synthetic import write_synthetic_voc
from wsss.models.backbone import create_backbone
from wsss.review.edits import ClickAction
from wsss.review.run import engine_of
from wsss.review.session import Session
from wsss.run.layout import Layout
from wsss.run.state import open_run
from wsss.stages import export
from wsss.stages.voc_archive import FOLDER

TINY = """\
backbone:
  name: glnet_nano
  weights: null
  args: {depths: [1, 1, 1, 1], embed_dims: [32, 32, 64, 64], slot_grid: [4, 4], slot_scale: 8.0}
train_cls: {epochs: 1, batch_size: 5, crop: 64, holdout: 0.2, warmup_steps: 1}
pseudo_masks: {scales: [1.0], confidence: 0.5, walks: [{block: '8.0', steps: 2}]}
train_seg: {epochs: 1, batch_size: 5, crop: 64, warmup_steps: 1, ema: 0.5}
evaluate: {fast: true}
ablate: {memory: false}
runtime: {device: cpu, threads: 1, workers: 0}
"""

TAGS = {
    "p00": ("disc", "star"),
    "p01": ("disc",),
    "p02": (),
    "sub/p03": ("star", "ring"),
    "sub/p04": ("ring",),
    "p05": ("disc", "star", "ring"),
}
"""Image → tags of one's own photographs in `own/`."""


def write_table(path: Path) -> None:
    lines = [f"{id_},{';'.join(tags)}" for id_, tags in TAGS.items()]
    path.write_text("\n".join(["image,tags", *lines, ""]))


def prepare(box: Path, finished: Path | None = None, exported: bool = False) -> None:
    """Write everything that a case may damage.

    Args:
        box: folder, made.
        finished: a run of `TINY` on the images of `write_synthetic_voc` (12 and 4 of 64 pixels); it
            is copied, else made by `wsss run`.
        exported: the segmenter as ONNX and as a program of torch.export too, which takes minutes.
    """
    box.mkdir(parents=True)
    write_synthetic_voc(box / "VOC", train=12, val=4, size=64)
    (box / "tiny.yaml").write_text(TINY)
    _write_run(box, finished)
    _write_review(box)
    images = sorted((box / "VOC" / "JPEGImages").glob("train_*"))
    for id_, source in zip(TAGS, images, strict=False):
        photo = box / "own" / "photos" / f"{id_}.jpg"
        photo.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, photo)
    write_table(box / "own" / "tags.csv")
    _write_labels(box)
    _write_archive(box)
    _write_weights(box, exported)
    (box / "out").mkdir()


def _write_run(box: Path, finished: Path | None) -> None:
    run, settings = box / "run", [f"data.root={quoted(box / 'VOC')}", "data.mask_split=train"]
    if finished is None:
        from wsss import pipeline

        pipeline.run(load(box / "tiny.yaml", [f"run={quoted(run)}", *settings]))
        return
    shutil.copytree(finished, run)
    text = (run / "config.yaml").read_text()
    root = load(run / "config.yaml").data.root
    (run / "config.yaml").write_text(text.replace(str(root), str(box / "VOC")))


def _write_review(box: Path) -> None:
    """Masks of the run that a person accepted, one with a click and one without."""
    config = open_run(box / "run")
    tagged, _ = open_stage(config.data, config.seed, "pseudo_masks")
    session = Session(Layout(box / "run"), tagged, {}, engine_of(config, tagged.class_names))
    some = [sample for sample in tagged.samples if sample.tags][:5]
    click = ClickAction(kind="click", x=20, y=20, label=some[0].tags[0] + 1)
    for sample in some:
        session.decide(sample.id, 0, "ada", (click,) * (sample is some[0]), "accepted")
    session.keep(some[1].id, 1, "ada", (click.model_copy(update={"label": 0}),))
    session.close()


def _write_labels(box: Path) -> None:
    """Masks and probability maps for `refine`."""
    (box / "labels").mkdir()
    (box / "maps").mkdir()
    for mask in sorted((box / "run" / "pseudo_masks").glob("*.png"))[:3]:
        shutil.copy2(mask, box / "labels")
        labels = np.minimum(read_mask(mask), 5)
        probs = np.full((6, *labels.shape), 0.1, np.float32)
        np.put_along_axis(probs, labels[None].astype(int), 0.5, 0)
        np.save(box / "maps" / f"{mask.stem}.npy", probs)


def _write_archive(box: Path) -> None:
    """What VOC's server takes, the list of its ids and its images."""
    folder = box / "server" / "masks"
    for i in range(3):
        mask = np.full((12, 16), i, np.uint8)
        write_mask(folder / f"i{i}.png", mask)
        (box / "server" / "images").mkdir(exist_ok=True)
        Image.new("RGB", (16, 12)).save(box / "server" / "images" / f"i{i}.jpg")
    (box / "server" / "ids.txt").write_text("i0\ni1\ni2\n")
    with tarfile.open(box / "server" / "masks.tar.gz", "w:gz") as archive:
        for path in sorted(folder.iterdir()):
            archive.add(path, f"{FOLDER}/{path.name}")


def _write_weights(box: Path, exported: bool) -> None:
    """Weights of a backbone as training code saves them, and the segmenter in every format."""
    (box / "weights").mkdir()
    config = load(box / "run" / "config.yaml", [f"run={quoted(box / 'run')}"])
    torch.manual_seed(1)
    backbone = create_backbone(config.backbone.name, None, config.backbone.args)
    torch.save(backbone.state_dict(), box / "weights" / "backbone.pth")
    for to in ("safetensors", "hub", *(("onnx", "torch-export") if exported else ())):
        suffix = export.SUFFIXES[to]
        export.run(config, to, box / "models" / (f"model{suffix}" if suffix else to))
