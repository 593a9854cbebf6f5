"""Losses that teach a GLNet from another classifier's answers on unlabelled images.

Pure functions on tensors, and the 1×1 projections of dense feature matching. B batch, K slots,
N = h·w tokens of a grid, D channels.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from glmix.clustering import SlotAssignment, cluster_weights, dispatch_weights


def soft_label_loss(logits: Tensor, teacher_logits: Tensor, temperature: float = 1.0) -> Tensor:
    """T² · KL(teacher ∥ student) of the softened answers (Hinton et al., 2015), mean over images.

    Args:
        logits: (B, classes), the student's.
        teacher_logits: (B, classes).
        temperature: T > 0 divides both; T² keeps the gradient's size.

    Returns:
        Scalar ≥ 0, in nats · T².
    """
    student = (logits.float() / temperature).log_softmax(dim=1)
    teacher = (teacher_logits.float() / temperature).log_softmax(dim=1)
    loss = F.kl_div(student, teacher, reduction="batchmean", log_target=True)
    return loss * temperature**2


def principal_head(teacher_logits: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    """A linear head whose outputs are likely answers of the teacher before anything is learnt.

    Bias: the mean answer. Weight: the principal directions of the answers, each as long as the
    answers spread along it, turned at random so that every input carries its part of them. Inputs
    of unit variance then give logits distributed like the teacher's, and the gradient that reaches
    the features speaks of classes from the first step.

    Args:
        teacher_logits: (n, classes), of a sample of more than `dim` images.
        dim: inputs of the head.

    Returns:
        weight (classes, dim), bias (classes,).
    """
    centred = teacher_logits.float() - teacher_logits.float().mean(dim=1, keepdim=True)
    bias = centred.mean(dim=0)
    _, spread, directions = torch.linalg.svd(centred - bias, full_matrices=False)
    weight = (directions * spread[:, None] / len(centred) ** 0.5)[:dim]
    turn = torch.linalg.qr(torch.randn(dim, dim, device=weight.device)).Q
    return weight.T @ turn[: len(weight)], bias


def standardise(features: Tensor, eps: float = 1e-5) -> Tensor:
    """Every channel to mean 0 and variance 1 over the batch.

    (B, D, h, w) → the same shape, float32. A channel that is constant over the batch becomes 0.
    """
    return F.batch_norm(features.float(), None, None, training=True, eps=eps)


def on_grid(features: Tensor, grid: tuple[int, int]) -> Tensor:
    """Features resampled to a grid: (B, D, h, w) → (B, D, *grid); means when it is coarser."""
    if features.shape[-2:] == grid:
        return features
    if features.shape[-2] % grid[0] == 0 and features.shape[-1] % grid[1] == 0:
        return F.adaptive_avg_pool2d(features, grid)
    return F.interpolate(features, grid, mode="bilinear", align_corners=False)


class FeatureProjections(nn.Module):
    """Batch norm and 1×1 convolution from the student's channels to the teacher's, one a stride.

    They are used in training alone. The norm is there because the residual stream has no scale of
    its own: without it the projections must follow its growth.

    Args:
        student_dims: channels of the student's matched features, in order.
        teacher_dims: channels of the teacher's, in the same order.
    """

    def __init__(self, student_dims: list[int], teacher_dims: list[int]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            nn.Sequential(nn.BatchNorm2d(mine, affine=False), nn.Conv2d(mine, theirs, 1))
            for mine, theirs in zip(student_dims, teacher_dims, strict=True)
        )

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        """[(B, student D_i, h_i, w_i)] → [(B, teacher D_i, h_i, w_i)]."""
        return [layer(x) for layer, x in zip(self.layers, features, strict=True)]


def feature_loss(projected: Tensor, target: Tensor) -> Tensor:
    """Smooth-L1 between a projected feature and the teacher's standardised one, mean over values.

    Args:
        projected: (B, D, h, w), the student's feature in the teacher's channels.
        target: (B, D, h', w'), standardised; resampled to the student's grid if that differs.

    Returns:
        Scalar ≥ 0.
    """
    h, w = projected.shape[-2:]
    return F.smooth_l1_loss(projected.float(), on_grid(target, (h, w)))


def slot_reconstruction(logits: Tensor, values: Tensor) -> Tensor:
    """Share of the values' variance that a passage through the slots loses.

    With F the values centred per image: ‖P·G·F − F‖² / ‖F‖², mean over images. 0 when every
    slot's segment is constant; 1 for uniform assignment, which gives every token the mean.

    Args:
        logits: (B, K, N), assignment logits.
        values: (B, N, D), what the slots should keep; no gradient is needed.

    Returns:
        Scalar ≥ 0.
    """
    centred = values.float() - values.float().mean(dim=1, keepdim=True)
    logits = logits.float()
    kept = dispatch_weights(logits) @ (cluster_weights(logits) @ centred)
    lost = (kept.float() - centred).square().sum(dim=(1, 2))
    return (lost / centred.square().sum(dim=(1, 2)).clamp_min(1e-6)).mean()


def slot_reconstruction_loss(
    assignments: list[SlotAssignment], targets: dict[int, Tensor]
) -> Tensor:
    """Mean of `slot_reconstruction` over the GLMix blocks.

    Args:
        assignments: one a GLMix block, as `GLNet.forward_slots` gives them.
        targets: stride → (B, D, h, w), what the slots of the blocks at that stride should keep.

    Returns:
        Scalar ≥ 0.
    """
    losses = [
        slot_reconstruction(a.logits, on_grid(targets[a.stride], a.grid).flatten(2).transpose(1, 2))
        for a in assignments
    ]
    return torch.stack(losses).mean()


@torch.no_grad()
def slot_entropy(logits: Tensor) -> float:
    """Entropy of a token's choice of slot over log K, mean over tokens: 1 uniform, 0 certain.

    Args:
        logits: (B, K, N), assignment logits.
    """
    p = dispatch_weights(logits.float())
    entropy = torch.special.entr(p).sum(dim=-1).mean()
    return float(entropy / torch.log(torch.tensor(float(logits.shape[1]))))
