"""Dense conditional random fields: presets, backends, one call; and their energy as a loss."""

from wsss.crf.dense_crf import DenseCRF, make_crf
from wsss.crf.loss import DenseCRFLoss
from wsss.crf.presets import PRESETS, CRFParameters
from wsss.crf.unary import hard_label_probs

__all__ = ["PRESETS", "CRFParameters", "DenseCRF", "DenseCRFLoss", "hard_label_probs", "make_crf"]
