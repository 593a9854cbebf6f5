"""Processes of a team within a test: forked, so that none imports torch again."""

import multiprocessing
import socket
import traceback
from collections.abc import Callable
from datetime import timedelta
from multiprocessing.queues import SimpleQueue
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from wsss.engine.team import Links, Team


def in_team(world: int, folder: Path, call: Callable[[Team], Any]) -> list[Any]:
    """What each process returns, in the order of ranks; the text of what it raised."""
    context = multiprocessing.get_context("fork")
    answers: SimpleQueue[tuple[int, Any]] = context.SimpleQueue()
    processes = [
        context.Process(target=_work, args=(rank, world, folder / "store", call, answers))
        for rank in range(world)
    ]
    for process in processes:
        process.start()
    found = dict(answers.get() for _ in processes)
    for process in processes:
        process.join()
    return [found[rank] for rank in range(world)]


def _work(
    rank: int,
    world: int,
    path: Path,
    call: Callable[[Team], Any],
    answers: "SimpleQueue[tuple[int, Any]]",
) -> None:
    try:
        torch.set_num_threads(1)
        store = dist.FileStore(str(path), world)
        dist.init_process_group("gloo", store=store, rank=rank, world_size=world)
        group = dist.new_group(backend="gloo", timeout=timedelta(seconds=60))
        answers.put((rank, call(Team(rank, world, Links(group, store)))))  # type: ignore[arg-type]
    except SystemExit as error:
        answers.put((rank, error.code))
    except Exception:
        answers.put((rank, traceback.format_exc()))


def free_port() -> int:
    """A port of this machine that nothing listens at."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
