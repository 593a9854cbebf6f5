"""Spatial kernels, kept between calls: they depend on the images' sizes and the sigma alone."""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from threading import Lock

import torch
from torch import Tensor

from wsss.crf.lattice import Lattice

Kernel = tuple[Lattice, Tensor]  # a lattice and the scale that normalises it
CPU_BYTES = 1 << 28  # four images of a million pixels
DEVICE_BYTES = 1 << 30  # batches of 16 images of 500×375 take 200 MB each


@dataclass
class SpatialCache:
    """The kernels used last, as many as fit the budget of the device they are on.

    Attributes:
        cpu_bytes: budget on the CPU.
        device_bytes: budget on each other device.
    """

    cpu_bytes: int = CPU_BYTES
    device_bytes: int = DEVICE_BYTES
    _kernels: OrderedDict[Hashable, Kernel] = field(default_factory=OrderedDict)
    _lock: Lock = field(default_factory=Lock)

    def get(self, key: Hashable, build: Callable[[], Kernel]) -> Kernel:
        """The kernel of that key, built where it is not kept.

        Args:
            key: all that the kernel depends on, its device included.
            build: makes it.
        """
        with self._lock:
            if key in self._kernels:
                self._kernels.move_to_end(key)
                return self._kernels[key]
        kernel = build()
        with self._lock:
            self._kernels[key] = kernel
            self._drop_oldest(kernel[1].device)
        return kernel

    def __len__(self) -> int:
        return len(self._kernels)

    def _drop_oldest(self, device: torch.device) -> None:
        here = [key for key, (_, scale) in self._kernels.items() if scale.device == device]
        budget = self.cpu_bytes if device.type == "cpu" else self.device_bytes
        total = sum(_num_bytes(self._kernels[key]) for key in here)
        for key in here:
            if total <= budget:
                return
            total -= _num_bytes(self._kernels.pop(key))


def _num_bytes(kernel: Kernel) -> int:
    lattice, scale = kernel
    tensors = [scale, lattice.vertices, lattice.weights, lattice.order, lattice.neighbours]
    members, pieces = lattice.members, lattice.members.pieces
    tensors += [members.index, members.offsets]
    if pieces is not None:
        tensors += [pieces.offsets, pieces.numbers, pieces.first]
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


SHARED = SpatialCache()
