"""Synthetic images to refine."""

import torch
from torch import Tensor


def draw(height: int, width: int, num_labels: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """A noisy image of two colour fields, and noisy probabilities that lean on them."""
    generator = torch.Generator().manual_seed(seed)
    rows = torch.arange(height)[:, None] / height
    columns = torch.arange(width)[None] / width
    field = (rows + 0.5 * columns > 0.7).float()
    colour = torch.tensor([[40.0, 90.0, 150.0], [200.0, 120.0, 60.0]])
    image = colour[0, :, None, None] * (1 - field) + colour[1, :, None, None] * field
    image = image + 12 * torch.randn(3, height, width, generator=generator)
    logits = torch.randn(num_labels, height, width, generator=generator)
    logits[0] += 1 - field
    logits[-1] += field
    return image.clamp(0, 255).to(torch.uint8), logits.softmax(0)
