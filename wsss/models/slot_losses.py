"""Losses that teach slots to group objects, from tags alone: what stage 1 may add to the tags'.

Pure functions on tensors. B batch, C classes, h·w = N tokens of a block's grid, K slots, D
channels. A pair is a picture with one of its tags; a loss over pairs is their mean, and 0 where
there is none.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from glmix.clustering import SlotAssignment, cluster_weights, dispatch_weights
from wsss.cam import resize
from wsss.walk import symmetric_walk

# Share of the places that `erasing_loss` silences: what a class is known by, not the whole object.
ERASED = 1 / 8
# Slots of a picture that `contrast_loss` takes for its classes, and as many for the background.
SPEAKERS = 6
TEMPERATURE = 0.1


def walked_loss(cam: Tensor, block: SlotAssignment, tags: Tensor) -> Tensor:
    """Cross-entropy of the tags, answered by the map after one symmetric step through a block.

    What a walk gives a token is a mean over its slots, so a slot that mixes objects, or speaks for
    a class by one of its places alone, costs. Pooled by log-mean-exp; the mean does not feel a
    doubly stochastic walk.

    Args:
        cam: (B, C, h, w), logits of the places.
        block: assignment of the block; the map is resized to its grid.
        tags: (B, C) in {0, 1}.
    """
    walked = _walk(_on_grid(cam, block), block)
    return F.binary_cross_entropy_with_logits(_pool(walked), tags)


def erasing_loss(cam: Tensor, block: SlotAssignment, tags: Tensor) -> Tensor:
    """Cross-entropy between what the whole map says of a tag and what the rest of it says.

    The rest is all but the `ERASED` share of places where the slots speak loudest for the tag,
    after "Adversarial Erasing" (Wei et al., CVPR 2017), in the map instead of the picture. The
    whole map's answer is the target, without gradient: a tag that is not seen asks nothing.

    Args:
        cam: (B, C, h, w), logits of the places.
        block: assignment of the block; the map is resized to its grid.
        tags: (B, C) in {0, 1}.
    """
    places = _on_grid(cam, block)
    loud = _walk(places.detach(), block).detach()
    tokens = loud.shape[2]
    quieter = loud.topk(tokens - int(ERASED * tokens), dim=2, largest=False).indices
    rest = _pool(places.gather(2, quieter))
    target = _pool(places).detach().sigmoid()
    loss = F.binary_cross_entropy_with_logits(rest, target, reduction="none")
    return _over_pairs(loss, tags)


def background_loss(cam: Tensor, block: SlotAssignment, tags: Tensor) -> Tensor:
    """Cross-entropy that asks the quieter half of a picture's slots to deny each of its tags.

    The cross-entropy of the tags sees to the classes that are absent.

    Args:
        cam: (B, C, h, w), logits of the places.
        block: assignment of the block; the map is resized to its grid.
        tags: (B, C) in {0, 1}.
    """
    scores = _slot_scores(cam, block)
    quiet = scores.topk(max(1, scores.shape[2] // 2), dim=2, largest=False).values
    return _over_pairs(F.softplus(quiet).mean(dim=2), tags)


def sharpness_loss(block: SlotAssignment) -> Tensor:
    """Entropy of a token's choice of slot over log K, mean over tokens: 1 uniform, 0 certain."""
    log_p = block.logits.float().log_softmax(dim=1)
    entropy = -(log_p.exp() * log_p).sum(dim=1)
    return entropy.mean() / math.log(max(2, log_p.shape[1]))


def contrast_loss(features: Tensor, cam: Tensor, block: SlotAssignment, tags: Tensor) -> Tensor:
    """Slots of a class are alike over the batch, and unlike those of other classes and background.

    Supervised contrast (Khosla et al., NeurIPS 2020) among slots that gather `features`. A slot
    belongs to that tag of its picture which the map speaks for most in it. A picture gives its
    `SPEAKERS` loudest slots if their score is positive, and its quietest if negative; those are
    background, from which the others are told apart, but which need not be alike. Over several
    processes each contrasts the pictures of its own.

    Args:
        features: (B, D, h, w), on the block's grid.
        cam: (B, C, h, w), logits of the places; no gradient is taken.
        block: assignment of the block.
        tags: (B, C) in {0, 1}.
    """
    tokens = resize(features, block.grid).flatten(2).transpose(1, 2)
    slots = F.normalize(cluster_weights(block.logits.float()) @ tokens, dim=2)
    scores = _slot_scores(cam, block).detach().masked_fill(tags[..., None] == 0, -torch.inf)
    best, label = scores.max(dim=1)  # (B, K)
    speakers = min(SPEAKERS, best.shape[1])
    high, loud = best.topk(speakers)
    low, quiet = best.topk(speakers, largest=False)
    anchors, others = _pick(slots, loud)[high > 0], _pick(slots, quiet)[low < 0]
    classes = label.gather(1, loud)[high > 0]
    count = len(anchors)
    if count < 2:
        return features.new_zeros(())
    similar = anchors @ torch.cat([anchors, others]).T / TEMPERATURE
    itself = torch.eye(count, similar.shape[1], dtype=torch.bool, device=similar.device)
    log_p = similar - similar.masked_fill(itself, -torch.inf).logsumexp(dim=1, keepdim=True)
    alike = (classes[:, None] == classes) & ~itself[:, :count]
    return -_over_pairs(log_p[:, :count], alike.float())


def consistency_loss(cam: Tensor, target: Tensor, weights: Tensor) -> Tensor:
    """Mean absolute difference of the map's probabilities and the seeds of another view.

    The cross regularisation of SEAM (Wang et al., CVPR 2020): the plain map of one view learns the
    refined map of the other, here refined by the walk through slots.

    Args:
        cam: (B, C, h, w), logits of the places.
        target: (B, C, h', w') in 0…1, resized to the map's grid.
        weights: (B, C) ≥ 0, of the pairs.
    """
    target = resize(target, (cam.shape[-2], cam.shape[-1]))
    return _over_pairs((cam.sigmoid() - target).abs().mean(dim=(2, 3)), weights)


def _on_grid(cam: Tensor, block: SlotAssignment) -> Tensor:
    return resize(cam, block.grid).flatten(2)  # (B, C, N)


def _walk(places: Tensor, block: SlotAssignment) -> Tensor:
    return symmetric_walk(places, dispatch_weights(block.logits.float()), 1)


def _slot_scores(cam: Tensor, block: SlotAssignment) -> Tensor:
    """What each slot gathers from the map, (B, C, K)."""
    gather = cluster_weights(block.logits.float())
    return _on_grid(cam, block) @ gather.transpose(1, 2)


def _pool(places: Tensor) -> Tensor:
    """Log of the mean exponential over the places, (B, C, N) → (B, C)."""
    return places.logsumexp(dim=2) - math.log(places.shape[2])


def _pick(slots: Tensor, index: Tensor) -> Tensor:
    """(B, K, D) at (B, k) → (B, k, D)."""
    return slots.gather(1, index[..., None].expand(-1, -1, slots.shape[2]))


def _over_pairs(values: Tensor, weights: Tensor) -> Tensor:
    return (values * weights).sum() / weights.sum().clamp_min(1.0)
