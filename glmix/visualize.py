"""Images of slots: mosaics of their maps, a few that stand for all, blocks side by side.

Tensors in, uint8 RGB tensors out; `wsss visualize-slots` reads and writes the files. After the
figures of "Revisiting the Integration of Convolution and Attention for Vision Backbone" (Zhu et
al., NeurIPS 2024). A slot's map is the weight that each token gives it, P = softmax over slots: its
territory.
"""

from collections.abc import Sequence
from math import ceil

import torch
import torch.nn.functional as F
from torch import Tensor

from glmix.clustering import SlotAssignment, dispatch_weights

# Pseudo-colours from low to high: night blue, blue, teal, green, yellow.
RAMP = ((13, 8, 60), (42, 72, 150), (30, 140, 145), (110, 200, 90), (250, 235, 60))
# One colour a representative slot.
COLOURS = (
    (230, 57, 70),
    (255, 190, 11),
    (58, 134, 255),
    (56, 176, 0),
    (255, 0, 170),
    (0, 210, 210),
)
GAP = 3


def slot_maps(assignment: SlotAssignment, index: int = 0) -> Tensor:
    """The territory of each slot of one image.

    Args:
        assignment: of a block.
        index: of the image in its batch.

    Returns:
        (K, h, w), each map divided by its maximum: 0–1.
    """
    maps = _weights(assignment, index)
    maps = maps / maps.amax(dim=-1, keepdim=True)
    return maps.unflatten(-1, assignment.grid)


def representative_slots(assignment: SlotAssignment, count: int = 4, index: int = 0) -> list[int]:
    """The slots that stand for all: k-medoids on the distances of their maps.

    The distance of two slots is the total variation of their maps, each summing to 1.
    Deterministic: greedy start, then the best exchange as long as one helps (PAM, Kaufman and
    Rousseeuw 1987); of equals, the first.

    Args:
        assignment: of a block.
        count: how many, at most K.
        index: of the image in its batch.

    Returns:
        Indices of slots, those with the most followers first.

    Raises:
        ValueError: if there are not that many slots.
    """
    weights = _weights(assignment, index)
    weights = weights / weights.sum(dim=-1, keepdim=True)
    slots = len(weights)
    if not 1 <= count <= slots:
        raise ValueError(f"count is {count}; the block has {slots} slots, ask for 1 to {slots}.")
    distance = 0.5 * torch.cdist(weights, weights, p=1)
    medoids: list[int] = []
    for _ in range(count):
        medoids.append(_best_addition(distance, medoids))
    while exchanged := _best_exchange(distance, medoids):
        medoids = exchanged
    followers = distance[medoids].argmin(dim=0).bincount(minlength=count)
    return [medoids[i] for i in followers.argsort(descending=True, stable=True).tolist()]


def _weights(assignment: SlotAssignment, index: int) -> Tensor:
    """(K, N), what the tokens of one image give to each slot."""
    return dispatch_weights(assignment.logits[index].detach().float().cpu()).T


def _best_addition(distance: Tensor, medoids: list[int]) -> int:
    nearest = distance[medoids].amin(dim=0) if medoids else distance.new_full((1,), torch.inf)
    costs = distance.minimum(nearest).sum(dim=1)
    costs[medoids] = torch.inf
    return int(costs.argmin())


def _best_exchange(distance: Tensor, medoids: list[int]) -> list[int]:
    """The best set that differs by one medoid, or nothing if none is better."""
    cost = distance[medoids].amin(dim=0).sum()
    best: list[int] = []
    for i in range(len(medoids)):
        others = medoids[:i] + medoids[i + 1 :]
        candidate = [*others, _best_addition(distance, others)]
        candidate_cost = distance[candidate].amin(dim=0).sum()
        if candidate_cost < cost - 1e-6:
            best, cost = candidate, candidate_cost
    return best


def mosaic(assignment: SlotAssignment, width: int, index: int = 0) -> Tensor:
    """The maps of all slots in rows, pseudo-coloured.

    Args:
        assignment: of a block.
        width: of the answer in pixels.
        index: of the image in its batch.

    Returns:
        (height, width, 3) uint8; cells keep the proportions of the grid.
    """
    maps = slot_maps(assignment, index)
    columns = ceil(len(maps) ** 0.5)
    rows = ceil(len(maps) / columns)
    cell_w = max(1, (width - GAP * (columns - 1)) // columns)
    cell_h = max(1, round(cell_w * maps.shape[1] / maps.shape[2]))
    cells = F.interpolate(maps[:, None], size=(cell_h, cell_w), mode="nearest")[:, 0]
    sheet = torch.full((rows * (cell_h + GAP) - GAP, width, 3), 255, dtype=torch.uint8)
    for k, cell in enumerate(pseudo_colour(cells)):
        top, left = k // columns * (cell_h + GAP), k % columns * (cell_w + GAP)
        sheet[top : top + cell_h, left : left + cell_w] = cell
    return sheet


def overlay(
    image: Tensor, assignment: SlotAssignment, slots: Sequence[int], index: int = 0
) -> Tensor:
    """Slots over an image: blended by their maps, outlined at half their maximum.

    Args:
        image: (3, H, W) in 0–1.
        assignment: of a block of the same image.
        slots: indices; each has a colour of its own, up to six.
        index: of the image in its batch.

    Returns:
        (H, W, 3) uint8.

    Raises:
        ValueError: if there are more slots than colours.
    """
    if len(slots) > len(COLOURS):
        raise ValueError(f"{len(slots)} slots are asked for; there are {len(COLOURS)} colours.")
    size = (image.shape[1], image.shape[2])
    maps = slot_maps(assignment, index)[list(slots)]
    maps = F.interpolate(maps[None], size=size, mode="bilinear", align_corners=False)[0]
    grey = image.float().cpu().mean(dim=0, keepdim=True)
    canvas = 0.5 * image.float().cpu() + 0.5 * grey
    for weight, colour in zip(maps, COLOURS, strict=False):
        tint = torch.tensor(colour).view(3, 1, 1) / 255
        canvas = canvas + 0.6 * weight * (tint - canvas)
    for weight, colour in zip(maps, COLOURS, strict=False):
        edge = outline(weight >= 0.5, thickness=max(1, min(size) // 160))
        canvas[:, edge] = torch.tensor(colour).view(3, 1) / 255
    return (canvas.clamp(0, 1) * 255).round().to(torch.uint8).permute(1, 2, 0)


def outline(mask: Tensor, thickness: int = 1) -> Tensor:
    """Pixels of a mask that lie within `thickness` of its outside: (H, W) bool → (H, W) bool."""
    outside = F.pad((~mask)[None, None].float(), [thickness] * 4)
    return mask & (F.max_pool2d(outside, 2 * thickness + 1, stride=1)[0, 0] > 0)


def figure(
    image: Tensor, assignments: Sequence[SlotAssignment], count: int = 4, index: int = 0
) -> Tensor:
    """The image, then a column a block: its representative slots over its mosaic.

    Args:
        image: (3, H, W) in 0–1, any proportions.
        assignments: of the blocks to show, of this image.
        count: of representative slots.
        index: of the image in the batch.

    Returns:
        (height, width, 3) uint8, white where there is nothing.
    """
    plain = (image.float().cpu().clamp(0, 1) * 255).round().to(torch.uint8).permute(1, 2, 0)
    columns = [plain]
    for assignment in assignments:
        slots = representative_slots(assignment, count, index)
        above = overlay(image, assignment, slots, index)
        columns.append(_stack([above, mosaic(assignment, image.shape[2], index)], dim=0))
    return _stack(columns, dim=1)


def pseudo_colour(values: Tensor) -> Tensor:
    """(...) in 0–1 → (..., 3) uint8 by `RAMP`, linear between its colours."""
    ramp = torch.tensor(RAMP, dtype=torch.float32)
    position = values.clamp(0, 1) * (len(ramp) - 1)
    low = position.floor().long().clamp(max=len(ramp) - 2)
    part = (position - low)[..., None]
    return (ramp[low] * (1 - part) + ramp[low + 1] * part).round().to(torch.uint8)


def default_blocks(assignments: Sequence[SlotAssignment]) -> list[SlotAssignment]:
    """Blocks at a fifth, half and the end: the 2nd, 5th and 10th of `glnet_stl`."""
    last = len(assignments)
    ranks = sorted({max(1, round(last * share)) for share in (0.2, 0.5, 1.0)})
    return [assignments[rank - 1] for rank in ranks]


def _stack(parts: Sequence[Tensor], dim: int) -> Tensor:
    """Tensors (H, W, 3) below (0) or beside (1) one another on white, a gap between."""
    other = 1 - dim
    room = max(part.shape[other] for part in parts)
    padded = []
    for part in parts:
        shape = list(part.shape)
        shape[dim], shape[other] = shape[dim] + GAP, room
        page = torch.full(shape, 255, dtype=torch.uint8)
        page[: part.shape[0], : part.shape[1]] = part
        padded.append(page)
    return torch.cat(padded, dim=dim).narrow(dim, 0, sum(p.shape[dim] for p in padded) - GAP)
