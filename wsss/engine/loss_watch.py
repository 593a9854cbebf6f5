"""The loss of a training, looked at without making a device wait every step."""

import math

import torch
from torch import Tensor
from torch.amp import GradScaler

from wsss.errors import WsssError

EVERY = 20
"""Steps between two looks at the loss on a device; on a CPU each is looked at."""


LEAST_SCALE = 1.0
"""Gradients that overflow float16 at this scale aren't brought into its range by scaling."""


class LossWatch:
    """Keeps on the device whether every loss was finite, and fetches a value once in a while.

    In fp16 it also looks at the scale: a step whose gradients overflow is left out and the scale
    halved, so that a training in which all of them do would go on without learning.

    Args:
        title: of the training.
        device: that it runs on.
        scaler: of its gradients, enabled in fp16 alone.

    Attributes:
        value: of the loss that was looked at last; nan before the first.
    """

    def __init__(self, title: str, device: torch.device, scaler: GradScaler) -> None:
        self.value = math.nan
        self._title, self._scaler = title, scaler
        self._every = 1 if device.type == "cpu" else EVERY
        self._finite = torch.ones((), dtype=torch.bool, device=device)
        self._loss = torch.zeros((), device=device)
        self._unseen = 0

    def update(self, loss: Tensor, step: int) -> None:
        """Take in the loss of a step, and look at it every so often.

        Raises:
            WsssError: see `look`.
        """
        self._loss = loss.detach()
        self._finite &= self._loss.isfinite()
        self._unseen += 1
        if self._unseen >= self._every or math.isnan(self.value):
            self.look(step)

    def look(self, step: int) -> None:
        """Wait for the device; nothing of a training may be kept before.

        Raises:
            WsssError: a loss since the last look was not finite, or the scale has come to nothing.
        """
        if not self._unseen:
            return
        where = f"at step {step}" if self._unseen == 1 else f"within the steps up to {step}"
        self._unseen = 0
        self.value = float(self._loss)
        if not self._finite:
            found = "not finite" if math.isfinite(self.value) else self.value
            raise WsssError(
                f"{self._title}: the loss is {found} {where}: lower the learning rate (lr) or "
                f"clip_grad of this stage{self._or_wider}, and start it with --overwrite."
            )
        if self._scaler.is_enabled() and self._scaler.get_scale() < LEAST_SCALE:
            raise WsssError(
                f"{self._title}: the gradients overflow float16 {where}, however little they are "
                "scaled, and such steps are left out: go on with runtime.precision=fp32."
            )

    @property
    def _or_wider(self) -> str:
        return ", or take runtime.precision=fp32" if self._scaler.is_enabled() else ""
