"""The recipe of `distill.py`: one dataclass, read from YAML and `key=value`."""

import dataclasses
import difflib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from wsss.errors import WsssError


@dataclass
class Recipe:
    """Everything that decides what a distillation gives.

    Attributes:
        model: a GLNet of timm's registry.
        model_args: further arguments of it, such as `{embed_dims: [48, 96, 192, 384]}`.
        slot_scale: initial inverse temperature of the assignment.
        teacher: see `distill_teachers.load_teacher`.
        teacher_size: side in pixels at which the teacher sees every crop, whatever the student's.
        folders: unlabelled images; `voc_root` adds those of `voc_split` (…/VOC2012, or nothing).
        short_side: images are kept at this short side.
        held_one_in: one image in so many is never trained on.
        sizes: [share of the steps, student's side] in order; shares sum to 1.
        steps: of `batch` crops each.
        min_area: least share of an image in a crop.
        mix: share of the crops that are mixed with another.
        lr: after `warmup` steps, until the last `cooldown` (a share) of them: a line down to 0.
        slot_lr: factor of `lr` for the slot scales, which do not decay.
        clip: greatest norm of the gradient that AdamW sees.
        ema: decay of the averaged weights, which are what counts in the end.
        kl, dense, features, slots: weights of the losses; `features` by stride. `dense` is the KL
            of the answers at every location of stride 32: features are not learnt by heart, whole
            answers are, and 25 answers a crop are harder to learn so than one.
        temperature: of the soft labels.
        bf16: student under bf16 autocast, teacher in bf16.
        check_every, save_every: steps between measurements on held images, and checkpoints.
        out: folder of the run.
        init: weights to start from (safetensors in the released naming), or nothing.
    """

    model: str = "glnet_nano"
    model_args: dict[str, Any] = field(default_factory=dict)
    slot_scale: float = 8.0
    teacher: str = "efficientnet_lite0"
    teacher_size: int = 160
    folders: list[str] = field(default_factory=list)
    voc_root: str | None = None
    voc_split: str = "train_aug"
    short_side: int = 160
    held_one_in: int = 25
    sizes: list[list[float]] = field(default_factory=lambda: [[0.6, 128], [0.4, 160]])
    steps: int = 10000
    batch: int = 48
    min_area: float = 0.25
    mix: float = 0.8
    lr: float = 2e-3
    slot_lr: float = 1.0
    warmup: int = 300
    cooldown: float = 0.4
    weight_decay: float = 0.05
    clip: float = 1.0
    ema: float = 0.999
    kl: float = 0.3
    dense: float = 0.0
    features: dict[int, float] = field(default_factory=lambda: {8: 0.5, 16: 1.0, 32: 1.0})
    slots: float = 0.3
    temperature: float = 1.0
    bf16: bool = True
    seed: int = 0
    check_every: int = 500
    save_every: int = 250
    out: str = "runs/distill"
    init: str | None = None

    def size_at(self, step: int) -> int:
        """The student's side at a step."""
        end = 0.0
        for share, size in self.sizes:
            end += share * self.steps
            if step < round(end):
                return int(size)
        return int(self.sizes[-1][1])


def load_recipe(path: Path, overrides: list[str]) -> Recipe:
    """Defaults ← file ← `key=value`; values are YAML.

    Raises:
        WsssError: no such file, an unknown key (the nearest is named), sizes that do not add up.
    """
    try:
        values: dict[str, Any] = yaml.safe_load(path.read_text()) or {}
    except OSError as error:
        raise WsssError(
            f"The recipe {path} cannot be read; give a file such as configs/distill_nano.yaml."
        ) from error
    for item in overrides:
        key, sign, text = item.partition("=")
        if not sign:
            raise WsssError(
                f"{item!r} on the command line is not key=value; write such as steps=1000."
            )
        values[key] = yaml.safe_load(text)
    known = [f.name for f in dataclasses.fields(Recipe)]
    for key in values:
        if key not in known:
            near = difflib.get_close_matches(key, known, 1, 0.0)[0]
            raise WsssError(f"{key!r} is not a key of a recipe ({path}); did you mean {near!r}?")
    recipe = Recipe(**values)
    total = sum(share for share, _ in recipe.sizes)
    if abs(total - 1) > 1e-6:
        raise WsssError(f"The shares in sizes sum to {total:g} ({path}); they must sum to 1.")
    return recipe
