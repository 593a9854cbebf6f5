"""Whether a network that was built of somebody's arguments computes at all."""

import torch
from torch import nn

from wsss.errors import first_line

SIDE = 64  # of the image that is tried: two strides


@torch.no_grad()
def refusal(model: nn.Module) -> str:
    """Why a network doesn't take a black image; empty where it does.

    Arguments of a wrong type or range may build a network and fail it when it is run.

    Args:
        model: takes images (1, 3, H, W); left as it is.
    """
    training = model.training
    try:
        model.eval()(torch.zeros(1, 3, SIDE, SIDE))
    except Exception as error:  # arguments of any kind make a network raise anything
        return first_line(error)[:200]
    finally:
        model.train(training)
    return ""
