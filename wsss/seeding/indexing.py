"""Indices: given to a device without making the host wait, and found among channels."""

from collections.abc import Sequence

import torch
from torch import Tensor


def index_tensor(values: Sequence[int], device: torch.device) -> Tensor:
    """(len(values),) int64 on a device.

    Indexing by a list, or `torch.tensor(values, device=device)`, copies and waits until the device
    has done all that came before; this copy takes its place in the queue.
    """
    return torch.tensor(values, dtype=torch.long).to(device, non_blocking=True)


def best_channel(values: Tensor) -> Tensor:
    """(C, …) → int64 (…): the channel with the largest value.

    On a CPU `max` takes a quarter of the time of `argmax` along the first dimension.
    """
    return values.max(dim=0).indices
