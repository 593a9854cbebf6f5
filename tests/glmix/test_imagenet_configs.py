"""The ImageNet recipes: the paper's figures, in words that timm understands, and they train.

timm's train.py is not in its wheel. What it makes of a config is made here of timm's own pieces:
optimiser, schedule, augmentation, mixup, repeated augmentation, gradient clipping, moving average.
"""

import subprocess
import sys
from argparse import Namespace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
import yaml
from PIL import Image
from timm.data import Mixup, create_dataset, create_transform
from timm.data.distributed_sampler import RepeatAugSampler
from timm.loss import SoftTargetCrossEntropy
from timm.optim import create_optimizer_v2, optimizer_kwargs
from timm.scheduler import create_scheduler_v2, scheduler_kwargs
from timm.utils import ModelEmaV3, dispatch_clip_grad, random_seed

import glmix  # noqa: F401  registers the models

FOLDER = Path(__file__).parents[2] / "configs" / "imagenet"
DROP_PATH = {
    "glnet_stl": 0.1,
    "glnet_4g": 0.15,
    "glnet_9g": 0.3,
    "glnet_16g": 0.4,
    "glnet_4g_tklb": 0.1,
    "glnet_9g_tklb": 0.1,
}


# what train.py takes where a config is silent
DEFAULTS = {"momentum": 0.9, "decay_milestones": [90, 180, 270], "warmup_prefix": False}


def recipe(name: str) -> Namespace:
    return Namespace(**DEFAULTS, **yaml.safe_load((FOLDER / f"{name}.yaml").read_text()))


def test_every_recipe_has_a_test() -> None:
    assert {path.stem for path in FOLDER.glob("*.yaml")} == set(DROP_PATH)


@pytest.mark.parametrize("name", sorted(DROP_PATH))
def test_figures_are_the_papers(name: str) -> None:
    cfg = recipe(name)
    assert (cfg.model, cfg.epochs) == (name, 310 if "tklb" in name else 300)
    assert cfg.batch_size * 8 == 2048
    assert (cfg.opt, cfg.lr, cfg.weight_decay, cfg.clip_grad) == ("adamw", 2e-3, 0.05, 5.0)
    assert (cfg.warmup_epochs, cfg.min_lr, cfg.model_ema_decay) == (5, 1e-5, 0.9999)
    assert (cfg.aa, cfg.aug_repeats) == ("rand-m9-mstd0.5", 3)
    assert (cfg.mixup, cfg.cutmix, cfg.smoothing, cfg.reprob) == (0.8, 1.0, 0.1, 0.25)
    assert cfg.drop_path == DROP_PATH[name]


# timm's folder reader leaves the files that it read open
@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(DROP_PATH))
def test_a_recipe_trains_a_few_steps_on_a_tiny_folder(name: str, tmp_path: Path) -> None:
    cfg = recipe(name)
    rng = np.random.default_rng(0)
    for label, tone in (("dark", 0), ("light", 128)):
        (tmp_path / "train" / label).mkdir(parents=True)
        for i in range(4):
            pixels = tone + rng.integers(0, 128, (80, 90, 3), np.uint8)
            Image.fromarray(pixels).save(tmp_path / "train" / label / f"{i}.png")
    losses, model, average = train(cfg, tmp_path, steps=3)
    assert np.isfinite(losses).all()
    # stochastic depth may have left a block out of every step
    moved = [not torch.equal(a, b) for a, b in zip(*map(values, (model, average)), strict=True)]
    assert np.mean(moved) > 0.8


def values(model: Any) -> list[torch.Tensor]:
    return [p.detach() for p in model.parameters() if p.numel() > 1]


def train(cfg: Namespace, root: Path, steps: int) -> tuple[list[float], Any, Any]:
    random_seed(cfg.seed)
    model = timm.create_model(
        cfg.model, num_classes=2, drop_path_rate=cfg.drop_path, depths=(1, 1, 2, 1)
    )
    optimiser = create_optimizer_v2(model, **optimizer_kwargs(cfg))
    schedule, epochs = create_scheduler_v2(
        optimiser, **scheduler_kwargs(cfg), updates_per_epoch=steps
    )
    assert epochs == cfg.epochs
    dataset = create_dataset("", root=root, split="train")
    dataset.transform = create_transform(
        96,
        is_training=True,
        auto_augment=cfg.aa,
        interpolation=cfg.train_interpolation,
        re_prob=cfg.reprob,
        re_mode=cfg.remode,
    )
    sampler = RepeatAugSampler(dataset, 1, 0, num_repeats=cfg.aug_repeats)
    loader = torch.utils.data.DataLoader(dataset, 4, sampler=sampler, drop_last=True)
    mix = Mixup(cfg.mixup, cfg.cutmix, label_smoothing=cfg.smoothing, num_classes=2)
    average = ModelEmaV3(model, decay=cfg.model_ema_decay)
    losses = []
    for step in range(steps):
        schedule.step(cfg.warmup_epochs + step)
        image, target = mix(*next(iter(loader)))
        loss = SoftTargetCrossEntropy()(model(image), target)
        optimiser.zero_grad()
        loss.backward()
        dispatch_clip_grad(model.parameters(), cfg.clip_grad, mode=cfg.clip_mode)
        optimiser.step()
        average.update(model)
        losses.append(loss.item())
    return losses, model, average.module


@pytest.mark.slow
def test_scripts_of_timm_find_the_glnets(tmp_path: Path) -> None:
    script = tmp_path / "train.py"
    script.write_text("import sys, timm; print(timm.is_model('glnet_4g'), sys.argv[1:])")
    command = [sys.executable, str(FOLDER / "with_glmix.py"), str(script), "--config", "x.yaml"]
    out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert out.strip() == "True ['--config', 'x.yaml']"
