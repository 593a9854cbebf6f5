"""pydensecrf, where it is installed: the field's CPU library, and the oracle of ours."""

import importlib
from types import ModuleType

import numpy as np
import torch
from torch import Tensor

from wsss.crf.inputs import Problem
from wsss.crf.presets import CRFParameters
from wsss.errors import WsssError


def solve(problem: Problem, parameters: CRFParameters) -> Tensor:
    """Marginals by pydensecrf; no gradient, computed on the CPU in float32.

    Returns:
        (L, H, W) on the problem's device.

    Raises:
        WsssError: where pydensecrf is not installed.
    """
    labels, height, width = problem.log_probs.shape
    crf = _import().DenseCRF2D(width, height, labels)
    energy = -problem.log_probs.detach().reshape(labels, -1).cpu()
    crf.setUnaryEnergy(energy.float().contiguous().numpy())
    image = problem.image.permute(1, 2, 0).contiguous().cpu().numpy()
    p = parameters
    crf.addPairwiseGaussian(p.gaussian_sxy, _compat(p.gaussian_weight, problem))
    crf.addPairwiseBilateral(
        p.bilateral_sxy, p.bilateral_srgb, image, _compat(p.bilateral_weight, problem)
    )
    marginals = torch.from_numpy(np.array(crf.inference(p.iterations))).view(labels, height, width)
    return marginals.to(problem.log_probs)


def _compat(weight: float | Tensor, problem: Problem) -> object:
    if problem.compatibility is None:
        return float(weight)
    matrix = float(weight) * problem.compatibility.detach().cpu().float()
    return matrix.contiguous().numpy()


def _import() -> ModuleType:
    try:
        return importlib.import_module("pydensecrf.densecrf")
    except ImportError as error:
        raise WsssError(
            "the CRF backend 'pydensecrf' needs the module pydensecrf, which is not installed: "
            "take backend='torch', or run `pip install pydensecrf2` (Python below 3.13)"
        ) from error
