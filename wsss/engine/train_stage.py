"""The training of a stage: its settings handed to the loop, the result to its folder."""

import copy
import math
import sys
from dataclasses import replace
from typing import Any, cast, get_args

import torch
from torch import nn
from torch.utils.data import Dataset

from wsss.config import OptimConfig
from wsss.data.skip_damaged import SkipDamaged
from wsss.engine.allocator import give_back
from wsss.engine.checkpoint import save_model
from wsss.engine.loop import Collate, LossFunction, check_batch, train
from wsss.engine.parameter_groups import freeze, parameter_groups, to_training
from wsss.engine.precision import Precision, choose
from wsss.engine.runtime import Runtime
from wsss.engine.schedule import Schedule, schedule_of
from wsss.engine.stage_work import begin
from wsss.errors import WsssError, first_line
from wsss.run.state import Work

FEW = 200
"""Below this many steps a warning is printed."""


def train_stage(
    work: Work,
    runtime: Runtime,
    model: nn.Module,
    backbone: nn.Module,
    backbone_rate: float,
    dataset: Dataset[Any],
    loss_function: LossFunction,
) -> nn.Module:
    """Begin a stage and train it by its settings: `loop.train` with the files of its run.

    Args:
        work: the stage; names the section of the config and the folder.
        runtime: device, processes, precision.
        model: on the runtime's device; trained in place.
        backbone: the part of it that was pretrained.
        backbone_rate: its learning rate over that of the rest; 0 leaves it as it is.
        dataset: map-style with a length, keyed by (epoch, index).
        loss_function: see `loop.train`.

    Returns:
        The trained model, in eval mode.
    """
    settings: OptimConfig = getattr(work.config, work.stage)
    title = _title(work)
    images = len(dataset)  # type: ignore[arg-type]
    schedule = schedule_of(settings, images)
    check_batch(schedule, runtime, title)
    if backbone_rate == 0:
        freeze(backbone)
    _check_shapes(model, settings, runtime, title)
    warning = few_steps(work.stage, settings, images)
    if warning and runtime.is_main:
        print(warning, file=sys.stderr)
    groups = parameter_groups(model, backbone, settings.lr, backbone_rate, settings.weight_decay)
    asked = work.config.backbone.grad_checkpointing and backbone_rate > 0
    if asked and not compute_again(backbone) and runtime.is_main:
        print(
            f"{title}: this backbone can't compute activations again, and takes its memory in "
            "spite of backbone.grad_checkpointing=true",
            file=sys.stderr,
        )
    runtime = _in_its_precision(work, runtime, title)
    begin_training(work, runtime)
    return fit(work, runtime, model, groups, dataset, loss_function, schedule)


def compute_again(backbone: nn.Module) -> bool:
    """Have activations computed again in the backward pass; whether the backbone can do so."""
    try:
        cast(Any, backbone).set_grad_checkpointing()
    except (AttributeError, AssertionError):  # of timm's models some refuse
        return False
    return True


def begin_training(work: Work, runtime: Runtime) -> None:
    """Begin a stage, and note the precision and the threads that it trains in."""
    computed = {"precision": runtime.precision, "threads": torch.get_num_threads()}
    begin(runtime.team, work, computed=computed)


def fit(
    work: Work,
    runtime: Runtime,
    model: nn.Module,
    groups: list[dict[str, Any]],
    dataset: Dataset[Any],
    loss_function: LossFunction,
    schedule: Schedule,
    collate: Collate | None = None,
) -> nn.Module:
    """Train a stage that is begun, or go on with it: `loop.train` with the files of its run."""
    config, run, stage = work.config, work.run, work.stage
    trained = train(
        runtime,
        model,
        groups,
        SkipDamaged(dataset) if config.data.skip_damaged else dataset,
        loss_function,
        schedule,
        title=_title(work),
        seed=config.seed,
        checkpoint=run.checkpoint(stage),
        log=run.log(stage),
        save_every=config.runtime.save_every,
        tensorboard=run.stage(stage) if config.runtime.tensorboard else None,
        collate=collate,
    )
    give_back()  # the next stage takes other blocks
    return trained


def _title(work: Work) -> str:
    return work.stage.replace("_", "-")


def _in_its_precision(work: Work, runtime: Runtime, title: str) -> Runtime:
    """The runtime in the precision that a training goes on in, which is said if unexpected."""
    goes_on = work.run.checkpoint(work.stage).is_file() and not work.overwrite
    noted = work.run.computed_with(work.stage).get("precision") if goes_on else None
    begun = noted if noted in get_args(Precision) else None
    choice = choose(work.config.runtime.precision, runtime.hardware, begun)
    if choice.remark and runtime.is_main:
        print(f"{title} {choice.remark}", file=sys.stderr)
    return replace(runtime, precision=choice.precision)


def _check_shapes(model: nn.Module, settings: OptimConfig, runtime: Runtime, title: str) -> None:
    """Refuse batches that a network can't train on, such as one value for a batch norm.

    The network is run on shapes alone, without data.
    """
    images = max(1, settings.batch_size // runtime.team.world // settings.accumulate)
    crop = getattr(settings, "crop", 0)
    try:
        probe = to_training(copy.deepcopy(model).to("meta"))
        probe(torch.zeros(images, 3, crop, crop, device="meta"))
    except ValueError as error:
        raise WsssError(
            f"{title}: this network doesn't train on {images} images of {crop}×{crop} at once "
            f"({first_line(error)}): raise batch_size or crop, or lower accumulate."
        ) from None
    except (RuntimeError, NotImplementedError):  # what can't be run on shapes alone
        return


def few_steps(stage: str, settings: OptimConfig, images: int) -> str | None:
    """The warning about a training of few steps; None where there are enough."""
    steps = schedule_of(settings, images).steps
    if steps >= FEW:
        return None
    enough = math.ceil(FEW * settings.batch_size / max(1, images))
    return (
        f"{stage.replace('_', '-')} has only {steps} steps ({images} images, batches of "
        f"{settings.batch_size}, {settings.epochs:g} epochs), too few to learn much: "
        f"{stage}.epochs={enough} would give {FEW}."
    )


def deliver(
    work: Work, model: nn.Module, metadata: dict[str, Any], summary: dict[str, Any]
) -> None:
    """Write the weights, mark the stage finished, and only then drop its checkpoint."""
    save_model(work.run.model(work.stage), model, metadata)
    work.finish(summary)
    work.run.checkpoint(work.stage).unlink(missing_ok=True)
