"""Files of a finished run that a crash, an editor or another program changed."""

import io
import json
import zipfile
from pathlib import Path
from random import Random

import numpy as np
from PIL import Image

from robustness.case import Case, case
from robustness.damage import damage_bytes, damaged_value, replace_entry

# what holds a file of the run: pattern → kind of file
_KINDS = {
    "config.yaml": "run",
    "*/settings.json": "run",
    "*/done.json": "run",
    "*/log.jsonl": "run",
    "evaluation/*.json": "scores",
    "train_cls/metrics.json": "run",
    "train_cls/model.safetensors": "classifier",
    "train_seg/model.safetensors": "segmenter",
    "seeds/*.npz": "seeds",
    "pseudo_masks/*.png": "pseudo mask",
    "pseudo_masks/class_names.txt": "run",
    "pseudo_masks/scores.csv": "scores of masks",
    "trusted/*.png": "review",
    "trusted/class_names.txt": "review",
    "review/images/*.json": "review",
    "review/journal.jsonl": "review",
    "predictions/val/*.png": "segmenter",
    "ablation/rows/*.npz": "counts",
}


def run_files(rng: Random, box: Path) -> Case:
    """One file of the run is damaged, changed, missing, or no file."""
    pattern, reads = rng.choice(tuple(_KINDS.items()))
    found = sorted((box / "run").glob(pattern))
    if not found:
        return run_files(rng, box)
    path = rng.choice(found)
    name = path.relative_to(box / "run").as_posix()
    how = rng.randrange(4)
    if how == 0:
        return case(f"{replace_entry(rng, path)} for {name}", reads)
    if path.suffix == ".json" and how > 1:
        values, what = damaged_value(rng, json.loads(path.read_text()))
        path.write_text(json.dumps(values))
        return case(f"{name}: {what}", reads)
    if path.suffix == ".npz" and how > 1:
        return case(f"{_other_arrays(rng, path)}: {name}", reads)
    if path.suffix == ".png" and how > 1:
        return case(f"{_other_mask(rng, path)}: {name}", reads)
    return case(f"{damage_bytes(rng, path)}: {name}", reads)


def checkpoints(rng: Random, box: Path) -> Case:
    """A checkpoint of the run's segmenter, damaged or of something else."""
    import torch

    path = box / "run" / "train_seg" / "checkpoint.pt"
    step = rng.choice((0, 1, 2, -1, 10**9, "1", None, 1.5))
    state = {"step": step, "model": {}, "optimizer": {}, "scaler": {}, "average": {}}
    if rng.random() < 0.3:
        state.pop(rng.choice(list(state)))
    torch.save(rng.choice((state, state, [1], {}, torch.zeros(3))), path)
    (box / "run" / "train_seg" / "done.json").unlink()
    what = damage_bytes(rng, path) if rng.random() < 0.5 else "of nothing"
    return case(f"checkpoint {what}, step {step}", "checkpoint", only=("train-seg",))


def _other_arrays(rng: Random, path: Path) -> str:
    with np.load(path) as file:
        arrays = dict(file)
    name = rng.choice(sorted(arrays))
    value = arrays[name]
    what, other = rng.choice(
        (
            ("without an array", None),
            ("an array of nothing", np.zeros(0, value.dtype)),
            ("an array of another shape", np.zeros((3, 5, 7), value.dtype)),
            ("an array of text", np.array(["a"])),
            ("not a number", np.full(value.shape, np.nan)),
            ("huge numbers", np.full(value.shape, 1e30)),
            ("negative numbers", np.full(value.shape, -1, np.int64)),
            ("a number", np.float32(3)),
            ("objects", np.array([{}], object)),
        )
    )
    arrays[name] = other
    if other is None:
        del arrays[name]
    np.savez(path, **arrays)
    if rng.random() < 0.1:
        with zipfile.ZipFile(path, "a") as file:
            file.writestr("../../outside.npy", b"x")
    return f"{what} for {name}"


def _other_mask(rng: Random, path: Path) -> str:
    with Image.open(path) as file:
        mask = np.array(file)
        palette = file.getpalette()
    what, other = rng.choice(
        (
            ("a class that isn't", np.where(mask > 0, 200, 0)),
            ("of another size", mask[:-1]),
            ("void alone", np.full_like(mask, 255)),
            ("in colours", np.stack([mask] * 3, -1)),
            ("of 16 bits", mask.astype(np.uint16) * 257),
        )
    )
    depth = np.uint16 if other.max() > 255 else np.uint8
    image = Image.fromarray(other.astype(depth))
    if palette and image.mode == "L":
        image.putpalette(palette)
    out = io.BytesIO()
    image.save(out, "PNG")
    path.write_bytes(out.getvalue())
    return what
