"""The training of `distill.py`: state, one step, checkpoints, measurement on held images."""

import copy
import dataclasses
import os
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import timm
import torch
import torch.nn.functional as F
from distill_config import Recipe
from distill_teachers import STRIDES, Teacher
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

import glmix  # noqa: F401  (registers the models)
from glmix.distillation import (
    FeatureProjections,
    feature_loss,
    on_grid,
    principal_head,
    slot_entropy,
    slot_reconstruction_loss,
    soft_label_loss,
    standardise,
)
from wsss.engine.checkpoint import write_weights
from wsss.errors import WsssError


class FloatAttention(TorchFunctionMode):
    """Attention in float32 under autocast.

    On a CPU the backward pass of torch's fused attention takes five times as long in bfloat16 as in
    float32 (169 and 31 ms per step of 48 crops of 128², glnet_nano, torch 2.14, one thread).
    """

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        if func is F.scaled_dot_product_attention and args[0].dtype == torch.bfloat16:
            with torch.autocast("cpu", enabled=False):
                return func(*(a.float() for a in args), **(kwargs or {})).to(args[0].dtype)
        return func(*args, **(kwargs or {}))


class Optimizers:
    """Muon for the matrices inside the network, AdamW for all else: head, vectors, filters, scales.

    Muon (Jordan et al., 2024) takes the orthogonal part of a matrix's momentum as its step. Here it
    learns about twice as fast as AdamW a step, for a tenth more time (configs/distill_nano.yaml).
    1×1 convolutions are matrices, too: torch's Muon takes only what has two axes, so it gets views.
    """

    def __init__(self, recipe: Recipe, student: nn.Module, projections: nn.Module) -> None:
        own = {id(p) for p in student.get_classifier().parameters()}
        inner, scales, vectors, others = [], [], [], list(projections.parameters())
        for name, p in student.named_parameters():
            if name.endswith("slot_scale"):
                scales.append(p)
            elif p.ndim < 2:
                vectors.append(p)
            elif id(p) in own or min(p.shape[0], p[0].numel()) < 16 or p.shape[1] == 1:
                others.append(p)
            else:
                inner.append(p)
        self.inner = [(p, _matrix(p)) for p in inner]
        self.adamw = torch.optim.AdamW(
            [
                {"params": others, "weight_decay": recipe.weight_decay, "factor": 1.0},
                {"params": vectors, "weight_decay": 0.0, "factor": 1.0},
                {"params": scales, "weight_decay": 0.0, "factor": recipe.slot_lr},
            ]
        )
        self.muon = torch.optim.Muon(
            [matrix for _, matrix in self.inner],
            weight_decay=recipe.weight_decay,
            adjust_lr_fn="match_rms_adamw",
        )

    def step(self, lr: float, clip: float) -> None:
        """One update from the gradients there are; `clip` bounds the norm of AdamW's part."""
        for group in self.adamw.param_groups:
            group["lr"] = lr * group["factor"]
        self.muon.param_groups[0]["lr"] = lr
        theirs = [p for group in self.adamw.param_groups for p in group["params"]]
        nn.utils.clip_grad_norm_(theirs, clip)
        for p, matrix in self.inner:
            matrix.grad = None if p.grad is None else _rows(p.grad)
        self.adamw.step()
        self.muon.step()
        for p in [*theirs, *(p for p, _ in self.inner)]:
            p.grad = None

    def state_dict(self) -> dict[str, Any]:
        """Both optimizers'."""
        return {"adamw": self.adamw.state_dict(), "muon": self.muon.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """What `state_dict` gave."""
        self.adamw.load_state_dict(state["adamw"])
        self.muon.load_state_dict(state["muon"])


def _rows(x: Tensor) -> Tensor:
    """(out, in, h, w) as (out, h·w·in), in the order of channels-last memory."""
    return x if x.ndim == 2 else x.permute(0, 2, 3, 1).reshape(x.shape[0], -1)


def _matrix(p: nn.Parameter) -> nn.Parameter:
    """A parameter as a matrix that shares its memory."""
    matrix = nn.Parameter(_rows(p.detach()).contiguous())
    if p.ndim == 2:
        p.data = matrix.data
    else:
        out, inputs, h, w = p.shape
        p.data = matrix.data.view(out, h, w, inputs).permute(0, 3, 1, 2)
    return matrix


@dataclass
class State:
    """All that a resumed run needs."""

    recipe: Recipe
    student: nn.Module
    averaged: nn.Module
    projections: FeatureProjections
    optimizer: Optimizers
    step: int = 0


def start(recipe: Recipe, teacher: Teacher) -> State:
    """A fresh state, or the one of the last checkpoint in `recipe.out`; beside the teacher."""
    torch.manual_seed(recipe.seed)
    device = next(teacher.parameters()).device
    student = timm.create_model(
        recipe.model,
        num_classes=teacher.num_classes,
        slot_scale=recipe.slot_scale,
        **recipe.model_args,
    ).to(device, memory_format=torch.channels_last)
    if recipe.init:
        student.load_state_dict({k: v.float() for k, v in load_file(recipe.init).items()})
    dims = {info["reduction"]: info["num_chs"] for info in student.feature_info}
    teacher_dims = dict(zip(STRIDES, teacher.dims, strict=True))
    projections = FeatureProjections(
        [dims[s] for s in recipe.features], [teacher_dims[s] for s in recipe.features]
    ).to(device)
    optimizer = Optimizers(recipe, student, projections)
    averaged = copy.deepcopy(student).eval().requires_grad_(False)
    state = State(recipe, student, averaged, projections, optimizer)
    path = Path(recipe.out) / "last.pt"
    if path.exists():
        _restore(state, path)
    return state


@torch.no_grad()
def set_head(state: State, teacher_logits: Tensor) -> None:
    """Start the head at the teacher's mean answer and the directions in which its answers vary.

    Args:
        state: of a run that begins.
        teacher_logits: (n, classes).
    """
    head = state.student.get_classifier()
    weight, bias = principal_head(teacher_logits, head.in_features)
    for model in (state.student, state.averaged):
        model.get_classifier().weight.copy_(weight)
        model.get_classifier().bias.copy_(bias)


def learning_rate(recipe: Recipe, step: int) -> float:
    """Linear warm-up, a plateau, and a line down to 0 over the last `cooldown` of the steps.

    On the plateau nothing depends on `steps`: a run may be made longer or brought to its end early.
    """
    left = (recipe.steps - step) / max(1.0, recipe.cooldown * recipe.steps)
    return recipe.lr * min(1.0, (step + 1) / max(1, recipe.warmup), max(0.0, left))


def resize(images: Tensor, size: int) -> Tensor:
    """(B, 3, S, S) in 0–1 → (B, 3, size, size) in 0–1, antialiased."""
    if images.shape[-1] == size:
        return images
    out = F.interpolate(images, (size, size), mode="bilinear", antialias=True, align_corners=False)
    return out.clamp(0, 1)


def normalise(images: Tensor, model: nn.Module) -> Tensor:
    """RGB in 0–1 → the student's input, channels last."""
    cfg = model.pretrained_cfg
    mean, std = (
        torch.tensor(cfg["mean"], device=images.device).view(1, 3, 1, 1),
        torch.tensor(cfg["std"], device=images.device).view(1, 3, 1, 1),
    )
    return ((images - mean) / std).contiguous(memory_format=torch.channels_last)


@dataclass
class Lesson:
    """A batch and what the teacher says of it.

    Attributes:
        images: (B, 3, S, S), RGB in 0–1, at the student's size.
        logits: (B, classes), the teacher's.
        targets: stride → (B, D, h, w), the teacher's features, standardised.
        locations: (B, classes, h, w), its logits at stride 32, if the recipe learns from them.
    """

    images: Tensor
    logits: Tensor
    targets: dict[int, Tensor]
    locations: Tensor | None = None


@torch.no_grad()
def lesson(teacher: Teacher, images: Tensor, size: int, locations: bool = False) -> Lesson:
    """Ask the teacher about crops (B, 3, T, T) in 0–1 at its own size; `size` is the student's."""
    answer = teacher(images, locations)
    targets = dict(zip(STRIDES, map(standardise, answer.features), strict=True))
    return Lesson(resize(images, size), answer.logits, targets, answer.locations)


def losses(state: State, batch: Lesson) -> dict[str, Tensor]:
    """The unweighted losses of a batch: `kl`, `features.<stride>`, `dense`, `slots`."""
    recipe, student, kind = state.recipe, state.student, batch.images.device.type
    attention = FloatAttention() if kind == "cpu" else nullcontext()
    with torch.autocast(kind, torch.bfloat16, enabled=recipe.bf16), attention:
        features, assignments = student.forward_slots(normalise(batch.images, student))
        last = student.norm(features[-1])
        logits = student.forward_head(last)
        by_stride = dict(zip(STRIDES, features, strict=True))
        projected = state.projections([by_stride[s] for s in recipe.features])
    found = {"kl": soft_label_loss(logits, batch.logits, recipe.temperature)}
    for stride, x in zip(recipe.features, projected, strict=True):
        found[f"features.{stride}"] = feature_loss(x, batch.targets[stride])
    if batch.locations is not None:
        with torch.autocast(kind, torch.bfloat16, enabled=recipe.bf16):
            mine = student.get_classifier()(last.permute(0, 2, 3, 1))
        theirs = on_grid(batch.locations, last.shape[-2:]).permute(0, 2, 3, 1)
        found["dense"] = soft_label_loss(
            mine.flatten(0, 2), theirs.flatten(0, 2), recipe.temperature
        )
    if recipe.slots:
        with torch.autocast(kind, torch.bfloat16, enabled=recipe.bf16):
            found["slots"] = slot_reconstruction_loss(assignments, slot_targets(batch.targets))
    return found


def slot_targets(targets: dict[int, Tensor]) -> dict[int, Tensor]:
    """What slots should keep: the teacher's features at their own stride and the next coarser.

    The finer features alone are colours and edges; the coarser ones tell objects apart.
    """
    joined = {}
    for fine, coarse in pairwise(STRIDES):
        h, w = targets[fine].shape[-2:]
        joined[fine] = torch.cat([targets[fine], on_grid(targets[coarse], (h, w))], dim=1)
    return joined


def train_step(state: State, batch: Lesson) -> dict[str, float]:
    """One update of student and average; the losses, unweighted."""
    recipe = state.recipe
    state.student.train()
    found = losses(state, batch)
    weights = {"kl": recipe.kl, "dense": recipe.dense, "slots": recipe.slots}
    weights |= {f"features.{s}": w for s, w in recipe.features.items()}
    total = torch.stack([weights[name] * value for name, value in found.items()]).sum()
    if not torch.isfinite(total):
        raise WsssError(
            f"The loss is {total.item()} at step {state.step}; lower lr (now {recipe.lr})."
        )
    total.backward()
    state.optimizer.step(learning_rate(recipe, state.step), recipe.clip)
    state.step += 1
    _average(state)
    return {name: float(value.detach()) for name, value in found.items()}


@torch.no_grad()
def _average(state: State) -> None:
    """Exponential average of weights and running statistics, quicker at the start."""
    decay = min(state.recipe.ema, (1 + state.step) / (10 + state.step))
    mine, now = state.averaged.state_dict(), state.student.state_dict()
    floats = [k for k, v in now.items() if v.is_floating_point()]
    torch._foreach_lerp_([mine[k] for k in floats], [now[k] for k in floats], 1 - decay)
    for k in now.keys() - set(floats):
        mine[k].copy_(now[k])


@torch.no_grad()
def answers(model: nn.Module, images: Tensor, size: int, chunk: int = 64) -> Tensor:
    """Logits (n, classes) of a model in evaluation, images (n, 3, S, S) seen at `size`."""
    model.eval()
    return torch.cat(
        [model(normalise(resize(x, size), model)).float() for x in images.split(chunk)]
    )


def agreement(logits: Tensor, teacher_logits: Tensor) -> dict[str, float]:
    """Shares of images with the teacher's first class as first and among the first five; KL."""
    first = teacher_logits.argmax(dim=1, keepdim=True)
    hits = logits.topk(min(5, logits.shape[1]), dim=1).indices == first
    return {
        "top1": float(hits[:, :1].any(1).float().mean()),
        "top5": float(hits.any(1).float().mean()),
        "kl": float(soft_label_loss(logits, teacher_logits)),
    }


@torch.no_grad()
def slot_table(model: nn.Module, images: Tensor, size: int) -> dict[str, dict[str, float]]:
    """By block (`stride.index`): learnt scale, entropy of dispatching (1 is uniform)."""
    model.eval()
    _, assignments = model.forward_slots(normalise(resize(images, size), model))
    blocks = [b for stage in model.stages for b in stage.blocks if hasattr(b, "slot_scale")]
    return {
        a.name: {"scale": float(b.slot_scale), "entropy": slot_entropy(a.logits)}
        for a, b in zip(assignments, blocks, strict=True)
    }


def save(state: State) -> Path:
    """Write `last.pt` whole or not at all: a run killed at any moment goes on from a good file."""
    path = Path(state.recipe.out) / "last.pt"
    content = {
        "student": state.student.state_dict(),
        "averaged": state.averaged.state_dict(),
        "projections": state.projections.state_dict(),
        "optimizer": state.optimizer.state_dict(),
        "step": state.step,
        "recipe": dataclasses.asdict(state.recipe),
    }
    partial = path.with_suffix(".partial")
    with partial.open("wb") as file:
        torch.save(content, file)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
    return path


def _restore(state: State, path: Path) -> None:
    content = torch.load(path, map_location="cpu", weights_only=True)
    if content["recipe"]["model"] != state.recipe.model:
        raise WsssError(
            f"{path} holds a run of {content['recipe']['model']}, and the recipe says "
            f"{state.recipe.model}; choose another out=."
        )
    state.student.load_state_dict(content["student"])
    state.averaged.load_state_dict(content["averaged"])
    state.projections.load_state_dict(content["projections"])
    state.optimizer.load_state_dict(content["optimizer"])
    state.step = content["step"]


def export(state: State, path: Path) -> Path:
    """The averaged weights as bf16 safetensors in the released naming."""
    weights = {
        k: (v.to(torch.bfloat16) if v.is_floating_point() else v).contiguous()
        for k, v in state.averaged.state_dict().items()
    }
    write_weights(path, weights, {"model": state.recipe.model, "step": str(state.step)})
    return path
