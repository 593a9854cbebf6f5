"""Batch norms whose statistics are those of a step's whole batch, however many processes share it.

Only so does a training not depend on how many there are.
"""

from typing import Any, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn


def sync_batch_norms(model: nn.Module, device: torch.device) -> None:
    """Turn the batch norms of a model, in place, into ones that all processes compute together."""
    if device.type != "cpu":
        nn.SyncBatchNorm.convert_sync_batchnorm(model)
        return
    for module in model.modules():  # torch's own synchronises on devices alone
        if type(module) is nn.BatchNorm2d:
            module.__class__ = SyncedBatchNorm2d


class SyncedBatchNorm2d(nn.BatchNorm2d):
    """A batch norm over the batches of all processes in training; one like another elsewhere."""

    def forward(self, input: Tensor) -> Tensor:
        """(B, C, H, W) → the same."""
        if not self.training:
            return super().forward(input)
        x = input if input.dtype == torch.float64 else input.float()
        size = x.new_full((1,), x.numel() / x.shape[1])
        sums = _sum_of_all(torch.cat([x.sum((0, 2, 3)), size]))
        mean, count = sums[:-1] / sums[-1], sums[-1]
        centred = x - mean[:, None, None]
        var = _sum_of_all(centred.square().sum((0, 2, 3))) / count
        self._remember(mean.detach(), (var * count / (count - 1).clamp_min(1)).detach())
        scale = self.weight * (var + self.eps).rsqrt()
        found = centred * scale[:, None, None] + self.bias[:, None, None]
        return found.to(input.dtype)

    @torch.no_grad()
    def _remember(self, mean: Tensor, var: Tensor) -> None:
        assert self.running_mean is not None and self.running_var is not None
        assert self.num_batches_tracked is not None and self.momentum is not None
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(var, self.momentum)
        self.num_batches_tracked.add_(1)


class _Sum(torch.autograd.Function):
    """The sum over all processes; each one's gradient flows to all."""

    @staticmethod
    def forward(ctx: Any, value: Tensor) -> Tensor:
        total = value.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        total = gradients[0].clone()
        dist.all_reduce(total)
        return total


def _sum_of_all(value: Tensor) -> Tensor:
    return cast(Tensor, _Sum.apply(value))
