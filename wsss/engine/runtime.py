"""Where a run computes: device, processes, threads, precision, seeds.

The only module that reads environment variables and names a device, but for `environment`, which
sets one before torch is imported.
"""

import atexit
import os
import random
import re
import sys
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cache
from typing import Any, cast

import cv2
import numpy as np
import torch
import torch.distributed as dist
from torch.distributed.rendezvous import rendezvous

from glmix.cpu import capability
from wsss.config import RuntimeConfig
from wsss.engine.allocator import keep_freed_memory
from wsss.engine.cores import free_cores, look
from wsss.engine.environment import first_look
from wsss.engine.precision import Hardware, Precision, choose
from wsss.engine.team import ALONE, Links, Team, agree
from wsss.errors import WsssError, first_line


@dataclass(frozen=True)
class Runtime:
    """What `start` chose.

    Attributes:
        device: where the tensors live.
        team: the processes that work together.
        workers: processes that load images.
        precision: that networks train in.
        hardware: what it was chosen by.
        compile: whether networks are compiled to train.
    """

    device: torch.device
    team: Team = ALONE
    workers: int = 0
    precision: Precision = "fp32"
    hardware: Hardware = field(default_factory=Hardware)
    compile: bool = False

    @property
    def is_main(self) -> bool:
        """Whether this process writes files."""
        return self.team.is_main

    @property
    def on_gpu(self) -> bool:
        """Whether a GPU computes, in a queue of its own."""
        return self.device.type == "cuda"

    @property
    def fused(self) -> bool:
        """Whether AdamW has a kernel that takes all of its steps at once here."""
        return self.device.type in ("cpu", "cuda")

    def autocast(self) -> AbstractContextManager[Any]:
        """The precision that networks train in."""
        if self.precision == "fp32":
            return nullcontext()
        return torch.autocast(self.device.type, dtype=_DTYPES[self.precision])


# of compute capability 7.5; GTX 16 is also known for convolutions in float16 that give NaN
_NO_TENSOR_CORES = re.compile(r"GTX 16|\bMX\d|\bT\d{3,4}\b")
_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")
_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


def start(settings: RuntimeConfig, seed: int) -> Runtime:
    """Choose the device, seed every generator, join the other processes.

    Args:
        settings: of the config. Device `auto` takes a GPU where there is one; threads None leaves
            OMP_NUM_THREADS, else takes the cores that are free; workers None takes up to 8 beside
            a GPU, none on a CPU, where they would take the cores that train. Precision as `choose`
            has it; on a GPU products outside of it are in TF32, unless `fp32` is asked for.
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
    team = join()
    chosen = _device(settings.device, int(os.environ.get("LOCAL_RANK", 0)))
    if chosen.type == "cpu":
        keep_freed_memory()
        if settings.threads is None and not any(name in os.environ for name in _THREADS):
            _leave_busy_cores()
    if chosen.type == "cuda" and chosen.index:
        torch.cuda.set_device(chosen)  # or NCCL, and events that time its queue, take the first
    workers = settings.workers
    if workers is None:
        workers = 0 if chosen.type == "cpu" else min(8, os.cpu_count() or 1)
    if chosen.type == "cuda":
        allowed = settings.precision != "fp32"
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = allowed
        # cuDNN's attention is generated anew for every number of tokens: images have many sizes
        torch.backends.cuda.enable_cudnn_sdp(False)
    found = hardware(chosen)
    precision = choose(settings.precision, found).precision
    return Runtime(chosen, team, workers, precision, found, settings.compile)


@cache
def _leave_busy_cores() -> None:
    """Compute on no more threads than cores are free, decided when this process first computes.

    Threads wait for each other many times a step: one on a busy core holds all of them up.
    """
    free, threads = free_cores(first_look(), look()), torch.get_num_threads()
    if free < threads:
        torch.set_num_threads(free)
        print(
            f"other work keeps cores busy, or a limit is set: computing on {free} of {threads} "
            f"threads (runtime.threads={threads} takes all)",
            file=sys.stderr,
        )


def join() -> Team:
    """The processes that torchrun started, which meet here the first time; or this one alone."""
    return _meet() if int(os.environ.get("WORLD_SIZE", 1)) > 1 else ALONE


@cache
def _meet() -> Team:
    meeting, rank, world = next(rendezvous("env://"))
    store = cast(Any, dist).PrefixStore(agree(meeting, rank, world), meeting)
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    dist.init_process_group(backend, store=store, rank=rank, world_size=world)
    atexit.register(_leave_the_others)
    # one process may check 100,000 images while the others wait
    group = dist.new_group(backend="gloo", timeout=timedelta(days=7))
    return Team(rank, world, Links(cast(dist.ProcessGroup, group), store))


def _leave_the_others() -> None:
    if dist.is_initialized():
        dist.destroy_process_group()


def hardware(device: torch.device) -> Hardware:
    """What a device computes natively; where it can't be known (Apple's), float32 alone."""
    if device.type == "cpu":
        return Hardware(bfloat16=capability().native_bfloat16)
    if device.type == "cuda":
        version = torch.cuda.get_device_capability(device)
        plain = _NO_TENSOR_CORES.search(torch.cuda.get_device_name(device))
        return Hardware(version >= (8, 0), True, version >= (7, 0) and not plain)
    return Hardware()


def _deterministic() -> None:
    """The same bits in every run on one machine; what has no such way on a GPU is warned of."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read by the first product
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.backends.cudnn.benchmark = False


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
