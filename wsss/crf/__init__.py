"""Dense conditional random fields: presets, backends, one call."""

from wsss.crf.dense_crf import DenseCRF
from wsss.crf.presets import PRESETS, CRFParameters
from wsss.crf.unary import hard_label_probs

__all__ = ["PRESETS", "CRFParameters", "DenseCRF", "hard_label_probs"]
