"""Indices that a device is given without making the host wait."""

from collections.abc import Sequence

import torch
from torch import Tensor


def index_tensor(values: Sequence[int], device: torch.device) -> Tensor:
    """(len(values),) int64 on a device.

    Indexing by a list, or `torch.tensor(values, device=device)`, copies and waits until the device
    has done all that came before; this copy takes its place in the queue.
    """
    return torch.tensor(values, dtype=torch.long).to(device, non_blocking=True)
