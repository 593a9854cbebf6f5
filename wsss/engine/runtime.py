"""Where a run computes: device, processes, threads, precision, seeds.

The only module that reads environment variables and names a device, but for `environment`, which
sets one before torch is imported.
"""

import atexit
import os
import random
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
import torch
import torch.distributed as dist

from glmix.cpu import capability
from wsss.config import RuntimeConfig
from wsss.engine.allocator import keep_freed_memory
from wsss.engine.precision import Hardware, Precision, choose
from wsss.errors import WsssError, first_line


@dataclass(frozen=True)
class Runtime:
    """What `start` chose.

    Attributes:
        device: where the tensors live.
        rank: index of this process among `world`, from 0.
        world: processes that train together.
        workers: processes that load images.
        precision: that networks train in.
        hardware: what it was chosen by.
        compile: whether networks are compiled to train.
    """

    device: torch.device
    rank: int = 0
    world: int = 1
    workers: int = 0
    precision: Precision = "fp32"
    hardware: Hardware = field(default_factory=Hardware)
    compile: bool = False

    @property
    def is_main(self) -> bool:
        """Whether this process writes files."""
        return self.rank == 0

    @property
    def fused(self) -> bool:
        """Whether AdamW has a kernel that takes all of its steps at once here."""
        return self.device.type in ("cpu", "cuda")

    def autocast(self) -> AbstractContextManager[Any]:
        """The precision that networks train in."""
        if self.precision == "fp32":
            return nullcontext()
        return torch.autocast(self.device.type, dtype=_DTYPES[self.precision])


_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


def start(settings: RuntimeConfig, seed: int) -> Runtime:
    """Choose the device, seed every generator, join the other processes that torchrun started.

    Args:
        settings: of the config. Device `auto` takes a GPU where there is one; threads None leaves
            OMP_NUM_THREADS or torch's choice; workers None takes up to 8 beside a GPU, none on a
            CPU, where they would take the cores that train. Precision as `choose` has it; on a GPU
            products outside of it are in TF32, unless `fp32` is asked for.
        seed: of Python, NumPy and torch.

    Raises:
        WsssError: the device doesn't exist here, or doesn't train in the precision.
    """
    if settings.threads is not None:
        torch.set_num_threads(settings.threads)
    # OpenCV starts threads of its own, which would take the cores from torch
    cv2.setNumThreads(1)
    if settings.deterministic:
        _deterministic()
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)
    rank, world = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    chosen = _device(settings.device, int(os.environ.get("LOCAL_RANK", 0)))
    if chosen.type == "cpu":
        keep_freed_memory()
    if chosen.type == "cuda" and world > 1:
        torch.cuda.set_device(chosen)  # where NCCL's barriers run, or all of them take the first
    if world > 1 and not dist.is_initialized():
        dist.init_process_group("nccl" if chosen.type == "cuda" else "gloo")
        atexit.register(_leave_the_others)
    workers = settings.workers
    if workers is None:
        workers = 0 if chosen.type == "cpu" else min(8, os.cpu_count() or 1)
    if chosen.type == "cuda":
        _allow_tf32(settings.precision != "fp32")
    found = hardware(chosen)
    precision = choose(settings.precision, found).precision
    return Runtime(chosen, rank, world, workers, precision, found, settings.compile)


def hardware(device: torch.device) -> Hardware:
    """What a device computes natively; where it can't be known (Apple's), float32 alone."""
    if device.type == "cpu":
        return Hardware(bfloat16=capability().native_bfloat16)
    if device.type == "cuda":
        return Hardware(torch.cuda.get_device_capability(device) >= (8, 0), float16=True)
    return Hardware()


def _deterministic() -> None:
    """The same bits in every run on one machine; what has no such way on a GPU is warned of."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read by the first product
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.backends.cudnn.benchmark = False


def _leave_the_others() -> None:
    if dist.is_initialized():
        dist.destroy_process_group()


def _allow_tf32(allowed: bool) -> None:
    """Products of float32 with mantissas of 10 bits, on GPUs that have them."""
    torch.backends.cuda.matmul.allow_tf32 = allowed
    torch.backends.cudnn.allow_tf32 = allowed


def require_one_process() -> None:
    """Refuse what torchrun can't share out.

    Raises:
        WsssError: this is one of several processes.
    """
    if int(os.environ.get("WORLD_SIZE", 1)) > 1:
        raise WsssError(
            "Two or more processes were started for the whole pipeline, which takes one: start "
            "train-cls and train-seg with torchrun and the other stages without."
        )


def _device(name: str, local_rank: int) -> torch.device:
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda", local_rank)
        return torch.device("cpu")
    try:
        device = torch.device("cuda", local_rank) if name == "cuda" else torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise WsssError(
            f"Device {name!r} can't be used here ({first_line(error)}): use runtime.device=auto "
            "or cpu."
        ) from None
    return device
